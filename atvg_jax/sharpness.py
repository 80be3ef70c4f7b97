"""CPBD, the cumulative probability of blur detection: a sharpness in [0, 1] that needs no reference image.

N. D. Narvekar and L. J. Karam, 'A No-Reference Image Blur Metric Based on the Cumulative Probability of Blur
Detection', IEEE Transactions on Image Processing 20 (9), 2011. In blocks of 64x64 that have edges, the width of
every edge that runs down the image is compared with the width at which people begin to see blur.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_BLOCK = 64
_EDGE_SHARE = 0.002  # of a block's pixels, above which it counts as having edges
_BETA = 3.6
_MAX_MARGIN = 100
_SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
_CANNY_LOW, _CANNY_HIGH = 0.1, 0.2


def cpbd(image: np.ndarray) -> float:
  """The standard metric, equal to the packages `cpbd` and `cpbd-py312`.

  Args:
    image: [H, W] luma, 0 to 255, with sides of 64 at least.

  Raises:
    ValueError: where it is no such image.
  """
  image = _checked(image)
  return _share(_histogram(image, _standard_widths(image), _canny(image), _blocks(image)))


def cpbd_with_part(image: np.ndarray, part: tuple[int, int, int, int]) -> tuple[float, float]:
  """`cpbd` of a picture, and of a part of it, which is taken as one block: its edges may be followed beyond its border.

  Args:
    image: as in `cpbd`.
    part: first row, last row (exclusive), first column, last column (exclusive).

  Raises:
    ValueError: as in `cpbd`.
  """
  image = _checked(image)
  widths, edges = _standard_widths(image), _canny(image)
  top, bottom, left, right = part
  return (_share(_histogram(image, widths, edges, _blocks(image))),
          _share(_histogram(image, widths, edges, [np.s_[top:bottom, left:right]])))


def _standard_widths(image: np.ndarray) -> np.ndarray:
  strength = ndimage.convolve(image, _SOBEL) ** 2
  strength[strength <= 2 * np.sqrt(np.mean(strength))] = 0
  widths = _edge_widths(image, _thin(strength), level_is_edge=False)
  # The packages find no edge at all where no angle differs from zero.
  return widths if _angles(image).any() else np.zeros_like(widths)


def cpbd_published(image: np.ndarray) -> float:
  """What the published evaluation script computes by that name: another metric, mostly far lower.

  Its edges are all pixels above a fixed gradient, not thinned to lines, so that the slopes beside an edge count
  as edges too; and the last bin below the limit is left out. Arguments as in `cpbd`.
  """
  image = _checked(image)
  edges = ndimage.correlate(image, _SOBEL) ** 2 > 4
  widths = _edge_widths(image, edges, level_is_edge=True)
  return _share(_histogram(image, widths, _canny(image), _blocks(image)), bins=63)


def _checked(image: np.ndarray) -> np.ndarray:
  if image.ndim != 2 or min(image.shape) < _BLOCK:
    raise ValueError(f'sharpness is measured on luma [H, W] of 64x64 at least, not {list(image.shape)}')
  return image.astype(np.float64)


def _thin(strength: np.ndarray) -> np.ndarray:
  """Pixels stronger than both neighbours across or both down; beyond the border there is zero."""
  padded = np.pad(strength, 1)
  across = (strength > padded[1:-1, :-2]) & (strength > padded[1:-1, 2:])
  down = (strength > padded[:-2, 1:-1]) & (strength > padded[2:, 1:-1])
  return across | down


def _angles(image: np.ndarray) -> np.ndarray:
  """The gradient's direction in degrees; 0 also where it has no part across."""
  down, across = np.gradient(image)
  return np.where(across != 0, np.degrees(np.arctan2(down, across)), 0)


def _edge_widths(image: np.ndarray, edges: np.ndarray, *, level_is_edge: bool) -> np.ndarray:
  """Marziliano's widths: from an edge pixel to the extrema on its left and right; 0 where there is no edge.

  `level_is_edge`: whether a falling edge goes on, to the right, over pixels that do not fall.
  """
  angles = 45 * np.round(_angles(image) / 45)
  step = np.diff(image, axis=1)  # step[:, c] leads from column c to column c + 1
  rises, falls = step > 0, step < 0
  rising = _margins(rises, toward_left=True) + _margins(rises, toward_left=False) + 2
  falls_on = step <= 0 if level_is_edge else falls
  falling = _margins(falls, toward_left=True) + _margins(falls_on, toward_left=False) + 2
  widths = np.where(angles == 0, rising, np.where(np.abs(angles) == 180, falling, 0))
  inside = np.zeros_like(edges)
  inside[1:-1, 1:-1] = edges[1:-1, 1:-1]
  return np.where(inside, widths, 0)


def _margins(steps: np.ndarray, *, toward_left: bool) -> np.ndarray:
  """[H, W]: how many steps [H, W - 1] in a row hold beyond the neighbour on the one side of every column."""
  if not toward_left:
    return _margins(steps[:, ::-1], toward_left=True)[:, ::-1]
  height, count = steps.shape
  runs = np.zeros((height, count + 1), int)  # runs[:, c]: steps that hold in a row, ending in column c
  for column in range(1, count + 1):
    runs[:, column] = (runs[:, column - 1] + 1) * steps[:, column - 1]
  margins = np.zeros_like(runs)
  margins[:, 1:] = runs[:, :-1]  # from the left neighbour on
  return np.minimum(margins, _MAX_MARGIN)


def _blocks(image: np.ndarray) -> list[tuple[slice, slice]]:
  height, width = image.shape
  return [np.s_[top : top + _BLOCK, left : left + _BLOCK]
          for top in range(0, height - _BLOCK + 1, _BLOCK) for left in range(0, width - _BLOCK + 1, _BLOCK)]


def _histogram(image: np.ndarray, widths: np.ndarray, edges: np.ndarray,
               blocks: Sequence[tuple[slice, slice]]) -> np.ndarray:
  """[101]: how many edges of the blocks have each probability of seen blur, in hundredths."""
  histogram = np.zeros(101)
  for block in blocks:
    if np.count_nonzero(edges[block]) <= edges[block].size * _EDGE_SHARE:
      continue
    contrast = int(image[block].max() - image[block].min())
    just_noticeable = 5 if contrast <= 50 else 3
    found = widths[block][widths[block] > 0]
    blur = 1 - np.exp(-((found / just_noticeable) ** _BETA))
    histogram += np.bincount(np.rint(100 * blur).astype(int), minlength=101)
  return histogram


def _share(histogram: np.ndarray, bins: int = 64) -> float:
  """The share of edges whose probability is below `bins`."""
  return float(histogram[:bins].sum() / max(histogram.sum(), 1))


def _canny(image: np.ndarray) -> np.ndarray:
  """Canny's edges (deviation 1, thresholds 0.1 and 0.2), as scikit-image finds them."""
  smooth = ndimage.gaussian_filter(image, 1, mode='constant', truncate=4)
  smooth /= ndimage.gaussian_filter(np.ones_like(image), 1, mode='constant', truncate=4) + np.finfo(float).eps
  across, down = ndimage.sobel(smooth, axis=1), ndimage.sobel(smooth, axis=0)
  strength = np.hypot(across, down)
  kept = _strongest_along_gradient(down, across, strength) & (strength >= _CANNY_LOW)
  kept[0] = kept[-1] = False
  kept[:, 0] = kept[:, -1] = False
  labels, count = ndimage.label(kept, np.ones((3, 3)))
  good = np.zeros(count + 1, bool)
  good[np.unique(labels[kept & (strength >= _CANNY_HIGH)])] = True
  return good[labels] & kept


def _strongest_along_gradient(down: np.ndarray, across: np.ndarray, strength: np.ndarray) -> np.ndarray:
  """Whether strength is no less than, interpolated, one step along the gradient and one against it."""
  padded = np.pad(strength, 1)
  height, width = strength.shape

  def neighbour(row: np.ndarray | int, column: np.ndarray | int) -> np.ndarray:
    rows, columns = np.indices((height, width))
    return padded[rows + 1 + row, columns + 1 + column]

  steep = np.abs(down) > np.abs(across)
  larger = np.maximum(np.abs(down), np.abs(across))
  share = np.minimum(np.abs(down), np.abs(across)) / np.where(larger == 0, 1, larger)
  vertical, horizontal = np.where(down >= 0, 1, -1), np.where(across >= 0, 1, -1)
  strongest = np.ones_like(steep)
  for sign in (1, -1):
    straight = np.where(
        steep, neighbour(sign * vertical, 0), neighbour(0, sign * horizontal)
    )
    diagonal = neighbour(sign * vertical, sign * horizontal)
    strongest &= diagonal * share + straight * (1 - share) <= strength
  return strongest & (larger > 0)
