"""Are the lips to be seen, or does something cover them: a mask, a hand, a microphone?

The landmarks do not tell: the mesh draws a mouth on a mask too. But lips are of another colour than what is around
them. Measured on 146 faces (Face Research Lab London, GRID, LRW-AR, 14 synthetic ones), as they are, with masks of five
colours, and with a hand of their own skin painted over the mouth: no bare face is taken for covered, but 98 to
100 % of every kind of mask and 62 % of the hands are. Pictures in grey are not judged.
"""

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines import features
from data_pipelines.faces import face_alignment

_LIPS = features.MOUTH.start, features.MOUTH.start + 12  # the outer line
_RING = 1.25, 1.7  # the skin that is compared: between the lips' line enlarged by these
_DIFFERENCE, _REDNESS = 6.0, 2.0  # of CIE L*a*b*: lips that differ less, and are less red, are not seen
_COLOURFUL = 6.0  # chroma of a face's most colourful tenth: below, the picture is grey
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def covered(image: np.ndarray, points: np.ndarray) -> bool:
  """Whether the lips of a face are not to be seen.

  Args:
    image: uint8 [H, W, 3].
    points: [68, 2] in its pixels.
  """
  matrix = face_alignment.alignment(points)
  return covered_in_crop(face_alignment.warp(image, matrix), face_alignment.apply(matrix, points))


def covered_in_crop(crop: np.ndarray, points: np.ndarray) -> bool:
  """`covered` of an aligned face, uint8 [128, 128, 3], with points [68, 2] in its pixels."""
  line = points[slice(*_LIPS)]
  middle = line.mean(axis=0)
  inner, outer = (_filled((line - middle) * scale + middle) for scale in _RING)
  lips, skin = _filled(line), outer & ~inner
  if not lips.any() or not skin.any():
    return False  # too small to say
  some = _lab(crop[::4, ::4])
  if np.percentile(np.hypot(some[..., 1], some[..., 2]), 90) < _COLOURFUL:
    return False  # a picture in grey says too little
  own, around = (np.median(_lab(crop[where]), axis=0) for where in (lips, skin))
  return bool(np.linalg.norm(own - around) < _DIFFERENCE and own[1] - around[1] < _REDNESS)


def _filled(line: np.ndarray) -> np.ndarray:
  """Which pixels are within a polygon: bool [128, 128]."""
  image = Image.new('L', (features.IMAGE_SIZE, features.IMAGE_SIZE))
  ImageDraw.Draw(image).polygon([tuple(point) for point in line.tolist()], fill=1)
  return np.asarray(image) > 0


def _lab(rgb: np.ndarray) -> np.ndarray:
  """uint8 [..., 3] sRGB → CIE L*a*b* (white D65)."""
  value = rgb / 255
  light = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
  share = light @ _TO_XYZ.T / _WHITE
  root = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
  x, y, z = np.moveaxis(root, -1, 0)
  return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
