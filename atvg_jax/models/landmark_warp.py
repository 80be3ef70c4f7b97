"""The example image warped to a frame's landmarks: where a face's own skin and lips go when it speaks."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from atvg_jax import landmarks as lm
from atvg_jax.models.landmark_maps import mouth_hole, pixel_centres
from data_pipelines import features

Array = jax.Array

# Standard deviation of the Gaussians, in half pictures: 4 pixels of 128 fit training speakers best (SSIM of the lips:
# deviations of 3 to 7, and wider ones for the jaw, were tried).
_BANDWIDTH = 1 / 16
_RIDGE = 1e-2  # weight of no displacement: far from all landmarks pixels stay where they are
_SHUT = 1 / 32  # in half pictures, 2 pixels of 128: a gap between the inner lips that is smaller is nearly shut
_SOFT = 1 / 32  # of a mouth's border
# What speech moves, and the nose's tip, which holds the cheeks.
_POINTS = np.r_[2:15, 30:36, features.MOUTH]


def warped(image: Array, example_landmarks: Array, landmarks: Array) -> tuple[Array, Array]:
  """Moves the image's pixels as its landmarks would have to move; no gradient flows back.

  Every pixel of a frame is taken (bilinear) from a place of the image that lies off it by the mean of the landmarks'
  movements, weighed by Gaussians of the distance to the frame's landmarks (Nadaraya and Watson's regression).

  Args:
    image: [B, H, W, C].
    example_landmarks: [B, 136], of the image; -1 and 1 at its edges.
    landmarks: [B, T, 136], of the frames.

  Returns:
    [B, T, H, W, C], and [B, T, H, W, 1]: from how many pixels away each is.
  """
  height, width = image.shape[1:3]
  points, sources = (
    lax.stop_gradient(array).reshape(*array.shape[:-1], features.NUM_LANDMARKS, 2)[..., _POINTS, :]
    for array in (landmarks, example_landmarks[:, None])
  )
  move = sources - points  # [B, T, N, 2]
  columns, rows = (
    jnp.exp(-0.5 * jnp.square((points[..., axis, None] - pixel_centres(size)) / _BANDWIDTH))
    for axis, size in ((0, width), (1, height))
  )  # [B, T, N, W] and [..., H]
  # The weights are products of what depends on x and on y, so that all sums over landmarks are matrix products.
  sums = jnp.einsum('btnh,btnw,btnc->btchw', rows, columns, jnp.pad(move, ((0, 0),) * 3 + ((0, 1),), constant_values=1))
  offset = sums[:, :, :2] / (sums[:, :, 2:] + _RIDGE)
  right, down = offset[:, :, 0] * (width / 2), offset[:, :, 1] * (height / 2)
  x = jnp.clip(jnp.arange(width) + right, 0, width - 1)
  y = jnp.clip(jnp.arange(height)[:, None] + down, 0, height - 1)
  return jax.vmap(_sample)(lax.stop_gradient(image), x, y), jnp.hypot(right, down)[..., None]


def unknown_mouth(example_landmarks: Array, landmarks: Array, size: int) -> Array:
  """Where a frame opens a mouth that the image shows shut; no gradient flows back.

  There a warped image has only stretched lips: the image does not show what is inside.

  Args:
    example_landmarks: [B, 136], of the image.
    landmarks: [B, T, 136], of the frames.
    size: the frames' side.

  Returns:
    [B, T, size, size, 1]: 1 inside an open mouth; 0 outside, in mouths that are shut, and where the image's gap is
    2 pixels of 128 or more.
  """
  gap, known = (lm.mouth_gap(lax.stop_gradient(points)) for points in (landmarks, example_landmarks[:, None]))
  opened = jnp.clip((gap - known) / _SHUT, 0, 1) * jnp.clip(1 - known / _SHUT, 0, 1)
  # Half the size is fine enough for so soft a border, and a quarter of the work.
  hole = mouth_hole(landmarks, size // 2, _SOFT)
  return opened[..., None, None, None] * jax.image.resize(hole, (*hole.shape[:2], size, size, 1), 'linear')


def _sample(image: Array, x: Array, y: Array) -> Array:
  """Image [H, W, C] at places x, y [T, H, W] in pixels, within it → [T, H, W, C]."""
  height, width, channels = image.shape
  # A pixel and its neighbours to the right, below, and both lie side by side: one gather a place instead of four.
  padded = jnp.pad(image, ((0, 1), (0, 1), (0, 0)), mode='edge')
  cells = jnp.concatenate(
    [padded[top : top + height, left : left + width] for top in (0, 1) for left in (0, 1)], axis=-1
  )
  left, top = jnp.floor(x), jnp.floor(y)
  index = top.astype(jnp.int32) * width + left.astype(jnp.int32)
  corners = cells.reshape(-1, 4 * channels)[index].reshape(*x.shape, 2, 2, channels)
  across, down = (x - left)[..., None, None], (y - top)[..., None]
  pairs = corners[..., 0, :] * (1 - across) + corners[..., 1, :] * across
  return pairs[..., 0, :] * (1 - down) + pairs[..., 1, :] * down
