"""What the published evaluation script computes, for tables that stand beside published ones, and for nothing else.

The formulas are those of the script that the authors released beside their code (github.com/lelechen63/ATVGnet), held
by its numbers in tests/golden/metrics.json. They are not the metrics of their names: docs/fidelity.md lists the
differences. The script's sharpness is `cpbd.cpbd_published`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.metrics.image_metrics import MAX_PSNR
from atvg_jax.metrics.landmark_metrics import mouth_points
from data_pipelines import features

Array = jax.Array | np.ndarray


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
  """The published 'PSNR', which is none: differences and squares of uint8 wrap around at 256.

  It never falls below 25 dB or so. The published tables use `published_grey` images.

  Args:
    predicted: uint8 of any shape.
    true: uint8 of the same shape.

  Raises:
    ValueError: where an image is not uint8.
  """
  if predicted.dtype != np.uint8 or true.dtype != np.uint8:
    raise ValueError('the published PSNR wraps as uint8 does: give uint8 images')
  difference = predicted - true
  error = np.mean(difference * difference)
  return MAX_PSNR if error == 0 else float(10 * np.log10(255**2 / error))


def ssim_published(predicted: np.ndarray, true: np.ndarray) -> float:
  """The published SSIM: 7x7 uniform windows, sample covariance, channels averaged (scikit-image's defaults for uint8).

  Wang et al. 2004, equation 13, without its Gaussian windows. The published tables use `published_image` images.

  Args:
    predicted: uint8 [H, W, 3].
    true: uint8 [H, W, 3].
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


def lmd_published_sum(predicted: Array, true: Array, image_size: int = features.IMAGE_SIZE) -> jax.Array:
  """The published 'LMD': both mouths centred on their means, distances summed over the 20 points, not averaged.

  Args:
    predicted: [..., 136] in half crops.
    true: [..., 136] in half crops.
    image_size: the crop's side in pixels.

  Returns:
    [...], in pixels.
  """
  error = mouth_points(predicted, image_size) - mouth_points(true, image_size)
  error = error - jnp.mean(error, axis=-2, keepdims=True)
  return jnp.sum(jnp.linalg.norm(error, axis=-1), axis=-1)
