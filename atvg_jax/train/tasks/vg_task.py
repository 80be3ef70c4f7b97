"""Landmarks → video: VG-net, alone or against the regression-based discriminator.

With a discriminator a step has the published order: D learns from a real and a generated clip and is
updated; then G generates again, with fresh dropout, and learns against the updated D. `config.simultaneous` generates
once: both learn from the same frames, against each other as they were before the step.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from atvg_jax import models
from atvg_jax.metrics import image_metrics
from atvg_jax.models import discriminator, unsharp, vg_net
from atvg_jax.runtime import rng
from atvg_jax.runtime.parallel import AXIS
from atvg_jax.train import losses, optimizers
from atvg_jax.train.task import Batch, Task, accumulate, frame_weights
from atvg_jax.train.train_state import TrainState, update_ema
from data_pipelines import features


def _make_discriminator(config: Any, axis_name: str | None = None) -> discriminator.RegressionDiscriminator:
  return models.build(
    discriminator.RegressionDiscriminator, config.discriminator, dtype=jnp.dtype(config.dtype), axis_name=axis_name
  )


def _to_float(images: jax.Array) -> jax.Array:
  """uint8 → [-1, 1]."""
  return images.astype(jnp.float32) / 127.5 - 1


def _inputs(net: vg_net.VgNet | vg_net.SoundVgNet, batch: Batch) -> tuple[jax.Array, ...]:
  image = _to_float(batch[features.EXAMPLE_IMAGE])
  if isinstance(net, vg_net.SoundVgNet):
    return image, batch[features.MFCC]
  return image, batch[features.EXAMPLE_LANDMARKS], batch[features.LANDMARKS]


def _variables(params: Any, batch_stats: Any) -> dict[str, Any]:
  return {'params': params, 'batch_stats': batch_stats}


def make(config: Any, basis: Any = None) -> Task:
  """The task; the landmarks it learns from are the true ones, so it needs no `basis`."""
  del basis
  axis_name = AXIS if config.sync_batch_norm else None
  net = models.make_net(config, axis_name=axis_name, remat=config.remat)
  adversarial = config.discriminator is not None
  d_net = _make_discriminator(config, axis_name) if adversarial else None
  g_optimizer = optimizers.make(config.optimizer, config.num_steps)
  d_optimizer = optimizers.make(config.optimizer, config.num_steps)
  weights = config.loss

  def init(key: jax.Array) -> TrainState:
    size = config.data.image_size
    image, landmarks = jnp.zeros((1, size, size, 3)), jnp.zeros((1, features.LANDMARK_SIZE))
    batch = {
      features.EXAMPLE_IMAGE: image,
      features.EXAMPLE_LANDMARKS: landmarks,
      features.LANDMARKS: landmarks[:, None],
      features.MFCC: jnp.zeros((1, 1, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)),
    }
    variables = models.make_net(config).init(key, *_inputs(net, batch), train=False)
    params = variables['params']
    state = TrainState(
      step=jnp.zeros((), jnp.int32),
      g_params=params,
      g_batch_stats=variables.get('batch_stats', {}),
      g_opt_state=g_optimizer.init(params),
      g_ema_params=jax.tree.map(jnp.copy, params) if config.ema_decay else None,
    )
    if not adversarial:
      return state
    d_variables = _make_discriminator(config).init(jax.random.fold_in(key, 1), image[:, None], landmarks, train=False)
    return state.replace(
      d_params=d_variables['params'],
      d_batch_stats=d_variables.get('batch_stats', {}),
      d_opt_state=d_optimizer.init(d_variables['params']),
    )

  def generate(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> tuple[dict[str, jax.Array], Any]:
    """Frames in training mode → (outputs, batch-norm statistics)."""
    outputs, updates = net.apply(
      _variables(params, batch_stats), *_inputs(net, batch), train=True, rngs={'dropout': key}, mutable=['batch_stats']
    )
    return outputs, updates.get('batch_stats', {})

  def discriminate(params: Any, batch_stats: Any, video: jax.Array, batch: Batch) -> tuple[dict[str, jax.Array], Any]:
    outputs, updates = d_net.apply(
      _variables(params, batch_stats), video, batch[features.EXAMPLE_LANDMARKS], train=True, mutable=['batch_stats']
    )
    return outputs, updates.get('batch_stats', {})

  def d_loss_fn(d_params: Any, batch_stats: Any, batch: Batch, fake: jax.Array) -> tuple[jax.Array, Any]:
    real_out, batch_stats = discriminate(d_params, batch_stats, _to_float(batch[features.VIDEO]), batch)
    fake_out, batch_stats = discriminate(d_params, batch_stats, fake, batch)
    true = batch[features.LANDMARKS]
    terms = {
      'd_real_loss': losses.bce_with_logits(real_out['logits'], 1.0),
      'd_fake_loss': losses.bce_with_logits(fake_out['logits'], 0.0),
    }
    total = weights.adversarial * (terms['d_real_loss'] + terms['d_fake_loss'])
    if d_net.regression:
      terms['d_landmark_real_loss'] = losses.landmark_loss(real_out['landmarks'], true)
      terms['d_landmark_fake_loss'] = losses.landmark_loss(fake_out['landmarks'], true)
      total += weights.landmark * (terms['d_landmark_real_loss'] + terms['d_landmark_fake_loss'])
    return total, (batch_stats, terms | {'d_loss': total})

  def g_loss_fn(outputs: Any, d_params: Any, d_batch_stats: Any, batch: Batch) -> tuple[jax.Array, Any]:
    """What G has to answer for of its own `outputs` → (loss, (D's statistics, terms))."""
    fake, real = outputs['video'].astype(jnp.float32), _to_float(batch[features.VIDEO])
    weight = None
    if weights.sharpened_mouth:
      nearness = losses.mouth_nearness(batch[features.LANDMARKS], real.shape[2])
      real = unsharp.sharpened(real, weights.sharpened_mouth * nearness)
    if weights.mouth_weight != 1:
      weight = losses.mouth_weight(batch[features.LANDMARKS], real.shape[2], weights.mouth_weight)
    attention = outputs['attention'] if weights.dynamic else None
    terms = {'g_pixel_loss': losses.dynamic_pixel_loss(fake, real, attention, weight)}
    total = weights.pixel * terms['g_pixel_loss']
    if weights.gradient:
      terms['g_gradient_loss'] = losses.gradient_loss(fake, real, weight)
      total += weights.gradient * terms['g_gradient_loss']
    if weights.ssim:
      box = image_metrics.mouth_box(real.shape[2])
      terms['g_ssim_loss'] = losses.ssim_loss(fake[:, :, *box], real[:, :, *box])
      total += weights.ssim * terms['g_ssim_loss']
    if adversarial:
      d_out, d_batch_stats = discriminate(d_params, d_batch_stats, fake, batch)
      terms['g_adversarial_loss'] = losses.bce_with_logits(d_out['logits'], 1.0)
      total += weights.adversarial * terms['g_adversarial_loss']
      if d_net.regression:
        terms['g_landmark_loss'] = losses.landmark_loss(d_out['landmarks'], batch[features.LANDMARKS])
        total += weights.landmark * terms['g_landmark_loss']
    return total, (d_batch_stats, terms | {'g_loss': total})

  # Phases of a step: (state, dropout's stream, (G's, D's statistics), batch, part) → (statistics, (gradients, terms)).

  def dropout_key(state: TrainState, stream: str, part: jax.Array) -> jax.Array:
    return rng.stream_key(config.seed, stream, state.step, jax.lax.axis_index(AXIS) * config.accumulate + part)

  def d_phase(state: TrainState, stream: str, stats: Any, batch: Batch, part: jax.Array) -> tuple[Any, Any]:
    outputs, g_stats = generate(state.g_params, stats[0], batch, dropout_key(state, stream, part))
    fake = outputs['video'].astype(jnp.float32)
    grads, (d_stats, terms) = jax.grad(d_loss_fn, has_aux=True)(state.d_params, stats[1], batch, fake)
    return (g_stats, d_stats), (grads, terms)

  def g_phase(state: TrainState, stream: str, stats: Any, batch: Batch, part: jax.Array) -> tuple[Any, Any]:
    def loss(g_params: Any) -> tuple[jax.Array, Any]:
      outputs, g_stats = generate(g_params, stats[0], batch, dropout_key(state, stream, part))
      total, (d_stats, terms) = g_loss_fn(outputs, state.d_params, stats[1], batch)
      return total, ((g_stats, d_stats), terms)

    grads, (stats, terms) = jax.grad(loss, has_aux=True)(state.g_params)
    return stats, (grads, terms)

  def both_phase(state: TrainState, stream: str, stats: Any, batch: Batch, part: jax.Array) -> tuple[Any, Any]:
    def loss(d_params: Any, g_params: Any) -> tuple[jax.Array, Any]:
      outputs, g_stats = generate(g_params, stats[0], batch, dropout_key(state, stream, part))
      fake = jax.lax.stop_gradient(outputs['video'].astype(jnp.float32))
      d_total, (d_stats, d_terms) = d_loss_fn(d_params, stats[1], batch, fake)
      # D judges the same frames twice, for its own loss and for G's: the compiler sees one pass in that.
      g_total, (_, g_terms) = g_loss_fn(outputs, jax.lax.stop_gradient(d_params), stats[1], batch)
      return d_total + g_total, ((g_stats, d_stats), d_terms | g_terms)

    grads, (stats, terms) = jax.grad(loss, (0, 1), has_aux=True)(state.d_params, state.g_params)
    return stats, (grads, terms)

  def play(phase: Any, state: TrainState, stream: str, batch: Batch) -> tuple[TrainState, Any, dict[str, jax.Array]]:
    """Runs a phase on all devices → (state with the new statistics, gradients, terms)."""
    stats, (grads, terms) = jax.lax.pmean(
      accumulate(partial(phase, state, stream), config.accumulate, (state.g_batch_stats, state.d_batch_stats), batch),
      AXIS,
    )
    return state.replace(g_batch_stats=stats[0], d_batch_stats=stats[1]), grads, terms

  def update_d(state: TrainState, grads: Any) -> TrainState:
    params, opt_state = optimizers.update(d_optimizer, grads, state.d_opt_state, state.d_params)
    return state.replace(d_params=params, d_opt_state=opt_state)

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    reported = {}
    if adversarial and config.simultaneous:
      state, (d_grads, grads), terms = play(both_phase, state, 'g_dropout', batch)
      state, reported = update_d(state, d_grads), {'d_grad_norm': optax.tree.norm(d_grads)}
    else:
      for index in range(config.d_steps if adversarial else 0):
        state, d_grads, terms = play(d_phase, state, f'd_dropout{index or ""}', batch)
        state, reported = update_d(state, d_grads), terms | {'d_grad_norm': optax.tree.norm(d_grads)}
      state, grads, terms = play(g_phase, state, 'g_dropout', batch)
    params, opt_state = optimizers.update(g_optimizer, grads, state.g_opt_state, state.g_params)
    return state.replace(
      step=state.step + 1,
      g_params=params,
      g_opt_state=opt_state,
      g_ema_params=update_ema(state.g_ema_params, params, config.ema_decay, state.step),
    ), reported | terms | {'g_grad_norm': optax.tree.norm(grads)}

  def predict(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    return net.apply(_variables(state.inference_params, state.g_batch_stats), *_inputs(net, batch), train=False)

  def eval_step(state: TrainState, batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
    real = batch[features.VIDEO].astype(jnp.float32) / 255
    fake = predict(state, batch)['video'].astype(jnp.float32) / 2 + 0.5
    still = jnp.broadcast_to(batch[features.EXAMPLE_IMAGE][:, None].astype(jnp.float32) / 255, real.shape)
    frames = frame_weights(batch, real.shape[1])
    sums = {'pixel_l1': (jnp.sum(jnp.abs(fake - real).mean(axis=(2, 3, 4)) * frames), jnp.sum(frames))}
    for suffix, video in (('', fake), ('_still', still)):
      for region, box in (('', (slice(None), slice(None))), ('_mouth', image_metrics.mouth_box(real.shape[2]))):
        ours, true = (images[:, :, *box].reshape(-1, *images[0, 0, *box].shape) for images in (video, real))
        for name, metric in (('psnr', image_metrics.psnr), ('ssim', image_metrics.ssim)):
          score = metric(ours, true).reshape(frames.shape)
          sums[f'{name}{region}{suffix}'] = (jnp.sum(score * frames), jnp.sum(frames))
    return jax.lax.psum(sums, AXIS)

  def sample_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    outputs = predict(state, batch)
    return {
      'example_image': _to_float(batch[features.EXAMPLE_IMAGE]),
      'true_video': _to_float(batch[features.VIDEO]),
      'mfcc': batch[features.MFCC],
      **{name: outputs[name] for name in ('video', 'attention', 'color')},
    }

  return Task(init, train_step, eval_step, sample_step)
