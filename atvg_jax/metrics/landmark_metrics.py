"""Landmark metrics: distance (LMD), correlation over time, lag, closure and jitter; pure functions, for NumPy and JAX.

Landmarks are [..., 136], x and y of 68 points in half crops: -1 to 1 from one side of the aligned crop to the other.
"""

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import features

Array = jax.Array | np.ndarray

# Openings of the mouth (`face_alignment.mouth_opening`) in distances of the eyes, of which one is 40 pixels of a crop.
# Those of shut lips lie about -.01 and end at .005: beyond it in all corpora the frequencies are level.
SHUT = 0.005
# Found again in the frames themselves, 99.7 % of shut lips have at most this; lips that are so far apart look shut.
TOUCHING = 0.02
# From here on a dark line is seen between the lips; found again, under .4 % of such frames have TOUCHING or less.
APART = 0.04


def mouth_points(landmarks: Array, image_size: int) -> jax.Array:
  """[..., 136] in half crops -> [..., 20, 2] in pixels."""
  points = jnp.asarray(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  return points[..., features.MOUTH, :] * (image_size / 2)


def lmd(predicted: Array, true: Array, image_size: int = features.IMAGE_SIZE, epsilon: float = 0.0) -> jax.Array:
  """Landmark distance (LMD): mean Euclidean distance of the 20 mouth points in pixels.

  Introduced by Chen, Li, Maddox, Duan and Xu, 'Lip Movements Generation at a Glance', ECCV 2018, and used by the paper.
  The mean over frames is left to the caller. The landmarks are not centred first, unlike in the published script
  (`published_metrics.lmd_published_sum`).

  Args:
    predicted: [..., 136] in half crops.
    true: [..., 136] in half crops.
    image_size: the crop's side in pixels.
    epsilon: pixels; each distance is sqrt(d^2 + epsilon^2), so that a loss has a gradient where points coincide.

  Returns:
    [...].
  """
  error = mouth_points(predicted, image_size) - mouth_points(true, image_size)
  return jnp.mean(jnp.sqrt(jnp.sum(jnp.square(error), axis=-1) + epsilon**2), axis=-1)


def correlation(x: Array, y: Array, mask: Array | None = None) -> jax.Array:
  """Pearson's correlation coefficient over the last axis, in [-1, 1]; 0 where either does not vary.

  Args:
    x: [..., T].
    y: [..., T].
    mask: [..., T], 0 where a frame does not count.

  Returns:
    [...].
  """
  x, y = jnp.asarray(x), jnp.asarray(y)
  weights = jnp.ones_like(x) if mask is None else jnp.asarray(mask, x.dtype)
  x, y = centred(x, weights), centred(y, weights)
  scale = jnp.sqrt(jnp.sum(x * x, -1) * jnp.sum(y * y, -1))
  return jnp.where(scale > 1e-12, jnp.sum(x * y, -1) / jnp.maximum(scale, 1e-12), 0)


def centred(values: Array, mask: Array) -> jax.Array:
  """Values [..., T] less their mean over the last axis, where the mask [..., T] is 1; 0 where it is 0."""
  count = jnp.maximum(jnp.sum(mask, -1, keepdims=True), 1)
  return (jnp.asarray(values) - jnp.sum(values * mask, -1, keepdims=True) / count) * mask


def best_lag(x: Array, y: Array, max_lag: int = 5) -> tuple[int, float]:
  """By how many frames `x` comes after `y` where they correlate best, and that correlation.

  The maximum of the normalised cross-correlation, of each lag over the frames that overlap.

  Args:
    x: [T].
    y: [T].
    max_lag: frames, either way.

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


def closures(opening: Array, true_opening: Array) -> tuple[jax.Array, jax.Array]:
  """How often the lips meet when they should, and when they should not. A measure of this project.

  Args:
    opening: [..., T] of the drawn mouth, found again in its frames, in distances of the eyes.
    true_opening: [..., T] of the true mouth.

  Returns:
    Closure [...]: of the frames in which the true lips are SHUT or less, the share in which the drawn ones are TOUCHING
    or less. False closure [...]: of those in which the true lips are more than APART, the share in which the drawn ones
    are TOUCHING or less. NaN where the clip has no such frame.
  """
  touching = jnp.asarray(opening) <= TOUCHING
  shut, apart = jnp.asarray(true_opening) <= SHUT, jnp.asarray(true_opening) > APART
  return _share(touching, shut), _share(touching, apart)


def _share(events: jax.Array, of: jax.Array) -> jax.Array:
  count = jnp.sum(of, -1)
  return jnp.where(count > 0, jnp.sum(events & of, -1) / jnp.maximum(count, 1), jnp.nan)


def jitter(landmarks: Array) -> jax.Array:
  """How much a face trembles, in % of the distance between the eyes.

  Mean distance of the nose and brow points, which speech leaves still, from halfway between their places in the frame
  before and in the frame after: half the second difference over time, of which smooth motion has little. A measure of
  this project.

  Args:
    landmarks: [..., T, 136], T of 3 or more.

  Returns:
    [...].
  """
  points = jnp.asarray(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  steady = points[..., features.BROWS.start : features.NOSE.stop, :]
  tremble = steady[..., 1:-1, :, :] - (steady[..., :-2, :, :] + steady[..., 2:, :, :]) / 2
  eyes = jnp.mean(points[..., features.LEFT_EYE, :], -2) - jnp.mean(points[..., features.RIGHT_EYE, :], -2)
  distance = jnp.mean(jnp.linalg.norm(eyes, axis=-1), axis=-1)
  return 100 * jnp.mean(jnp.linalg.norm(tremble, axis=-1), axis=(-2, -1)) / distance
