"""The example image warped to a frame's landmarks: where a face's own skin, lips and teeth go when it speaks."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from atvg_jax import landmarks as lm
from atvg_jax.models import mouth_sheets
from atvg_jax.models.landmark_maps import mouth_hole, pixel_centres
from data_pipelines import features

Array = jax.Array

# Brightness, as a share of the lips', of the inside of a mouth of which the image shows nothing.
_DARK = 0.45
_SHUT = 1 / 32  # in half pictures, 2 pixels of 128: a gap between the inner lips that is smaller is nearly shut
_SOFT = 1 / 32  # of a mouth's border


def warped(image: Array, example_landmarks: Array, landmarks: Array, sheets: int = 2) -> tuple[Array, Array]:
  """Moves the image's pixels as its landmarks would have to move; no gradient flows back.

  Skin and lips follow two sheets, see `mouth_sheets`. Between the lips are the image's own teeth where it shows any;
  where it does not, a dark shade of the lips' colour.

  Args:
    image: [B, H, W, C] in [-1, 1].
    example_landmarks: [B, 136], of the image; -1 and 1 at its edges.
    landmarks: [B, T, 136], of the frames.
    sheets: 1 is one smooth field, with nothing of its own between the lips.

  Returns:
    [B, T, H, W, C], and [B, T, H, W, 1]: from how many pixels away each is.
  """
  height, width = image.shape[1:3]
  image = lax.stop_gradient(image)
  source, target = (
    lax.stop_gradient(array).reshape(*array.shape[:-1], features.NUM_LANDMARKS, 2)
    for array in (example_landmarks[:, None], landmarks)
  )
  xs, ys = jnp.asarray(pixel_centres(width)), jnp.asarray(pixel_centres(height))
  # The mouths of aligned faces are here; only here both sheets have to be sampled.
  box = rows, columns = slice(height // 2, height), slice(width * 3 // 16, width * 13 // 16)
  upper, lower = mouth_sheets.sheets(source, target, xs, ys, apart=sheets > 1)
  above = mouth_sheets.above(target, xs, ys)  # [B, T, H, W]
  is_above = above[:, :, None] >= 0.5
  own = mouth_sheets.offset(jnp.where(is_above, upper, lower))
  other = mouth_sheets.offset(jnp.where(is_above, lower, upper)[..., *box])
  # To pixels by a matrix product: its result is kept, while XLA's CPU backend would compute what is more simply made of
  # the offsets anew for each of the twelve numbers that a place takes, in twice the time.
  own, other = (jnp.einsum('...chw,cd->...dhw', move, np.diag([width / 2, height / 2])) for move in (own, other))
  x, y = jnp.arange(width), jnp.arange(height)

  def taken(move: Array, x: Array, y: Array) -> Array:
    return _sample(image, x + move[:, :, 0], y[:, None] + move[:, :, 1])

  frames, distance = taken(own, x, y), jnp.hypot(own[:, :, 0], own[:, :, 1])[..., None]
  if sheets == 1:
    return frames, distance
  share = jnp.minimum(above, 1 - above)[..., *box, None]
  mouth = frames[:, :, *box] * (1 - share) + taken(other, x[columns], y[rows]) * share
  opening = mouth_sheets.opening(source, target, xs[columns], ys[rows])
  hole, known, light = (array[..., None] for array in (opening.hole, opening.known, opening.light))
  shown = _sample(image, x[columns], (opening.rows + 1) * (height / 2) - 0.5)
  teeth = (shown + 1) * light - 1
  lips = (source[..., features.MOUTH, :] + 1) * np.array([width / 2, height / 2]) - 0.5
  lips = _sample(image, lips[..., 0], lips[..., 1])  # [B, 1, 20, C]
  dark = (jnp.mean(lips, axis=2)[:, :, None, None] + 1) * _DARK - 1
  mouth = mouth * (1 - hole) + (teeth * known + dark * (1 - known)) * hole
  return frames.at[:, :, *box].set(mouth), distance


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


def _sample(images: Array, x: Array, y: Array) -> Array:
  """Images [B, H, W, C] at places [B, T, ...] in pixels, or at the nearest within → [B, T, ..., C]; bilinear.

  TPUs have no caches that gathers could use, and read their operands over and over; they have matrix units to spare.
  """
  height, width = images.shape[1:3]
  x, y = jnp.broadcast_arrays(jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1))
  return lax.platform_dependent(images, x, y, tpu=_by_products, default=jax.vmap(_bilinear))


def _by_products(images: Array, x: Array, y: Array) -> Array:
  """`_sample` within the images by products of matrices, in bfloat16: right to a quarter of 255 grey levels.

  Every place takes a weighted sum of all rows, which is a matrix product, and of its result one of all columns; the
  weights are bilinear interpolation's, of which two each are not 0.
  """
  batch, height, width, channels = images.shape
  rows = jnp.moveaxis(images, -1, 2).reshape(batch, height, channels * width).astype(jnp.bfloat16)

  def frame(places: tuple[Array, Array]) -> Array:
    of_x, of_y = (
      jnp.maximum(1 - jnp.abs(at[..., None] - jnp.arange(size)), 0) for at, size in zip(places, (width, height))
    )
    between = jnp.einsum('bnh,bhk->bnk', of_y.astype(jnp.bfloat16), rows).reshape(batch, -1, channels, width)
    return jnp.sum(between.astype(jnp.float32) * of_x[:, :, None], axis=-1)

  # A frame of all clips at a time: what is between the products takes a hundred times a frame's memory.
  flat = (jnp.moveaxis(at.reshape(*at.shape[:2], -1), 1, 0) for at in (x, y))
  return jnp.moveaxis(lax.map(frame, tuple(flat)), 0, 1).reshape(*x.shape, channels)


def _bilinear(image: Array, x: Array, y: Array) -> Array:
  """Image [H, W, C] at places x, y [...] in pixels, within it → [..., C]."""
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
