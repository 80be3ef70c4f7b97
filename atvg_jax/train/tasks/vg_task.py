"""Landmarks → video: VG-net, alone or against the regression-based discriminator D.

With a discriminator a step has the published order: D learns from a real and a generated clip and is updated
(`config.d_steps` times); then VG-net, the generator G, generates again, with fresh dropout, and learns against the
updated D. What G computes before its first dropout is the same in all these passes, and computed once. With
`config.simultaneous` G generates once, and both learn from the same frames, each against the other as it was before the
step.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from atvg_jax import models
from atvg_jax.metrics import image_metrics
from atvg_jax.models import discriminator, mouth_sheets, postprocessing, vg_net
from atvg_jax.runtime import rng
from atvg_jax.runtime.parallel import AXIS
from atvg_jax.train import losses, optimizers
from atvg_jax.train.task import Batch, Task, accumulate, frame_weights, masked_sums
from atvg_jax.train.train_state import TrainState, update_ema
from data_pipelines import features
from data_pipelines.errors import InputError

Metrics = dict[str, jax.Array]


def _inputs(net: vg_net.VgNet, batch: Batch) -> tuple[jax.Array, ...]:
  image = features.to_float(batch[features.EXAMPLE_IMAGE])
  return image, batch[features.EXAMPLE_LANDMARKS], batch[net.condition]


def make(config: Any, basis: Any = None) -> Task:
  """The task of a config; the landmarks that it learns from are the true ones, so it needs no `basis`."""
  del basis
  axis_name = AXIS if config.sync_batch_norm else None
  net = models.make_net(config, axis_name=axis_name, remat=config.remat)
  for name in ('darken', 'seam'):
    if config.generation[name] and net.condition != features.LANDMARKS:
      raise InputError(f'generation.{name}: a net that takes sound in the place of landmarks has none')
  d_net = None if config.discriminator is None else _make_discriminator(config, axis_name)
  task = VgTask(config, net, d_net, optimizers.make(config.optimizer, config.num_steps))
  return Task(task.init, task.train_step, task.eval_step, task.sample_step)


def _make_discriminator(config: Any, axis_name: str | None = None) -> discriminator.RegressionDiscriminator:
  return models.build(
    discriminator.RegressionDiscriminator, config.discriminator, dtype=jnp.dtype(config.dtype), axis_name=axis_name
  )


class Statistics(NamedTuple):
  """Batch-norm statistics of both networks: every forward pass in training mode moves them."""

  g: Any
  d: Any


class Start(NamedTuple):
  """G's layers before the first dropout, which all passes of a step have in common.

  Attributes:
    features: the arguments of `VgNet.finish`.
    pull: gradients of the features → (gradients of G's parameters,).
  """

  features: Any
  pull: Callable[[Any], tuple[Any]]


# (state, name of the dropout's stream, statistics, part of the batch, its index) → (statistics, (gradients, metrics)).
Phase = Callable[[TrainState, str, Statistics, Batch, jax.Array], tuple[Statistics, tuple[Any, Metrics]]]


@dataclasses.dataclass(frozen=True, eq=False)
class VgTask:
  """The functions of the task. None keeps anything: what changes is in the `TrainState`.

  Attributes:
    config: the whole config.
    net: VG-net, as `models.make_net` makes it for training.
    d_net: the discriminator, or None where VG-net learns alone.
    optimizer: of either network, each with a state of its own.
  """

  config: Any
  net: Any
  d_net: discriminator.RegressionDiscriminator | None
  optimizer: optax.GradientTransformation

  # The functions of `Task`.

  def init(self, key: jax.Array) -> TrainState:
    """A new state, its parameters drawn by `key`."""
    config, size = self.config, self.config.data.image_size
    image, landmarks = jnp.zeros((1, size, size, 3)), jnp.zeros((1, features.LANDMARK_SIZE))
    batch = {
      features.EXAMPLE_IMAGE: image,
      features.EXAMPLE_LANDMARKS: landmarks,
      features.LANDMARKS: landmarks[:, None],
      features.MFCC: jnp.zeros((1, 1, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)),
    }
    # Not `self.net` and `self.d_net`, whose batch norm may name the devices' axis: nothing is mapped over it here.
    variables = models.make_net(config).init(key, *_inputs(self.net, batch), train=False)
    params = variables['params']
    state = TrainState(
      step=jnp.zeros((), jnp.int32),
      g_params=params,
      g_batch_stats=variables.get('batch_stats', {}),
      g_opt_state=self.optimizer.init(params),
      g_ema_params=jax.tree.map(jnp.copy, params) if config.ema_decay else None,
    )
    if self.d_net is None:
      return state
    d_variables = _make_discriminator(config).init(jax.random.fold_in(key, 1), image[:, None], landmarks, train=False)
    return state.replace(
      d_params=d_variables['params'],
      d_batch_stats=d_variables.get('batch_stats', {}),
      d_opt_state=self.optimizer.init(d_variables['params']),
    )

  def train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of the generator, and what the discriminator gets: see the module's docstring."""
    metrics: Metrics = {}
    if self.d_net is not None and self.config.simultaneous:
      state, (d_grads, grads), metrics = self._accumulate_grads(self.simultaneous_phase, state, 'g_dropout', batch)
      state, metrics = self._update_discriminator(state, d_grads, metrics)
    else:
      state, start = self._start(state, batch)
      for index in range(self._d_steps):
        phase = functools.partial(self.discriminator_phase, start=start)
        state, d_grads, d_metrics = self._accumulate_grads(phase, state, f'd_dropout{index or ""}', batch)
        state, metrics = self._update_discriminator(state, d_grads, d_metrics)
      phase = functools.partial(self.generator_phase, start=start)
      state, grads, g_metrics = self._accumulate_grads(phase, state, 'g_dropout', batch)
      metrics = metrics | g_metrics
    return self._update_generator(state, grads), metrics | {'g_grad_norm': optax.tree.norm(grads)}

  def eval_step(self, state: TrainState, batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Sums and counts of L1, PSNR and SSIM, of frames and mouths; '..._still' are the example image's, repeated."""
    real = batch[features.VIDEO].astype(jnp.float32) / 255  # metrics take [0, 1]
    fake = self._predict(state, batch)['video'].astype(jnp.float32) / 2 + 0.5
    example = batch[features.EXAMPLE_IMAGE].astype(jnp.float32) / 255
    repeated = jnp.broadcast_to(example[:, None], real.shape)
    frames = frame_weights(batch, real.shape[1])
    sums = {'pixel_l1': masked_sums(jnp.abs(fake - real).mean(axis=(2, 3, 4)), frames)}
    whole, mouth = (slice(None), slice(None)), image_metrics.mouth_box(real.shape[2])
    for suffix, video in (('', fake), ('_still', repeated)):
      for region, box in (('', whole), ('_mouth', mouth)):
        ours, true = (images[:, :, *box].reshape(-1, *images[0, 0, *box].shape) for images in (video, real))
        for name, metric in (('psnr', image_metrics.psnr), ('ssim', image_metrics.ssim)):
          sums[f'{name}{region}{suffix}'] = masked_sums(metric(ours, true).reshape(frames.shape), frames)
    return jax.lax.psum(sums, AXIS)

  def sample_step(self, state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    """Frames for `pictures.video_grid` and `pictures.animate`."""
    outputs = self._predict(state, batch)
    return {
      'example_image': features.to_float(batch[features.EXAMPLE_IMAGE]),
      'true_video': features.to_float(batch[features.VIDEO]),
      'mfcc': batch[features.MFCC],
      **{name: outputs[name] for name in ('video', 'attention', 'color')},
    }

  # Phases of a step.

  def discriminator_phase(
    self, state: TrainState, stream: str, stats: Statistics, batch: Batch, part: jax.Array, start: Start | None = None
  ) -> tuple[Statistics, tuple[Any, Metrics]]:
    """D's gradients; G's frames are constants."""
    key = self._dropout_key(state, stream, part)
    outputs, g_stats = self.generate(state.g_params, stats.g, batch, key, start and start.features)
    fake = outputs['video'].astype(jnp.float32)
    gradient = jax.grad(self.discriminator_loss, has_aux=True)
    grads, (d_stats, metrics) = gradient(state.d_params, stats.d, batch, fake)
    return Statistics(g_stats, d_stats), (grads, metrics)

  def generator_phase(
    self, state: TrainState, stream: str, stats: Statistics, batch: Batch, part: jax.Array, start: Start | None = None
  ) -> tuple[Statistics, tuple[Any, Metrics]]:
    """G's gradients, through D's judgement where there is one; D's parameters are constants."""

    def loss(g_params: Any, features: Any) -> tuple[jax.Array, Any]:
      outputs, g_stats = self.generate(g_params, stats.g, batch, self._dropout_key(state, stream, part), features)
      total, (d_stats, metrics) = self.generator_loss(outputs, state.d_params, stats.d, batch)
      return total, (Statistics(g_stats, d_stats), metrics)

    if start is None:
      grads, (stats, metrics) = jax.grad(loss, has_aux=True)(state.g_params, None)
    else:
      (grads, of_start), (stats, metrics) = jax.grad(loss, (0, 1), has_aux=True)(state.g_params, start.features)
      grads = jax.tree.map(jnp.add, grads, *start.pull(of_start))
    return stats, (grads, metrics)

  def simultaneous_phase(
    self, state: TrainState, stream: str, stats: Statistics, batch: Batch, part: jax.Array
  ) -> tuple[Statistics, tuple[Any, Metrics]]:
    """(D's, G's) gradients from one generated clip, each with the other's parameters as constants."""

    def loss(d_params: Any, g_params: Any) -> tuple[jax.Array, Any]:
      outputs, g_stats = self.generate(g_params, stats.g, batch, self._dropout_key(state, stream, part))
      fake = jax.lax.stop_gradient(outputs['video'].astype(jnp.float32))
      d_total, (d_stats, d_metrics) = self.discriminator_loss(d_params, stats.d, batch, fake)
      # D's forward pass over the same frames is written twice, for its own loss and for G's; XLA runs it once.
      g_total, (_, g_metrics) = self.generator_loss(outputs, jax.lax.stop_gradient(d_params), stats.d, batch)
      return d_total + g_total, (Statistics(g_stats, d_stats), d_metrics | g_metrics)

    grads, (stats, metrics) = jax.grad(loss, (0, 1), has_aux=True)(state.d_params, state.g_params)
    return stats, (grads, metrics)

  # Losses.

  def discriminator_loss(
    self, d_params: Any, batch_stats: Any, batch: Batch, fake: jax.Array
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    """`losses.discriminator_loss` of a batch and its generated frames → (loss, (D's statistics, terms))."""
    on_real, batch_stats = self.discriminate(d_params, batch_stats, features.to_float(batch[features.VIDEO]), batch)
    on_fake, batch_stats = self.discriminate(d_params, batch_stats, fake, batch)
    loss, terms = losses.discriminator_loss(on_real, on_fake, batch[features.LANDMARKS], self.config.loss)
    return loss, (batch_stats, terms)

  def generator_loss(
    self, outputs: dict[str, jax.Array], d_params: Any, d_batch_stats: Any, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    """VG-net's L = L_GAN + λ L_pix, and terms beyond the paper → (loss, (D's statistics, terms))."""
    terms = self._reconstruction_terms(outputs, batch)
    if self.d_net is not None:
      fake = outputs['video'].astype(jnp.float32)
      on_fake, d_batch_stats = self.discriminate(d_params, d_batch_stats, fake, batch)
      terms |= losses.adversarial_terms(on_fake, batch[features.LANDMARKS], self.config.loss)
    total, values = losses.weighted_sum(terms)
    return total, (d_batch_stats, values | {'g_loss': total})

  def _reconstruction_terms(self, outputs: dict[str, jax.Array], batch: Batch) -> dict[str, tuple[float, jax.Array]]:
    """The terms that compare generated with true frames: λ L_pix and, by weight, gradients and SSIM."""
    weights, landmarks = self.config.loss, batch[features.LANDMARKS]
    fake, real = outputs['video'].astype(jnp.float32), features.to_float(batch[features.VIDEO])
    size, pixel_weight = real.shape[2], None
    if weights.sharpened_mouth:
      real = postprocessing.sharpened(real, weights.sharpened_mouth * losses.mouth_nearness(landmarks, size))
    if weights.mouth_weight != 1:
      pixel_weight = losses.mouth_weight(landmarks, size, weights.mouth_weight)
    if weights.get('inside'):
      inside = weights.inside * weights.mouth_weight * mouth_sheets.hole(landmarks, size)
      pixel_weight = inside + (1 if pixel_weight is None else pixel_weight)
    attention = outputs['attention'] if weights.dynamic else None
    terms = {'g_pixel_loss': (weights.pixel, losses.dynamic_pixel_loss(fake, real, attention, pixel_weight))}
    if weights.gradient:
      terms['g_gradient_loss'] = weights.gradient, losses.gradient_loss(fake, real, pixel_weight)
    if weights.ssim:
      box = image_metrics.mouth_box(size)
      terms['g_ssim_loss'] = weights.ssim, losses.ssim_loss(fake[:, :, *box], real[:, :, *box])
    return terms

  # Forward passes.

  def generate(
    self, params: Any, batch_stats: Any, batch: Batch, key: jax.Array, start: Any = None
  ) -> tuple[dict[str, jax.Array], Any]:
    """VG-net's outputs in training mode, dropout by `key`, and its new batch-norm statistics.

    Args:
      params: VG-net's.
      batch_stats: likewise.
      batch: of a device, or a part of it.
      key: of the dropout.
      start: the features of `Start`, where they are there; their layers' statistics stay.
    """
    outputs, updates = self.net.apply(
      {'params': params, 'batch_stats': batch_stats},
      *(_inputs(self.net, batch) if start is None else start),
      train=True,
      rngs={'dropout': key},
      mutable=['batch_stats'],
      method=None if start is None else 'finish',
    )
    return outputs, updates.get('batch_stats', {})

  def discriminate(
    self, params: Any, batch_stats: Any, video: jax.Array, batch: Batch
  ) -> tuple[dict[str, jax.Array], Any]:
    """D's outputs for a video [B, T, H, W, 3] in [-1, 1] in training mode, and its new batch-norm statistics."""
    assert self.d_net is not None
    outputs, updates = self.d_net.apply(
      {'params': params, 'batch_stats': batch_stats},
      video,
      batch[features.EXAMPLE_LANDMARKS],
      train=True,
      mutable=['batch_stats'],
    )
    return outputs, updates.get('batch_stats', {})

  def _predict(self, state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    """VG-net's outputs in evaluation mode, their frames finished as `config.generation` says."""
    variables = {'params': state.inference_params, 'batch_stats': state.g_batch_stats}
    outputs = self.net.apply(variables, *_inputs(self.net, batch), train=False)
    return postprocessing.finish(
      outputs, batch[features.EXAMPLE_LANDMARKS], batch[features.LANDMARKS], **self.config.generation
    )

  # Updates.

  @property
  def _d_steps(self) -> int:
    return 0 if self.d_net is None else self.config.d_steps

  def _start(self, state: TrainState, batch: Batch) -> tuple[TrainState, Start | None]:
    """The state with the statistics that all passes of the step leave behind in the start's layers, and the start.

    There is none where G has only one pass, nor where each takes the batch in parts: statistics go from part to part.
    """
    if not self._d_steps or self.config.accumulate > 1:
      return state, None

    def start(g_params: Any, batch_stats: Any) -> tuple[Any, Any]:
      features, updates = self.net.apply(
        {'params': g_params, 'batch_stats': batch_stats},
        *_inputs(self.net, batch),
        train=True,
        mutable=['batch_stats'],
        method='before_dropout',
      )
      return features, updates.get('batch_stats', {})

    before = state.g_batch_stats
    found, pull, stats = jax.vjp(lambda g_params: start(g_params, before), state.g_params, has_aux=True)
    # A pass takes statistics s to a s + b, and nothing else depends on them: the next ones need `a` alone.
    ones = jax.tree.map(jnp.ones_like, before)
    _, kept = jax.jvp(lambda batch_stats: start(state.g_params, batch_stats)[1], (before,), (ones,))
    for _ in range(self._d_steps):
      before, stats = stats, jax.tree.map(lambda a, old, new: new + a * (new - old), kept, before, stats)
    return state.replace(g_batch_stats=stats), Start(found, pull)

  def _accumulate_grads(
    self, phase: Phase, state: TrainState, stream: str, batch: Batch
  ) -> tuple[TrainState, Any, Metrics]:
    """Runs a phase on the parts of the batch on all devices → (state with the new statistics, gradients, metrics)."""
    stats = Statistics(state.g_batch_stats, state.d_batch_stats)
    part_grads = functools.partial(phase, state, stream)
    stats, (grads, metrics) = jax.lax.pmean(accumulate(part_grads, self.config.accumulate, stats, batch), AXIS)
    return state.replace(g_batch_stats=stats.g, d_batch_stats=stats.d), grads, metrics

  def _dropout_key(self, state: TrainState, stream: str, part: jax.Array) -> jax.Array:
    place = jax.lax.axis_index(AXIS) * self.config.accumulate + part
    return rng.stream_key(self.config.seed, stream, state.step, place)

  def _update_discriminator(self, state: TrainState, grads: Any, metrics: Metrics) -> tuple[TrainState, Metrics]:
    params, opt_state = optimizers.update(self.optimizer, grads, state.d_opt_state, state.d_params)
    return state.replace(d_params=params, d_opt_state=opt_state), metrics | {'d_grad_norm': optax.tree.norm(grads)}

  def _update_generator(self, state: TrainState, grads: Any) -> TrainState:
    params, opt_state = optimizers.update(self.optimizer, grads, state.g_opt_state, state.g_params)
    return state.replace(
      step=state.step + 1,
      g_params=params,
      g_opt_state=opt_state,
      g_ema_params=update_ema(state.g_ema_params, params, self.config.ema_decay, state.step),
    )
