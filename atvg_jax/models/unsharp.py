"""Sharpening by an unsharp mask: of what VG-net learns from, and of what it has drawn."""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

_REACH = 4  # pixels: the Gaussian's tail beyond is 1e-4


def sharpened(video: Array, amount: Array | float) -> Array:
  """The video, plus `amount` times what a Gaussian of one pixel's deviation takes from it.

  Args:
    video: [..., H, W, C] in [-1, 1].
    amount: 0 for none; a number, or a map [..., H, W, 1].
  """
  soft = jnp.einsum('ph,...hwc->...pwc', _blur(video.shape[-3]), video)
  soft = jnp.einsum('qw,...pwc->...pqc', _blur(video.shape[-2]), soft)
  return jnp.clip(video + amount * (video - soft), -1, 1)


def _blur(size: int) -> np.ndarray:
  """[size, size]: a Gaussian of deviation 1 around every place, as much of it as there is."""
  distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
  rows = np.exp(-0.5 * np.square(distance)) * (distance <= _REACH)
  return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
