"""Audio → landmarks: AT-net learns the coefficients of the landmarks, frame by frame."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from atvg_jax import landmarks as lm
from atvg_jax import models
from atvg_jax.metrics import landmark_metrics
from atvg_jax.models import at_net
from atvg_jax.runtime import rng
from atvg_jax.runtime.parallel import AXIS
from atvg_jax.train import losses, optimizers
from atvg_jax.train.task import Batch, Task, accumulate, frame_weights
from atvg_jax.train.train_state import TrainState, update_ema
from data_pipelines import features

_BLUNT = 0.03  # pixels: see `metrics.lmd`


def _inputs(net: Any, batch: Batch, basis: lm.LandmarkBasis) -> tuple[jax.Array, ...]:
  if isinstance(net, at_net.AtSingle):
    return (batch[features.MFCC],)
  example = lm.to_coefficients(batch[features.EXAMPLE_LANDMARKS], batch[features.REST_LANDMARKS], basis)
  return example, batch[features.MFCC]


def make(config: Any, basis: lm.LandmarkBasis) -> Task:
  """The task. `basis` holds as many components as the net predicts coefficients."""
  net = models.make_net(config, axis_name=AXIS if config.sync_batch_norm else None)
  optimizer = optimizers.make(config.optimizer, config.num_steps)
  weights = config.loss

  def init(key: jax.Array) -> TrainState:
    landmarks = jnp.zeros((1, features.LANDMARK_SIZE))
    batch = {
      features.MFCC: jnp.zeros((1, 1, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)),
      features.EXAMPLE_LANDMARKS: landmarks,
      features.REST_LANDMARKS: landmarks,
    }
    variables = models.make_net(config).init(key, *_inputs(net, batch, basis), train=False)
    params = variables['params']
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      g_params=params,
      g_batch_stats=variables.get('batch_stats', {}),
      g_opt_state=optimizer.init(params),
      g_ema_params=jax.tree.map(jnp.copy, params) if config.ema_decay else None,
    )

  def target(batch: Batch) -> jax.Array:
    rest = batch[features.REST_LANDMARKS][:, None]
    return lm.to_coefficients(batch[features.LANDMARKS], rest, basis)  # [B, T, K]

  def loss_fn(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
    outputs, updates = net.apply(
      {'params': params, 'batch_stats': batch_stats},
      *_inputs(net, batch, basis),
      train=True,
      rngs={'dropout': key},
      mutable=['batch_stats'],
    )
    # Each member by its own error: what they get wrong in ways of their own, their mean gets less wrong.
    predicted, true = outputs.get('by_member', outputs['coefficients']), target(batch)
    terms = {'g_coefficient_loss': losses.coefficient_loss(predicted, true)}
    total = terms['g_coefficient_loss']
    if weights.velocity:
      terms['g_velocity_loss'] = losses.coefficient_loss(jnp.diff(predicted, axis=-2), jnp.diff(true, axis=-2))
      total += weights.velocity * terms['g_velocity_loss']
    if weights.distance:
      landmarks = lm.from_coefficients(predicted, batch[features.REST_LANDMARKS][:, None], basis)
      terms['g_distance_loss'] = jnp.mean(landmark_metrics.lmd(landmarks, batch[features.LANDMARKS], epsilon=_BLUNT))
      total += weights.distance * terms['g_distance_loss']
    terms['g_loss'] = total
    return total, (updates.get('batch_stats', {}), terms)

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    def phase(batch_stats: Any, batch: Batch, part: jax.Array) -> tuple[Any, Any]:
      place = jax.lax.axis_index(AXIS) * config.accumulate + part
      key = rng.stream_key(config.seed, 'g_dropout', state.step, place)
      grads, (batch_stats, terms) = jax.grad(loss_fn, has_aux=True)(state.g_params, batch_stats, batch, key)
      return batch_stats, (grads, terms)

    batch_stats, (grads, terms) = jax.lax.pmean(accumulate(phase, config.accumulate, state.g_batch_stats, batch), AXIS)
    params, opt_state = optimizers.update(optimizer, grads, state.g_opt_state, state.g_params)
    terms['g_grad_norm'] = optax.tree.norm(grads)
    return state.replace(
      step=state.step + 1,
      g_params=params,
      g_batch_stats=batch_stats,
      g_opt_state=opt_state,
      g_ema_params=update_ema(state.g_ema_params, params, config.ema_decay, state.step),
    ), terms

  def predict(state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array]:
    outputs = net.apply(
      {'params': state.inference_params, 'batch_stats': state.g_batch_stats}, *_inputs(net, batch, basis), train=False
    )
    rest = batch[features.REST_LANDMARKS][:, None]
    return outputs['coefficients'], lm.from_coefficients(outputs['coefficients'], rest, basis)

  def eval_step(state: TrainState, batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
    true = batch[features.LANDMARKS]
    coefficients, predicted = predict(state, batch)
    frames = frame_weights(batch, true.shape[1])
    still = jnp.broadcast_to(batch[features.REST_LANDMARKS][:, None], true.shape)
    error = jnp.mean((coefficients - target(batch)) ** 2, axis=-1)
    sums = {
      'coefficient_loss': (jnp.sum(error * frames), jnp.sum(frames)),
      'lmd': (jnp.sum(landmark_metrics.lmd(predicted, true) * frames), jnp.sum(frames)),
      'lmd_still': (jnp.sum(landmark_metrics.lmd(still, true) * frames), jnp.sum(frames)),
      **_opening(lm.mouth_gap(predicted), lm.mouth_gap(true), frames),
    }
    return jax.lax.psum(sums, AXIS)

  def sample_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    _, predicted = predict(state, batch)
    return {
      'true_landmarks': batch[features.LANDMARKS],
      'landmarks': predicted,
      'frames': frame_weights(batch, predicted.shape[1]),
    }

  return Task(init, train_step, eval_step, sample_step)


def _opening(predicted: jax.Array, true: jax.Array, frames: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Whether the mouth opens when it should, and as far: correlation over time, ratio of the deviations.

  Args:
    predicted, true: [B, T] mouth gaps.
    frames: [B, T] 1 for true frames, 0 for padding.
  """
  count = jnp.maximum(frames.sum(axis=1, keepdims=True), 1)

  def centred(gap: jax.Array) -> jax.Array:
    return (gap - (gap * frames).sum(axis=1, keepdims=True) / count) * frames

  predicted, true = centred(predicted), centred(true)
  deviations = jnp.linalg.norm(predicted, axis=1), jnp.linalg.norm(true, axis=1)
  clips = (deviations[1] > 0).astype(jnp.float32)
  correlation = (predicted * true).sum(axis=1) / jnp.maximum(deviations[0] * deviations[1], 1e-12)
  return {
    'opening_correlation': (jnp.sum(correlation * clips), jnp.sum(clips)),
    'opening_range_ratio': (jnp.sum(deviations[0]), jnp.sum(deviations[1])),
  }
