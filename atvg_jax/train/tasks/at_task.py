"""Audio → landmarks: AT-net learns the PCA coefficients of the landmarks, frame by frame, by their squared error."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from atvg_jax import landmarks as lm
from atvg_jax import models
from atvg_jax.audio import front_ends
from atvg_jax.metrics import landmark_metrics
from atvg_jax.models import speech_head
from atvg_jax.runtime import rng
from atvg_jax.runtime.parallel import AXIS
from atvg_jax.train import losses, optimizers
from atvg_jax.train.task import Batch, Task, accumulate, frame_weights, masked_sums
from atvg_jax.train.train_state import TrainState, update_ema
from data_pipelines import features
from data_pipelines.augmentation import sound_scenes

_TOUCHING = 0.75  # pixels: below this gap lips touch
_EPSILON = 0.03  # pixels, of the distance term: see `landmark_metrics.lmd`


def make(config: Any, basis: lm.LandmarkBasis) -> Task:
  """The task of a config; `basis` holds as many components as the net predicts coefficients."""
  net = models.make_net(config, axis_name=AXIS if config.sync_batch_norm else None)
  front_end = front_ends.of(config)
  frozen = front_end.load_weights() if front_end.takes_sound else {}
  task = AtTask(config, net, optimizers.make(config.optimizer, config.num_steps), basis, front_end, frozen)
  return Task(task.init, task.train_step, task.eval_step, task.sample_step)


@dataclasses.dataclass(frozen=True, eq=False)
class AtTask:
  """The functions of the task. None keeps anything: what changes is in the `TrainState`.

  Attributes:
    config: the whole config.
    net: AT-net, as `models.make_net` makes it for training.
    optimizer: its optimizer.
    basis: the linear model of landmarks whose coefficients the net predicts.
    front_end: what the net takes its input from.
    frozen: its weights, constants of the steps.
  """

  config: Any
  net: nn.Module
  optimizer: optax.GradientTransformation
  basis: lm.LandmarkBasis
  front_end: front_ends.FrontEnd
  frozen: Mapping[str, Any]

  def init(self, key: jax.Array) -> TrainState:
    """A new state, its parameters drawn by `key`."""
    landmarks = jnp.zeros((1, features.LANDMARK_SIZE))
    example = lm.to_coefficients(landmarks, landmarks, self.basis)
    audio = jnp.zeros((1, 1, *self.front_end.shape))
    # Not `self.net`, whose batch norm may name the devices' axis: nothing is mapped over it here.
    variables = models.make_net(self.config).init(key, example, audio, train=False)
    params = variables['params']
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      g_params=params,
      g_batch_stats=variables.get('batch_stats', {}),
      g_opt_state=self.optimizer.init(params),
      g_ema_params=jax.tree.map(jnp.copy, params) if self.config.ema_decay else None,
    )

  def loss(self, params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
    """What is minimised: squared error of the coefficients, by weight also of their velocity, and the mouth's distance.

    Args:
      params: AT-net's.
      batch_stats: its batch-norm statistics.
      batch: a device's batch, or part of it.
      key: of the dropout.

    Returns:
      The weighted sum, and (the new statistics, {name: term}).
    """
    outputs, updates = self.net.apply(
      {'params': params, 'batch_stats': batch_stats},
      *self._inputs(batch, train=True),
      train=True,
      rngs={'dropout': key},
      mutable=['batch_stats'],
    )
    # Each network of an ensemble by its own error: their mean errs less where they err independently.
    predicted, true = outputs.get('by_member', outputs['coefficients']), self._true_coefficients(batch)
    frames = batch.get(features.FRAME_MASK)
    weights, terms = self.config.loss, {'g_coefficient_loss': (1.0, losses.coefficient_loss(predicted, true, frames))}
    if weights.velocity:
      velocity_loss = losses.coefficient_loss(jnp.diff(predicted, axis=-2), jnp.diff(true, axis=-2), _steps(frames))
      terms['g_velocity_loss'] = weights.velocity, velocity_loss
    if weights.distance:
      rest = self._rest(batch)[:, None]
      landmarks = lm.from_coefficients(predicted, rest, self.basis)
      # Composed windows hold clips with several rests: there the truth is as the basis has it.
      truth = lm.from_coefficients(true, rest, self.basis) if features.REST_GAPS in batch else batch[features.LANDMARKS]
      distances = landmark_metrics.lmd(landmarks, truth, epsilon=_EPSILON)
      terms['g_distance_loss'] = weights.distance, losses.frame_mean(distances, frames)
    terms |= self._gap_terms(predicted, true, frames)
    if weights.speaking:
      spoken = (batch[features.REST_GAPS] > sound_scenes.CLOSED).astype(jnp.float32)
      terms['g_speaking_loss'] = weights.speaking, losses.detection_loss(outputs['speaking'], spoken, frames)
    total, values = losses.weighted_sum(terms)
    return total, (updates.get('batch_stats', {}), values | {'g_loss': total})

  def train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update of AT-net by the gradients' average over all devices."""
    config = self.config

    def part_grads(batch_stats: Any, batch: Batch, part: jax.Array) -> tuple[Any, Any]:
      place = jax.lax.axis_index(AXIS) * config.accumulate + part
      key = rng.stream_key(config.seed, 'g_dropout', state.step, place)
      grads, (batch_stats, terms) = jax.grad(self.loss, has_aux=True)(state.g_params, batch_stats, batch, key)
      return batch_stats, (grads, terms)

    batch_stats, (grads, terms) = jax.lax.pmean(
      accumulate(part_grads, config.accumulate, state.g_batch_stats, batch), AXIS
    )
    params, opt_state = optimizers.update(self.optimizer, grads, state.g_opt_state, state.g_params)
    terms['g_grad_norm'] = optax.tree.norm(grads)
    return state.replace(
      step=state.step + 1,
      g_params=params,
      g_batch_stats=batch_stats,
      g_opt_state=opt_state,
      g_ema_params=update_ema(state.g_ema_params, params, config.ema_decay, state.step),
    ), terms

  def eval_step(self, state: TrainState, batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Sums and counts of error, LMD (`lmd_still`: of the face at rest) and the mouth's opening."""
    true = batch[features.LANDMARKS]
    coefficients, predicted = self._predict(state, batch)
    frames = frame_weights(batch, true.shape[1])
    at_rest = jnp.broadcast_to(self._rest(batch)[:, None], true.shape)
    sums = {
      'coefficient_loss': masked_sums(jnp.mean((coefficients - self._true_coefficients(batch)) ** 2, axis=-1), frames),
      'lmd': masked_sums(landmark_metrics.lmd(predicted, true), frames),
      'lmd_still': masked_sums(landmark_metrics.lmd(at_rest, true), frames),
      **_opening(lm.mouth_gap(predicted), lm.mouth_gap(true), frames),
    }
    return jax.lax.psum(sums, AXIS)

  def sample_step(self, state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    """Landmarks for `pictures.landmark_plot`."""
    _, predicted = self._predict(state, batch)
    return {
      'true_landmarks': batch[features.LANDMARKS],
      'landmarks': predicted,
      'frames': frame_weights(batch, predicted.shape[1]),
    }

  def _gap_terms(self, predicted: jax.Array, true: jax.Array, frames: jax.Array | None) -> losses.Terms:
    """The terms of `config.loss` about the lips' gap, in units of the first coefficient's."""
    weights, terms = self.config.loss, {}
    gaps = np.asarray(lm.mouth_gap(self.basis.components * self.basis.scale))  # [K]
    unit = 1 / max(abs(float(gaps[0])), 1e-6)
    ours, truth = predicted @ (gaps * unit), true @ (gaps * unit)
    if weights.gap:
      touching = truth < _TOUCHING * unit / (features.IMAGE_SIZE / 2)
      errors = jnp.square(ours - truth) * (1 + weights.closure * touching)
      terms['g_gap_loss'] = weights.gap, losses.frame_mean(errors, frames)
    if weights.gap_velocity:
      errors = jnp.square(jnp.diff(ours, axis=-1) - jnp.diff(truth, axis=-1))
      terms['g_gap_velocity_loss'] = weights.gap_velocity, losses.frame_mean(errors, _steps(frames))
    if weights.concordance:
      counted = jnp.ones(truth.shape) if frames is None else frames
      terms['g_concordance_loss'] = weights.concordance, losses.concordance_loss(ours, truth, counted)
    return terms

  def _inputs(self, batch: Batch, *, train: bool) -> tuple[jax.Array, jax.Array]:
    """Coefficients of the example [B, K], and the front end's features [B, T, ...]."""
    example = lm.to_coefficients(batch[features.EXAMPLE_LANDMARKS], batch[features.REST_LANDMARKS], self.basis)
    if not self.front_end.takes_sound:
      return example, batch[features.MFCC]
    return example, jax.lax.stop_gradient(self.front_end.features(self.frozen, self._sound(batch, train=train)))

  def _sound(self, batch: Batch, *, train: bool) -> jax.Array:
    """[B, 640 T] in [-1, 1]; in evaluation of whole clips, with the silence around them that generation has there."""
    sound = features.sound_to_float(batch[features.AUDIO])
    if train:
      return sound
    around = (features.SAMPLES_PER_FRAME * frames for frames in (self.front_end.past, self.front_end.ahead))
    return jnp.pad(sound, ((0, 0), tuple(around)))

  def _true_coefficients(self, batch: Batch) -> jax.Array:
    """[B, T, K]."""
    rest, basis = batch[features.REST_LANDMARKS], self.basis
    coefficients = lm.to_coefficients(batch[features.LANDMARKS], rest[:, None], basis)
    if self.config.landmarks.rest_gap is None:
      return coefficients
    gaps = batch[features.REST_GAPS] if features.REST_GAPS in batch else lm.mouth_gap(rest)[:, None]
    excess = jnp.maximum(gaps - basis.rest_gap, 0)[..., None]
    return coefficients + excess * (basis.opening @ basis.components.T / basis.scale)

  def _rest(self, batch: Batch) -> jax.Array:
    """[B, 136]: the rest shapes that coefficients refer to."""
    rest = batch[features.REST_LANDMARKS]
    return rest if self.config.landmarks.rest_gap is None else lm.closed(rest, self.basis)

  def _predict(self, state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Coefficients [B, T, K] and landmarks [B, T, 136], in evaluation mode."""
    variables = {'params': state.inference_params, 'batch_stats': state.g_batch_stats}
    outputs: Any = self.net.apply(variables, *self._inputs(batch, train=False), train=False)
    coefficients = outputs['coefficients']
    if self.front_end.takes_sound:
      coefficients = speech_head.moved(outputs, self._sound(batch, train=False))
      coefficients = coefficients[:, self.front_end.past : -self.front_end.ahead]
    return coefficients, lm.from_coefficients(coefficients, self._rest(batch)[:, None], self.basis)


def _steps(frames: jax.Array | None) -> jax.Array | None:
  """Weights of the steps between frames, of the frames' [B, T]."""
  return None if frames is None else frames[:, 1:] * frames[:, :-1]


def _opening(predicted: jax.Array, true: jax.Array, frames: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Whether the mouth opens when it should, and as far: correlation over time, ratio of the deviations.

  Args:
    predicted: [B, T] mouth gaps.
    true: [B, T] mouth gaps.
    frames: [B, T] 1 for true frames, 0 for padding.

  Returns:
    {name: (sum, count)}. Clips whose true mouth does not move have no correlation.
  """
  spread, true_spread = (jnp.linalg.norm(landmark_metrics.centred(gap, frames), axis=1) for gap in (predicted, true))
  moving = (true_spread > 0).astype(jnp.float32)
  return {
    'opening_correlation': masked_sums(landmark_metrics.correlation(predicted, true, frames), moving),
    'opening_range_ratio': (jnp.sum(spread), jnp.sum(true_spread)),
  }
