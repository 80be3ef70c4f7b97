"""CPBD, the cumulative probability of blur detection: a sharpness in [0, 1] that needs no reference image.

N. D. Narvekar and L. J. Karam, 'A No-Reference Image Blur Metric Based on the Cumulative Probability of Blur
Detection', IEEE Transactions on Image Processing 20 (9), 2011. In blocks of 64x64 that have edges, the width of
every edge that runs down the image is compared with the width at which people begin to see blur. An edge of width w is
seen as blurred with the probability 1 - exp(-(w / w_JNB)^3.6), where w_JNB is 5 pixels at low contrast and 3 at high;
CPBD is the share of edges for which this is at most 63 %. Widths are those of P. Marziliano et al., 'A no-reference
perceptual blur metric', ICIP 2002.
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
_NEIGHBOURS = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])  # of a pixel of a stack, in its own image


def cpbd(images: np.ndarray) -> np.ndarray:
  """The standard metric, equal to the packages `cpbd` and `cpbd-py312`.

  Args:
    images: luma [..., H, W], 0 to 255, with sides of 64 at least. A stack takes far less time than one after the other.

  Returns:
    [...], in [0, 1]: 1 is sharp.

  Raises:
    ValueError: where they are no such images.
  """
  stack, shape = _checked(images)
  return _shares(stack, _standard_widths(stack), _canny(stack), _blocks(stack)).reshape(shape)


def cpbd_with_part(images: np.ndarray, part: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
  """`cpbd` of pictures, and of a part of them as one block: its edges may be followed beyond its border.

  Args:
    images: as in `cpbd`.
    part: first row, last row (exclusive), first column, last column (exclusive).

  Returns:
    [...] of the pictures and [...] of the part.

  Raises:
    ValueError: as in `cpbd`.
  """
  stack, shape = _checked(images)
  widths, edges = _standard_widths(stack), _canny(stack)
  top, bottom, left, right = part
  return (
    _shares(stack, widths, edges, _blocks(stack)).reshape(shape),
    _shares(stack, widths, edges, [np.s_[top:bottom, left:right]]).reshape(shape),
  )


def _standard_widths(images: np.ndarray) -> np.ndarray:
  strength = ndimage.convolve(images, _SOBEL[None]) ** 2
  strength[strength <= 2 * np.sqrt(np.mean(strength, axis=(1, 2), keepdims=True))] = 0
  widths = _edge_widths(images, _thin(strength), level_is_edge=False)
  # The packages find no edge at all where no angle differs from zero.
  widths[~_angles(images).any(axis=(1, 2))] = 0
  return widths


def cpbd_published(images: np.ndarray) -> np.ndarray:
  """What the published evaluation script computes by that name: another metric, mostly far lower.

  Its edges are all pixels above a fixed gradient, not thinned to lines, so that the slopes beside an edge count
  as edges too; and the last bin below the limit is left out. Arguments as in `cpbd`.
  """
  stack, shape = _checked(images)
  edges = ndimage.correlate(stack, _SOBEL[None]) ** 2 > 4
  widths = _edge_widths(stack, edges, level_is_edge=True)
  return _shares(stack, widths, _canny(stack), _blocks(stack), bins=63).reshape(shape)


def _checked(images: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
  """The images as a stack [N, H, W] of floats, and how they were stacked."""
  if images.ndim < 2 or min(images.shape[-2:]) < _BLOCK:
    raise ValueError(f'sharpness is measured on luma [..., H, W] of 64x64 at least, not {list(images.shape)}')
  return images.reshape(-1, *images.shape[-2:]).astype(np.float64), images.shape[:-2]


def _thin(strength: np.ndarray) -> np.ndarray:
  """Pixels stronger than both neighbours across or both down; beyond the border there is zero."""
  padded = np.pad(strength, [(0, 0), (1, 1), (1, 1)])
  across = (strength > padded[:, 1:-1, :-2]) & (strength > padded[:, 1:-1, 2:])
  down = (strength > padded[:, :-2, 1:-1]) & (strength > padded[:, 2:, 1:-1])
  return across | down


def _angles(images: np.ndarray) -> np.ndarray:
  """The gradient's direction in degrees; 0 also where it has no part across."""
  down, across = np.gradient(images, axis=(1, 2))
  return np.where(across != 0, np.degrees(np.arctan2(down, across)), 0)


def _edge_widths(images: np.ndarray, edges: np.ndarray, *, level_is_edge: bool) -> np.ndarray:
  """Marziliano's widths: from an edge pixel to the extrema on its left and right; 0 where there is no edge.

  `level_is_edge`: whether a falling edge goes on, to the right, over pixels that do not fall.
  """
  angles = 45 * np.round(_angles(images) / 45)
  step = np.diff(images, axis=-1)  # step[..., c] leads from column c to column c + 1
  rises, falls = step > 0, step < 0
  rising = _margins(rises, toward_left=True) + _margins(rises, toward_left=False) + 2
  falls_on = step <= 0 if level_is_edge else falls
  falling = _margins(falls, toward_left=True) + _margins(falls_on, toward_left=False) + 2
  widths = np.where(angles == 0, rising, np.where(np.abs(angles) == 180, falling, 0))
  inside = np.zeros_like(edges)
  inside[:, 1:-1, 1:-1] = edges[:, 1:-1, 1:-1]
  return np.where(inside, widths, 0)


def _margins(steps: np.ndarray, *, toward_left: bool) -> np.ndarray:
  """[N, H, W]: how many steps [N, H, W - 1] in a row hold beyond the neighbour on the one side of every column."""
  if not toward_left:
    return _margins(steps[..., ::-1], toward_left=True)[..., ::-1]
  *rest, count = steps.shape
  margins = np.zeros((*rest, count + 1), np.int16)  # margins[..., c]: steps that hold in a row, ending in column c - 1
  for column in range(2, count + 1):
    margins[..., column] = (margins[..., column - 1] + 1) * steps[..., column - 2]
  return np.minimum(margins, _MAX_MARGIN)


def _blocks(images: np.ndarray) -> list[tuple[slice, slice]]:
  _, height, width = images.shape
  return [
    np.s_[top : top + _BLOCK, left : left + _BLOCK]
    for top in range(0, height - _BLOCK + 1, _BLOCK)
    for left in range(0, width - _BLOCK + 1, _BLOCK)
  ]


def _shares(
  images: np.ndarray, widths: np.ndarray, edges: np.ndarray, blocks: Sequence[tuple[slice, slice]], bins: int = 64
) -> np.ndarray:
  """[N]: the share of the blocks' edges whose probability of seen blur, in hundredths, is below `bins`."""
  shares = []
  for image, image_widths, image_edges in zip(images, widths, edges, strict=True):
    histogram = _histogram(image, image_widths, image_edges, blocks)
    shares.append(histogram[:bins].sum() / max(int(histogram.sum()), 1))
  return np.array(shares, np.float64)


def _histogram(
  image: np.ndarray, widths: np.ndarray, edges: np.ndarray, blocks: Sequence[tuple[slice, slice]]
) -> np.ndarray:
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


def _canny(images: np.ndarray) -> np.ndarray:
  """Canny's edges (deviation 1, thresholds 0.1 and 0.2), as scikit-image finds them."""
  smooth = ndimage.gaussian_filter(images, (0, 1, 1), mode='constant', truncate=4)
  smooth /= ndimage.gaussian_filter(np.ones_like(images[0]), 1, mode='constant', truncate=4) + np.finfo(float).eps
  across, down = _sobel(smooth, 2, 1), _sobel(smooth, 1, 2)
  strength = np.hypot(across, down)
  kept = _strongest_along_gradient(down, across, strength) & (strength >= _CANNY_LOW)
  kept[:, 0] = kept[:, -1] = False
  kept[:, :, 0] = kept[:, :, -1] = False
  labels, count = ndimage.label(kept, _NEIGHBOURS)
  good = np.zeros(count + 1, bool)
  good[np.unique(labels[kept & (strength >= _CANNY_HIGH)])] = True
  return good[labels] & kept


def _sobel(images: np.ndarray, axis: int, other: int) -> np.ndarray:
  """`ndimage.sobel` of each image of a stack: the gradient along `axis`, smoothed along the `other`."""
  return ndimage.correlate1d(ndimage.correlate1d(images, [-1, 0, 1], axis), [1, 2, 1], other)


def _strongest_along_gradient(down: np.ndarray, across: np.ndarray, strength: np.ndarray) -> np.ndarray:
  """Whether strength is no less than, interpolated, one step along the gradient and one against it."""
  padded = np.pad(strength, [(0, 0), (1, 1), (1, 1)])
  _, height, width = strength.shape
  steep = np.abs(down) > np.abs(across)
  larger = np.maximum(np.abs(down), np.abs(across))
  share = np.minimum(np.abs(down), np.abs(across)) / np.where(larger == 0, 1, larger)
  # Places in the padded stack, flat: of the pixels themselves, and how far a step down and one across lead.
  row_length = width + 2
  places = (
    np.arange(len(strength))[:, None, None] * (height + 2) * row_length
    + np.arange(1, height + 1)[:, None] * row_length
    + np.arange(1, width + 1)
  )
  vertical, horizontal = np.where(down >= 0, row_length, -row_length), np.where(across >= 0, 1, -1)
  straight_step, diagonal_step = np.where(steep, vertical, horizontal), vertical + horizontal
  flat, strongest = padded.reshape(-1), larger > 0
  for sign in (1, -1):
    straight, diagonal = flat[places + sign * straight_step], flat[places + sign * diagonal_step]
    strongest &= diagonal * share + straight * (1 - share) <= strength
  return strongest
