"""A turned square out of a picture: what Pillow's `transform` does, in a third of the time.

Following a face through a video and cutting it out spend a fifth of their time here. The loops are compiled when first
called, and kept on disk beside this file (or in the user's cache folder). They go over a row in steps that the compiler
makes vector instructions of; places are unsigned, or each access would ask whether to count from the end.
"""

import numpy as np

from data_pipelines.media.jit import compiled

_BITS = 11  # of a place between two pixels


def bilinear(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
  """Samples `picture`, uint8 [H, W, 3] or a Pillow picture (RGB).

  Args:
    picture: of any size.
    matrix: [2, 3], from the square to the picture, both in continuous coordinates.
    size: side of the square.

  Returns:
    float32 [size, size, 3] in [0, 1]; black where the square reaches beyond the picture.
  """
  picture = np.asarray(picture)
  # Only what the square covers: a frame may be large.
  corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
  limits = np.array([picture.shape[1], picture.shape[0]])
  low = np.clip(np.floor(corners.min(axis=1)).astype(int) - 1, 0, limits - 1)
  high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + 1, low + 1, limits)
  part = np.ascontiguousarray(picture[low[1] : high[1], low[0] : high[0]])
  edges = np.array([0, 0, *limits], np.float64) - [*low, *low]
  out = np.empty((size, size, 3), np.float32)
  _fill_bilinear(part, matrix - np.stack([np.zeros(2), np.zeros(2), low], axis=1), edges, out)
  return out


def bicubic(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
  """The pixels of `Image.transform(AFFINE, BICUBIC)`, all of them the same.

  Args:
    picture: uint8 [H, W, 3], all of it brought into another form: cut out beforehand what is needed.
    matrix: [2, 3], from the square to the picture, both in continuous coordinates.
    size: side of the square.

  Returns:
    uint8 [size, size, 3]; black where the square reaches beyond the picture.
  """
  out = np.empty((size, size, 3), np.uint8)
  _fill_bicubic(np.ascontiguousarray(picture), np.asarray(matrix, np.float64), out)
  return out


def _fill_bilinear_loop(part: np.ndarray, matrix: np.ndarray, edges: np.ndarray, out: np.ndarray) -> None:
  """`part` uint8 [h, w, 3] of a picture whose `edges` (left, top, right, bottom) are given in its coordinates."""
  height, width, size = part.shape[0], part.shape[1], np.uint64(out.shape[1])
  right, bottom = width - 1.0001, height - 1.0001
  three = np.uint64(3)
  stride = np.int32(3 * width)
  across = np.uint64(3 * (width > 1))
  down = np.uint64(stride * (height > 1))
  whole = np.int32(1 << _BITS)
  scale = np.float32(1 / (255 * (1 << 2 * _BITS)))
  source, target = part.reshape(-1), out.reshape(-1)
  places = np.empty(out.shape[1], np.int32)  # in `source`; -1 beyond the picture
  parts_x, parts_y = np.empty_like(places), np.empty_like(places)
  start = np.uint64(0)
  for row in range(out.shape[0]):
    for column in range(size):
      x = matrix[0, 0] * (column + 0.5) + matrix[0, 1] * (row + 0.5) + matrix[0, 2]
      y = matrix[1, 0] * (column + 0.5) + matrix[1, 1] * (row + 0.5) + matrix[1, 2]
      beyond = (x < edges[0]) | (y < edges[1]) | (x >= edges[2]) | (y >= edges[3])
      fixed_x = np.int32(max(min(x - 0.5, right), 0.0) * (1 << _BITS))
      fixed_y = np.int32(max(min(y - 0.5, bottom), 0.0) * (1 << _BITS))
      parts_x[column], parts_y[column] = fixed_x & (whole - 1), fixed_y & (whole - 1)
      places[column] = -1 if beyond else (fixed_y >> _BITS) * stride + 3 * (fixed_x >> _BITS)
    for column in range(size):
      if places[column] < 0:
        for channel in range(three):
          target[start + channel] = 0
      else:
        place, part_x, part_y = np.uint64(places[column]), parts_x[column], parts_y[column]
        both = part_x * part_y
        only_x, only_y = part_x * whole - both, part_y * whole - both
        none = whole * whole - only_x - only_y - both
        for channel in range(three):
          k = place + channel
          value = (
            none * np.int32(source[k])
            + only_x * np.int32(source[k + across])
            + only_y * np.int32(source[k + down])
            + both * np.int32(source[k + down + across])
          )
          target[start + channel] = np.float32(value) * scale
      start += three


def _fill_bicubic_loop(picture: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
  """Sixteen pixels around each place, a 32-bit number each, then Pillow's sums in Pillow's order."""
  height, width, size = picture.shape[0], picture.shape[1], np.uint64(out.shape[1])
  source = picture.reshape(-1)
  pixels = np.empty(height * width, np.uint32)
  for place in range(np.uint64(height * width)):
    k = np.uint64(3) * place
    pixels[place] = (
      np.uint32(source[k])
      | np.uint32(source[k + np.uint64(1)]) << np.uint32(8)
      | np.uint32(source[k + np.uint64(2)]) << np.uint32(16)
    )
  parts_x, parts_y, limits = np.empty(out.shape[1]), np.empty(out.shape[1]), np.empty(out.shape[1])
  columns, rows = np.empty((4, out.shape[1]), np.int32), np.empty((4, out.shape[1]), np.int32)
  around, lines = np.empty((4, 4, out.shape[1]), np.uint32), np.empty((4, out.shape[1]))
  values = np.empty((3, out.shape[1]), np.uint8)
  for row in range(out.shape[0]):
    for column in range(size):
      x = matrix[0, 0] * (column + 0.5) + matrix[0, 1] * (row + 0.5) + matrix[0, 2]
      y = matrix[1, 0] * (column + 0.5) + matrix[1, 1] * (row + 0.5) + matrix[1, 2]
      limits[column] = 255.0 if (x >= 0) & (y >= 0) & (x < width) & (y < height) else 0.0
      x, y = min(max(x, 0.0), float(width)) - 0.5, min(max(y, 0.0), float(height)) - 0.5
      left, top = np.floor(x), np.floor(y)
      parts_x[column], parts_y[column] = x - left, y - top
      for i in range(4):  # the edge is repeated
        columns[i, column] = np.int32(min(max(left + (i - 1), 0.0), width - 1.0))
        rows[i, column] = np.int32(width * min(max(top + (i - 1), 0.0), height - 1.0))
    for i in range(4):
      for j in range(4):
        for column in range(size):
          around[i, j, column] = pixels[np.uint64(np.uint32(rows[i, column] + columns[j, column]))]
    for channel in range(3):
      shift = np.uint32(8 * channel)
      for i in range(4):
        for column in range(size):
          lines[i, column] = _cubic(
            _byte(around[i, 0, column], shift),
            _byte(around[i, 1, column], shift),
            _byte(around[i, 2, column], shift),
            _byte(around[i, 3, column], shift),
            parts_x[column],
          )
      for column in range(size):
        value = _cubic(lines[0, column], lines[1, column], lines[2, column], lines[3, column], parts_y[column])
        values[channel, column] = np.uint8(np.int32(min(max(value, 0.0), limits[column])))
    for column in range(size):
      for channel in range(3):
        out[row, column, channel] = values[channel, column]


@compiled
def _byte(number, shift):
  """Eight of a number's bits, as a float."""
  return float(np.int32((number >> shift) & np.uint32(255)))


@compiled
def _cubic(before, left, right, after, part):
  """The cubic through four values at equal steps (Keys, a = -1), `part` of the way from the second to the third."""
  bend = 2 * (before - left) + right - after
  return left + part * (right - before + part * (bend + part * (left - before - right + after)))


_fill_bilinear, _fill_bicubic = compiled(_fill_bilinear_loop), compiled(_fill_bicubic_loop)
