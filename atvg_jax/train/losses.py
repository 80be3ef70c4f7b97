"""The losses of both nets: pure functions, means over everything that they are given.

The first three are the published ones (arXiv 1905.03820, section 3.3, and the authors' code).
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from atvg_jax.metrics import image_metrics
from data_pipelines import features

Array = jax.Array


def coefficient_loss(predicted: Array, true: Array) -> Array:
  """Mean squared error of landmark coefficients [..., B, T, K], of several answers to one truth [B, T, K] for instance."""
  return jnp.mean(jnp.square(predicted - true))


def dynamic_pixel_loss(fake: Array, real: Array, attention: Array | None, weight: Array | None = None) -> Array:
  """mean(|fake - real| * (attention + 0.5) * weight); the attention gets no gradient from its own weighing.

  Args:
    fake, real: [B, T, H, W, 3] in [-1, 1].
    attention: [B, T, H, W, 1] in [0, 1]; None weighs all pixels alike, by 1.
    weight: [B, T, H, W, 1] or broadcastable, for instance `mouth_weight`.
  """
  loss = jnp.abs(fake - real)
  if attention is not None:
    loss = loss * (lax.stop_gradient(attention) + 0.5)
  if weight is not None:
    loss = loss * weight
  return jnp.mean(loss)


def landmark_loss(regressed: Array, true: Array, mouth_factor: float = 100.0) -> Array:
  """mean(((regressed - true) * m)^2), m = `mouth_factor` on the y of the 20 mouth points, else 1; [..., 136]."""
  factors = jnp.ones((features.NUM_LANDMARKS, 2)).at[features.MOUTH, 1].set(mouth_factor).reshape(-1)
  return jnp.mean(jnp.square((regressed - true) * factors))


def bce_with_logits(logits: Array, target: float) -> Array:
  """Mean binary cross entropy of logits [B] or [B, T] with one target, 1 for real and 0 for fake."""
  return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, target)))


def gradient_loss(fake: Array, real: Array, weight: Array | None = None) -> Array:
  """L1 between the images' differences of neighbouring pixels, down and across: keeps edges sharp.

  Args:
    fake, real: [..., H, W, C].
    weight: [..., H, W, 1] or None; a difference takes the weight of its first pixel.
  """
  error = fake - real
  down = jnp.abs(error[..., 1:, :, :] - error[..., :-1, :, :])
  across = jnp.abs(error[..., :, 1:, :] - error[..., :, :-1, :])
  if weight is not None:
    down, across = down * weight[..., :-1, :, :], across * weight[..., :, :-1, :]
  return jnp.mean(down) + jnp.mean(across)


def ssim_loss(fake: Array, real: Array) -> Array:
  """1 - SSIM, see `metrics.ssim`; [..., H, W, C] in [-1, 1]."""
  return 1 - jnp.mean(image_metrics.ssim(fake / 2 + 0.5, real / 2 + 0.5))


def mouth_weight(landmarks: Array, size: int, factor: float) -> Array:
  """A map of pixel weights [..., size, size, 1]: `factor` on the mouth, 1 far from it; the rest as of `mouth_nearness`."""
  return 1 + (factor - 1) * mouth_nearness(landmarks, size)


def mouth_nearness(landmarks: Array, size: int) -> Array:
  """A Gaussian around the mouth: 1 in its middle, 0 far from it.

  Args:
    landmarks: [..., 136], -1 and 1 at the picture's edges.
    size: the picture's side.

  Returns:
    [..., size, size, 1]. The Gaussian's deviations are half the mouth's width, and in y as large: chin and
    cheeks beside an open mouth count as well.
  """
  points = lax.stop_gradient(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  mouth = points[..., features.MOUTH, :]
  centre = jnp.mean(mouth, axis=-2)[..., None, None, :]  # [..., 1, 1, 2]
  width = jnp.max(mouth[..., 0], axis=-1) - jnp.min(mouth[..., 0], axis=-1)
  deviation = jnp.maximum(width / 2, 0.1)[..., None, None]
  grid = (jnp.arange(size, dtype=points.dtype) + 0.5) * (2 / size) - 1
  across = jnp.square((grid[None, :] - centre[..., 0]) / deviation)
  down = jnp.square((grid[:, None] - centre[..., 1]) / deviation)
  return jnp.exp(-0.5 * (across + down))[..., None]
