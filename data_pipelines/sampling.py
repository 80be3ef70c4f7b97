"""A turned square out of a picture, bilinear: what Pillow's `transform` does in three times the time.

Following a face through a video spends a fifth of its time here. The loop is compiled when first called, and kept on
disk beside this file (or in the user's cache folder).
"""

import numba
import numpy as np
from PIL import Image

_BITS = 11  # of a place between two pixels


def bilinear(picture: Image.Image, matrix: np.ndarray, size: int) -> np.ndarray:
  """Samples `picture` (RGB).

  Args:
    picture: of any size.
    matrix: [2, 3], from the square to the picture, both in continuous coordinates.
    size: side of the square.

  Returns:
    float32 [size, size, 3] in [0, 1]; black where the square reaches beyond the picture.
  """
  # Only what the square covers is brought into an array: a frame may be large.
  corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
  limits = np.array(picture.size)
  low = np.clip(np.floor(corners.min(axis=1)).astype(int) - 1, 0, limits - 1)
  high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + 1, low + 1, limits)
  part = np.asarray(picture.crop((*low, *high)))
  edges = np.array([0, 0, *limits], np.float64) - [*low, *low]
  out = np.empty((size, size, 3), np.float32)
  _fill(part, matrix - np.stack([np.zeros(2), np.zeros(2), low], axis=1), edges, out)
  return out


def _fill_loop(part: np.ndarray, matrix: np.ndarray, edges: np.ndarray, out: np.ndarray) -> None:
  """`part` uint8 [h, w, 3] of a picture whose `edges` (left, top, right, bottom) are told in its coordinates."""
  right, bottom = part.shape[1] - 1.0001, part.shape[0] - 1.0001
  one = np.uint64(1)
  down = np.uint64(part.shape[0] > 1)
  across = np.uint64(part.shape[1] > 1)
  whole = np.int32(1 << _BITS)
  scale = np.float32(1 / (255 * (1 << 2 * _BITS)))
  for row in range(out.shape[0]):
    for column in range(out.shape[1]):
      x = matrix[0, 0] * (column + 0.5) + matrix[0, 1] * (row + 0.5) + matrix[0, 2]
      y = matrix[1, 0] * (column + 0.5) + matrix[1, 1] * (row + 0.5) + matrix[1, 2]
      # Unsigned indices, or each access would ask whether to count from the end.
      r, c = np.uint64(row), np.uint64(column)
      if x < edges[0] or y < edges[1] or x >= edges[2] or y >= edges[3]:
        for channel in range(3):
          out[r, c, np.uint64(channel)] = 0
        continue
      fixed_x = np.int64(max(min(x - 0.5, right), 0.0) * (1 << _BITS))
      fixed_y = np.int64(max(min(y - 0.5, bottom), 0.0) * (1 << _BITS))
      left, top = np.uint64(fixed_x >> _BITS), np.uint64(fixed_y >> _BITS)
      part_x, part_y = np.int32(fixed_x & (whole - 1)), np.int32(fixed_y & (whole - 1))
      next_x, next_y = left + one * across, top + one * down
      both = part_x * part_y
      only_x, only_y = part_x * whole - both, part_y * whole - both
      none = whole * whole - only_x - only_y - both
      for channel in range(3):
        k = np.uint64(channel)
        value = (none * np.int32(part[top, left, k]) + only_x * np.int32(part[top, next_x, k])
                 + only_y * np.int32(part[next_y, left, k]) + both * np.int32(part[next_y, next_x, k]))
        out[r, c, k] = np.float32(value) * scale


def _compiled(function):
  """`function` compiled, from the disk where that is possible."""
  try:
    return numba.njit(cache=True, nogil=True)(function)
  except RuntimeError:  # there is no folder to keep it in
    return numba.njit(nogil=True)(function)


_fill = _compiled(_fill_loop)
