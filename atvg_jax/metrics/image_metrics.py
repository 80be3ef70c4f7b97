"""Image metrics: PSNR and SSIM of the whole face, the mouth and the lips; pure functions, for NumPy and JAX arrays.

Images are [..., H, W, C] in [0, 1].
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import features

Array = jax.Array | np.ndarray

MAX_PSNR = 100.0  # of equal images
_LIPS_MARGIN = 0.25  # of the mouth's width, around the lips
_LEAST_LIPS = 24  # pixels of 128


def mouth_box(size: int) -> tuple[slice, slice]:
  """Rows and columns of an aligned crop of side `size` in which mouth and chin move: rows 64-120, columns 32-96 of 128.

  A choice of this project; the paper scores whole frames only.
  """
  return slice(size // 2, size - size // 16), slice(size // 4, size - size // 4)


def lips_box(landmarks: np.ndarray, size: int = features.IMAGE_SIZE) -> tuple[int, int, int, int]:
  """Where the lips of a clip are: the box of all its mouth points with a margin.

  The margin is a quarter of the mouth's width on each side: a choice of this project, as `mouth_box` is.

  Args:
    landmarks: [T, 136] in half crops, of the true frames.
    size: side of the crop in pixels.

  Returns:
    First row, last row (exclusive), first column, last column (exclusive): inside the crop, with sides of 24 pixels of
    128 or more.
  """
  points = (landmarks.reshape(-1, features.NUM_LANDMARKS, 2)[:, features.MOUTH] + 1) * (size / 2)  # [T, 20, 2]
  margin = _LIPS_MARGIN * np.linalg.norm(points[:, 6] - points[:, 0], axis=-1).mean()  # between the corners
  low, high = points.min(axis=(0, 1)) - margin, points.max(axis=(0, 1)) + margin
  least = size * _LEAST_LIPS / features.IMAGE_SIZE
  spare = np.maximum(least - (high - low), 0) / 2
  low, high = np.floor(low - spare), np.ceil(high + spare)
  # A mouth at the edge: the box is moved back, not made smaller than it may be.
  low = np.clip(low, 0, size - least)
  high = np.clip(np.maximum(high, low + least), 0, size)
  return int(low[1]), int(high[1]), int(low[0]), int(high[0])


def psnr(predicted: Array, true: Array) -> jax.Array:
  """Peak signal to noise ratio in dB: 10 log10(1 / MSE), the mean over pixels and channels; equal images have 100.

  The usual definition, for a peak of 1.

  Args:
    predicted: [..., H, W, C] in [0, 1].
    true: the same shape and range.

  Returns:
    [...].
  """
  return _decibels(jnp.mean(jnp.square(jnp.asarray(predicted) - jnp.asarray(true)), axis=(-3, -2, -1)))


def _decibels(error: jax.Array) -> jax.Array:
  return jnp.minimum(-10 * jnp.log10(jnp.maximum(error, 1e-12)), MAX_PSNR)


def ssim(predicted: Array, true: Array) -> jax.Array:
  """Structural similarity (SSIM), the mean over all windows and channels; 1 for equal images.

  Equation 13 of Wang, Bovik, Sheikh and Simoncelli, 'Image quality assessment: from error visibility to structural
  similarity', IEEE Transactions on Image Processing 13 (4), 2004, with their constants: Gaussian windows of 11x11 and
  standard deviation 1.5, none beyond the border, K1 = 0.01, K2 = 0.03. Equal to `dm_pix.ssim`; products with two banded
  matrices are four times as fast on a CPU as its convolutions, and so is their gradient.

  Args:
    predicted: [..., H, W, C] in [0, 1], with sides of at least 11.
    true: the same shape and range.

  Returns:
    [...].
  """
  x, y = jnp.asarray(predicted), jnp.asarray(true)
  down, across = _gaussian_band(x.shape[-3]), _gaussian_band(x.shape[-2])
  # Moments about the middle grey: less of their digits cancels.
  x, y = x - 0.5, y - 0.5
  moments = jnp.stack([x, y, x * x, y * y, x * y])
  moments = jnp.einsum('ph,m...hwc->m...pwc', down, moments)
  mean_x, mean_y, xx, yy, xy = jnp.einsum('qw,m...pwc->m...pqc', across, moments)
  return jnp.mean(_similarity(mean_x, mean_y, xx, yy, xy), axis=(-3, -2, -1))


def _similarity(mean_x: jax.Array, mean_y: jax.Array, xx: jax.Array, yy: jax.Array, xy: jax.Array) -> jax.Array:
  """SSIM of windows from their moments about the middle grey: equation 13 of Wang et al. 2004."""
  var_x, var_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
  mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
  c1, c2 = 0.01**2, 0.03**2
  numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
  return numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def region_scores(predicted: Sequence[Array], true: Array, boxes: Array) -> list[tuple[jax.Array, jax.Array]]:
  """`psnr` and `ssim` of parts of several videos beside one true video, whose moments are computed once.

  The parts may be of any size, and differ from clip to clip, without compiling anew.

  Args:
    predicted: videos [B, T, H, W, C] in [0, 1]; T is 1 for a picture that stands still.
    true: [B, T, H, W, C] in [0, 1].
    boxes: int32 [B, R, 4]: of each of R parts of every clip the first and the last row (exclusive), the first and the
      last column (exclusive); sides of at least 11.

  Returns:
    For each video two arrays [B, T, R]: `psnr` and `ssim` of the parts cut out.
  """
  # Planes of one channel: products with matrices need no shuffling then.
  y = jnp.moveaxis(jnp.asarray(true), -1, -3) - 0.5  # [B, T, C, H, W]
  down, across = _band_halves(y.shape[-2]), _band_halves(y.shape[-1])

  def windows(values: jax.Array) -> jax.Array:
    values = jnp.concatenate([band @ values[..., part, :] for band, part in down], axis=-2)
    return jnp.concatenate([values[..., part] @ band.T for band, part in across], axis=-1)

  mean_y, yy = windows(y), windows(y * y)
  inner = jnp.asarray(boxes) - jnp.array([0, 10, 0, 10])  # the windows that lie in a part whole
  scores = []
  for video in predicted:
    x = jnp.moveaxis(jnp.asarray(video), -1, -3) - 0.5
    likeness = jnp.mean(_similarity(windows(x), mean_y, windows(x * x), yy, windows(x * y)), axis=-3)
    error = jnp.mean(jnp.square(x - y), axis=-3)  # [B, T, H, W]
    scores.append((_decibels(_region_means(error, boxes)), _region_means(likeness, inner)))
  return scores


def _region_means(values: jax.Array, boxes: Array) -> jax.Array:
  """[B, T, H, W] and boxes [B, R, 4] -> [B, T, R]."""

  def inside(size: int, first: jax.Array, last: jax.Array) -> jax.Array:  # [B, R, size]
    places = jnp.arange(size)
    return ((places >= first[..., None]) & (places < last[..., None])).astype(values.dtype)

  top, bottom, left, right = jnp.moveaxis(jnp.asarray(boxes), -1, 0)  # [B, R]
  rows, columns = inside(values.shape[-2], top, bottom), inside(values.shape[-1], left, right)
  sums = jnp.einsum('brh,bthw,brw->btr', rows, values, columns)
  return sums / ((bottom - top) * (right - left))[:, None]


def _gaussian_band(size: int) -> np.ndarray:
  """[size - 10, size]: each row a normalised Gaussian of 11 taps, one place further on."""
  taps = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
  band = np.zeros((size - 10, size), np.float32)
  for row in range(size - 10):
    band[row, row : row + 11] = taps / taps.sum()
  return band


def _band_halves(size: int) -> list[tuple[np.ndarray, slice]]:
  """`_gaussian_band` as two halves of its rows, each with the places that it sees: a product with zeros is saved."""
  band = _gaussian_band(size)
  middle = len(band) // 2
  parts = slice(0, middle + 10), slice(middle, size)
  return [(band[:middle, parts[0]], parts[0]), (band[middle:, parts[1]], parts[1])]
