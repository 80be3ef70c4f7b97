"""What is done with 68 points: the crop that holds nose and eyes still, and landmarks as the nets see them.

Points are continuous picture coordinates: pixel i covers [i, i + 1), so the middle of the first pixel is 0.5.
"""

import json
import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from data_pipelines import features

# Weights over time for `smooth`.
# Savitzky-Golay, five frames, second order: takes a third of the mesh's trembling and leaves the lips their full
# reach, where a Gaussian of the same effect takes 8 % of it.
LIGHT = np.array([-3, 12, 17, 12, -3]) / 35
# A Gaussian of two frames for the matrices: the crop itself must be still.
STRONG = np.exp(-0.5 * (np.arange(-6, 7) / 2) ** 2)
_REST_SHARE = 0.3
_OWN_RATE = 25.0  # frames a second that both are for


def _load_template() -> np.ndarray:
  path = pathlib.Path(__file__).parent.parent / 'assets' / 'face_template.json'
  return np.asarray(json.loads(path.read_text())['points'], np.float32)


# float32 [68, 2]: the mean face at rest in pixels of a 128x128 crop, symmetric about x = 64.
TEMPLATE = _load_template()


def smooth(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Weighted mean over time, values [T, ...]; beyond its ends the signal goes on mirrored through the end point."""
  reach = min(len(weights) // 2, len(values) - 1)
  middle = len(weights) // 2
  weights = weights[middle - reach : middle + reach + 1]
  before = 2 * values[:1] - values[reach:0:-1]
  after = 2 * values[-1:] - values[-2 : -reach - 2 : -1]
  padded = np.concatenate([before, values, after]) if reach else values
  view = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
  return (view @ (weights / weights.sum())).astype(values.dtype)


def light(rate: float) -> np.ndarray:
  """`LIGHT` over the same time at another number of frames a second (Savitzky and Golay 1964, second order)."""
  reach = max(2, round(2 * rate / _OWN_RATE))
  place = np.arange(-reach, reach + 1)
  return 3.0 * (3 * reach**2 + 3 * reach - 1 - 5 * place**2) / ((2 * reach - 1) * (2 * reach + 1) * (2 * reach + 3))


def strong(rate: float) -> np.ndarray:
  """`STRONG` over the same time at another number of frames a second."""
  width = max(1.0, 2 * rate / _OWN_RATE)
  reach = round(3 * width)
  return np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
  """The least-squares similarity (turn, scale, shift; Umeyama 1991) from `source` to `target`.

  Args:
    source: [..., N, 2].
    target: [N, 2] or [..., N, 2].

  Returns:
    float64 [..., 2, 3] for `apply`.
  """
  source, target = (np.asarray(points, np.float64) for points in (source, target))
  source_mean, target_mean = source.mean(axis=-2), target.mean(axis=-2)
  s, t = source - source_mean[..., None, :], target - target_mean[..., None, :]
  # In the plane a turn with scale is one complex number; least squares over it is the closed form.
  variance = np.maximum((s**2).sum(axis=(-2, -1)), 1e-12)
  real = (s * t).sum(axis=(-2, -1)) / variance
  imaginary = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(axis=-1) / variance
  linear = np.stack([np.stack([real, -imaginary], -1), np.stack([imaginary, real], -1)], -2)
  shift = target_mean - np.einsum('...ij,...j->...i', linear, source_mean)
  return np.concatenate([linear, shift[..., None]], axis=-1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Moves points [..., N, 2] by matrices [..., 2, 3]."""
  moved = np.einsum('...ij,...nj->...ni', matrix[..., :2], points) + matrix[..., None, :, 2]
  return moved.astype(np.asarray(points).dtype)


def invert(matrix: np.ndarray) -> np.ndarray:
  """The matrix [2, 3] that undoes a matrix [2, 3]."""
  linear = np.linalg.inv(matrix[:, :2])
  return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=-1)


def alignment(landmarks: np.ndarray) -> np.ndarray:
  """[..., 68, 2] pixels -> [..., 2, 3]: picture to crop, by nose and eyes alone, so that the mouth may move."""
  return similarity(landmarks[..., features.STEADY, :], TEMPLATE[features.STEADY])


def align_track(landmarks: np.ndarray, rate: float = _OWN_RATE) -> np.ndarray:
  """[T, 68, 2] pixels, `rate` a second -> [T, 2, 3], from points smoothed over time: the crop must not tremble."""
  return alignment(smooth(np.asarray(landmarks), strong(rate)))


def warp(
  image: np.ndarray,
  matrix: np.ndarray,
  size: int = features.IMAGE_SIZE,
  sample: Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None = None,
) -> np.ndarray:
  """Cuts a square out of a picture, its edge repeated where the square reaches beyond it.

  Args:
    image: uint8 [H, W, 3].
    matrix: [2, 3], picture to crop of `size`.
    size: side of the crop.
    sample: `frame_resampling.bicubic`, which gives the same crop sooner, but has to be loaded: for many frames.

  Returns:
    uint8 [size, size, 3], averaged where the picture is shrunk.
  """
  inverse = invert(np.asarray(matrix, np.float64))
  corners = apply(inverse, np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64))
  scale = float(np.hypot(inverse[0, 0], inverse[1, 0]))  # picture pixels in a crop pixel
  low = np.floor(corners.min(axis=0)).astype(int) - 2
  high = np.ceil(corners.max(axis=0)).astype(int) + 2
  height, width = image.shape[:2]
  if low.min() >= 0 and high[0] <= width and high[1] <= height:
    part = image[low[1] : high[1], low[0] : high[0]]
  else:
    rows, columns = (
      np.clip(np.arange(start, stop), 0, length - 1)
      for start, stop, length in ((low[1], high[1], height), (low[0], high[0], width))
    )
    part = image[rows[:, None], columns]
  part = np.ascontiguousarray(part)
  inverse[:, 2] -= low
  if scale > 1:  # a sampler picks single places: bring the picture to the scale of the crop first
    sides = part.shape[1], part.shape[0]
    smaller = tuple(max(1, round(side / scale)) for side in sides)
    inverse *= (np.array(smaller) / sides)[:, None]
    part = np.asarray(Image.fromarray(part).resize(smaller, Image.Resampling.HAMMING))
  return (sample or _bicubic)(part, inverse, size)


def _bicubic(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
  """`frame_resampling.bicubic` by Pillow."""
  return np.asarray(
    Image.fromarray(image).transform(
      (size, size), Image.Transform.AFFINE, tuple(matrix.reshape(-1)), Image.Resampling.BICUBIC
    )
  )


def normalise(points: np.ndarray) -> np.ndarray:
  """Points in a crop [..., 68, 2] -> [..., 136] in half crops from its middle, x0 y0 x1 y1 ..."""
  half = features.IMAGE_SIZE / 2
  return (np.asarray(points) / half - 1).reshape(*np.shape(points)[:-2], features.LANDMARK_SIZE).astype(np.float32)


def denormalise(landmarks: np.ndarray) -> np.ndarray:
  """The inverse of `normalise`: [..., 136] -> [..., 68, 2] in pixels of the 128x128 crop."""
  half = features.IMAGE_SIZE / 2
  return (np.asarray(landmarks).reshape(*np.shape(landmarks)[:-1], features.NUM_LANDMARKS, 2) + 1) * half


def eye_distance(points: np.ndarray) -> np.ndarray:
  """[..., 68, 2] → [...]: between the eyes' centres, in the unit of the points."""
  eyes = points[..., features.LEFT_EYE, :].mean(axis=-2) - points[..., features.RIGHT_EYE, :].mean(axis=-2)
  return np.hypot(eyes[..., 0], eyes[..., 1])


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
  """[..., 136] -> [...]: the mean gap between the inner lips, its middle twice, in distances of the eyes' centres.

  Does not depend on a face's size, unlike `atvg_jax.landmarks.mouth_gap`, in half crops, which is linear.
  """
  points = denormalise(landmarks)
  gaps = features.inner_lip_gaps(points)
  gap = 0.25 * gaps[..., 0] + 0.5 * gaps[..., 1] + 0.25 * gaps[..., 2]
  return gap / np.maximum(eye_distance(points), 1e-6)


def rest_landmarks(landmarks: np.ndarray) -> np.ndarray:
  """[T, 136] -> [136]: the mean over the 30 % of frames (one at least) whose mouth is the least open."""
  count = max(1, round(_REST_SHARE * len(landmarks)))
  order = np.argsort(mouth_opening(landmarks), kind='stable')
  return landmarks[order[:count]].mean(axis=0)
