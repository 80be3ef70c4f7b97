"""How good are frames and landmarks: pure functions, for NumPy and JAX arrays.

Images are [..., H, W, C] in [0, 1], unless a name says `published`: those repeat, on uint8 images, what the
published evaluation script computes, for tables that stand beside published ones, and nothing else.
Sharpness (CPBD) has a file of its own, `sharpness`.
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
  """Rows and columns of an aligned crop of side `size` in which mouth and chin move."""
  return slice(size // 2, size - size // 16), slice(size // 4, size - size // 4)


def lips_box(landmarks: np.ndarray, size: int = features.IMAGE_SIZE) -> tuple[int, int, int, int]:
  """Where the lips of a clip are: the box of all its mouth points, widened by a quarter of the mouth's width on each side.

  Args:
    landmarks: [T, 136], of the true frames.
    size: side of the crop.

  Returns:
    First row, last row (exclusive), first column, last column (exclusive): inside the crop, with sides of 24 pixels of 128 or
    more.
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
  """Peak signal to noise ratio in dB, [..., H, W, C] -> [...]; equal images have 100."""
  return _decibels(jnp.mean(jnp.square(jnp.asarray(predicted) - jnp.asarray(true)), axis=(-3, -2, -1)))


def _decibels(error: jax.Array) -> jax.Array:
  return jnp.minimum(-10 * jnp.log10(jnp.maximum(error, 1e-12)), MAX_PSNR)


def ssim(predicted: Array, true: Array) -> jax.Array:
  """Structural similarity, mean over all windows, [..., H, W, C] -> [...]; sides of at least 11.

  Wang et al., IEEE Transactions on Image Processing 13 (4), 2004: Gaussian windows of 11x11 and deviation 1.5, none beyond the
  border. Equal to `dm_pix.ssim`; products with two banded matrices are four times as fast on a CPU as its convolutions, and
  so is their gradient.
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
  """SSIM of windows from their moments about the middle grey."""
  var_x, var_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
  mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
  c1, c2 = 0.01**2, 0.03**2
  numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
  return numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def region_scores(predicted: Sequence[Array], true: Array, boxes: Array) -> list[tuple[jax.Array, jax.Array]]:
  """`psnr` and `ssim` of parts of several videos beside one true video, whose moments are computed once.

  The parts may be of any size, and differ from clip to clip, without compiling anew.

  Args:
    predicted: videos [B, T, H, W, C]; T is 1 for a picture that stands still.
    true: [B, T, H, W, C].
    boxes: int32 [B, R, 4]: of each of R parts of every clip the first and the last row (exclusive), the first and the last column
      (exclusive); sides of at least 11.

  Returns:
    For each video two arrays [B, T, R]: what the functions of these names say of the parts cut out.
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
    band[row, row:row + 11] = taps / taps.sum()
  return band


def _band_halves(size: int) -> list[tuple[np.ndarray, slice]]:
  """`_gaussian_band` as two halves of its rows, each with the places that it sees: a product with zeros is saved."""
  band = _gaussian_band(size)
  middle = len(band) // 2
  parts = slice(0, middle + 10), slice(middle, size)
  return [(band[:middle, parts[0]], parts[0]), (band[middle:, parts[1]], parts[1])]


def published_image(image: np.ndarray) -> np.ndarray:
  """uint8 [H, W, 3] at 256x256, by repeating pixels: what the published script's area resize does to 128x128.

  Raises:
    ValueError: where the side does not divide 256.
  """
  height, width = image.shape[:2]
  if 256 % height or 256 % width:
    raise ValueError(f'the published scores are for images whose sides divide 256, not {height}x{width}')
  return image.repeat(256 // height, axis=0).repeat(256 // width, axis=1)


def published_grey(image: np.ndarray) -> np.ndarray:
  """uint8 [H, W, 3] RGB -> uint8 [256, 256] luma (0.299, 0.587, 0.114 in 15-bit fixed point, as OpenCV has it)."""
  red, green, blue = (published_image(image)[..., channel].astype(np.int32) for channel in range(3))
  return ((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15).astype(np.uint8)


def psnr_published(predicted: np.ndarray, true: np.ndarray) -> float:
  """The published 'PSNR': differences and squares of uint8 wrap around at 256, so that it never falls below 25 or so.

  Not a PSNR. Takes two uint8 images of one shape; the published tables use `published_grey` images.

  Raises:
    ValueError: where an image is not uint8.
  """
  if predicted.dtype != np.uint8 or true.dtype != np.uint8:
    raise ValueError('the published PSNR wraps as uint8 does: give uint8 images')
  difference = predicted - true
  error = np.mean(difference * difference)
  return MAX_PSNR if error == 0 else float(10 * np.log10(255**2 / error))


def ssim_published(predicted: np.ndarray, true: np.ndarray) -> float:
  """The published SSIM: 7x7 uniform windows, sample covariance, channels averaged.

  Takes uint8 [H, W, 3]; the published tables use `published_image` images.
  """
  x, y = predicted.astype(np.float64), true.astype(np.float64)
  size = 7
  count = size * size
  mean_x, mean_y = _window_means(x, size), _window_means(y, size)
  unbiased = count / (count - 1)
  var_x = unbiased * (_window_means(x * x, size) - mean_x**2)
  var_y = unbiased * (_window_means(y * y, size) - mean_y**2)
  covariance = unbiased * (_window_means(x * y, size) - mean_x * mean_y)
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
  numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
  return float(np.mean(numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def _window_means(image: np.ndarray, size: int) -> np.ndarray:
  """Means of all size x size windows inside [H, W, C]."""
  windows = np.lib.stride_tricks.sliding_window_view(image, size, axis=0).mean(-1)
  return np.lib.stride_tricks.sliding_window_view(windows, size, axis=1).mean(-1)


def _mouth(landmarks: Array, image_size: int) -> jax.Array:
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
  error = _mouth(predicted, image_size) - _mouth(true, image_size)
  return jnp.mean(jnp.sqrt(jnp.sum(jnp.square(error), axis=-1) + blunt ** 2), axis=-1)


def lmd_published_sum(predicted: Array, true: Array, image_size: int = features.IMAGE_SIZE) -> jax.Array:
  """The published 'LMD': both mouths centred on their means, distances summed over the 20 points, not averaged."""
  error = _mouth(predicted, image_size) - _mouth(true, image_size)
  error = error - jnp.mean(error, axis=-2, keepdims=True)
  return jnp.sum(jnp.linalg.norm(error, axis=-1), axis=-1)


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
  steady = points[..., features.BROWS.start:features.NOSE.stop, :]
  tremble = steady[..., 1:-1, :, :] - (steady[..., :-2, :, :] + steady[..., 2:, :, :]) / 2
  eyes = jnp.mean(points[..., features.LEFT_EYE, :], -2) - jnp.mean(points[..., features.RIGHT_EYE, :], -2)
  distance = jnp.mean(jnp.linalg.norm(eyes, axis=-1), axis=-1)
  return 100 * jnp.mean(jnp.linalg.norm(tremble, axis=-1), axis=(-2, -1)) / distance
