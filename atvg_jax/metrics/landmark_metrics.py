"""Landmark metrics: distance (LMD), correlation over time, lag and jitter; pure functions, for NumPy and JAX arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import features

Array = jax.Array | np.ndarray


def mouth_points(landmarks: Array, image_size: int) -> jax.Array:
  """[..., 136] in half crops -> [..., 20, 2] in pixels."""
  points = jnp.asarray(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  return points[..., features.MOUTH, :] * (image_size / 2)


def lmd(predicted: Array, true: Array, image_size: int = features.IMAGE_SIZE, blunt: float = 0.0) -> jax.Array:
  """Landmark distance: mean distance of the 20 mouth points in pixels, [..., 136] -> [...].

  Args:
    predicted, true: [..., 136] in half crops.
    image_size: the crop's side.
    blunt: pixels within which a distance is rounded off, for a loss: so there is a gradient where points coincide.
  """
  error = mouth_points(predicted, image_size) - mouth_points(true, image_size)
  return jnp.mean(jnp.sqrt(jnp.sum(jnp.square(error), axis=-1) + blunt**2), axis=-1)


def correlation(x: Array, y: Array, mask: Array | None = None) -> jax.Array:
  """Pearson's r over the last axis, [..., T] -> [...]; 0 where either does not vary.

  Args:
    x, y: [..., T].
    mask: [..., T], 0 where a frame does not count.
  """
  x, y = jnp.asarray(x), jnp.asarray(y)
  weights = jnp.ones_like(x) if mask is None else jnp.asarray(mask, x.dtype)
  count = jnp.maximum(jnp.sum(weights, -1, keepdims=True), 1)

  def centred(values: jax.Array) -> jax.Array:
    return (values - jnp.sum(values * weights, -1, keepdims=True) / count) * weights

  x, y = centred(x), centred(y)
  scale = jnp.sqrt(jnp.sum(x * x, -1) * jnp.sum(y * y, -1))
  return jnp.where(scale > 1e-12, jnp.sum(x * y, -1) / jnp.maximum(scale, 1e-12), 0)


def best_lag(x: Array, y: Array, max_lag: int = 5) -> tuple[int, float]:
  """By how many frames `x` [T] comes after `y` [T] where they correlate best, and that correlation.

  Raises:
    ValueError: where fewer than three frames would be left.
  """
  frames = x.shape[-1]
  if frames - max_lag < 3:
    raise ValueError(f'{frames} frames are too few for lags up to {max_lag}')
  scores = {}
  for lag in range(-max_lag, max_lag + 1):
    late, early = (x[lag:], y[: frames - lag]) if lag >= 0 else (x[:lag], y[-lag:])
    scores[lag] = float(correlation(late, early))
  # Of equal correlations the smallest shift.
  lag = max(scores, key=lambda lag: (scores[lag], -abs(lag)))
  return lag, scores[lag]


def jitter(landmarks: Array) -> jax.Array:
  """How much a face trembles: [..., T, 136] -> [...], in % of the eyes' distance, T of 3 or more.

  Mean distance of the nose and brow points, which speech leaves still, from halfway between their places in the frame before and
  in the frame after: smooth motion has little of it.
  """
  points = jnp.asarray(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  steady = points[..., features.BROWS.start : features.NOSE.stop, :]
  tremble = steady[..., 1:-1, :, :] - (steady[..., :-2, :, :] + steady[..., 2:, :, :]) / 2
  eyes = jnp.mean(points[..., features.LEFT_EYE, :], -2) - jnp.mean(points[..., features.RIGHT_EYE, :], -2)
  distance = jnp.mean(jnp.linalg.norm(eyes, axis=-1), axis=-1)
  return 100 * jnp.mean(jnp.linalg.norm(tremble, axis=-1), axis=(-2, -1)) / distance
