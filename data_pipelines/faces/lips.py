"""Are the lips to be seen, or does something cover them: a mask, a hand, a microphone?

The landmarks do not tell: the mesh draws a mouth on a mask too. But lips are of another colour than what is around
them, and within their line it is dark and light by turns: the mouth's line, the lower lip, teeth. The contrast of the
eyes says how much of that a picture can show, so that pale, dark and painted ones are judged alike.

A cloth with a pattern is light and dark by turns too. It is so beside the lips as well, far more than skin and beards
are, or in strong colours, or without the order that a mouth has: light and dark alike all along its line.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines import features
from data_pipelines.faces import face_alignment

_LIPS = features.MOUTH.start, features.MOUTH.start + 12  # the outer line
_RING = 1.25, 1.7  # the skin that is compared: between the lips' line enlarged by these
_DIFFERENCE, _REDNESS = 6.0, 2.0  # of CIE L*a*b*: lips that differ less, and are less red, are not seen by colour
_EYES = slice(36, 42), slice(42, 48)
_EYE_RING = 1.5, 2.4  # the skin around an eye
_STRUCTURE = 0.42  # of the eyes' contrast: bare mouths show .45 and more, masks with folds and hands .38 and less
_EYE_CONTRAST = 12.0, 40.0  # of L*: less is not believed, and more is that of sunglasses
_DETAIL = 4.0  # pixels: what is coarser is shading
# How much the detail of the skin around the lips varies, against the eyes' contrast, and in colour (a* and b*). Of
# 4,255 bare faces the most are .34 and 7.8; what the skin around the eyes has tells hatched and grainy pictures apart.
_BOLD, _BOLDER = 0.42, 1.3
_COLOURED, _MORE_COLOURED = 9.0, 1.5
_ROUGH, _ORDER = 0.13, 0.72  # of all bare faces the smallest order was .75
_ACROSS = np.arange(-12, 13)  # pixels from the mouth's line
_ALONG = np.linspace(0.2, 0.8, 19)  # from corner to corner
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
  lips, skin = _filled(line), _around(line, _RING)
  if not lips.any() or not skin.any():
    return False  # too small to say
  colours = _lab(crop)
  contrast = float(np.clip(_eye_contrast(colours[..., 0], points), *_EYE_CONTRAST))
  if _patterned(colours, points, skin, contrast):
    return True
  own, around = (np.median(colours[where], axis=0) for where in (lips, skin))
  if np.linalg.norm(own - around) >= _DIFFERENCE or own[1] - around[1] >= _REDNESS:
    return False
  low, high = np.percentile(colours[lips][:, 0], [5, 95])
  return bool(high - low < _STRUCTURE * contrast)


def _patterned(colours: np.ndarray, points: np.ndarray, skin: np.ndarray, contrast: float) -> bool:
  """Whether around the lips there is a cloth with a pattern.

  Args:
    colours: [128, 128, 3], L*a*b*.
    points: [68, 2].
    skin: bool [128, 128], around the lips.
    contrast: of the eyes.
  """
  rows, columns = (_blur(size) for size in colours.shape[:2])
  detail = colours - np.einsum('ph,hwc,qw->pqc', rows, colours, columns, optimize=True)

  def variation(where: np.ndarray) -> tuple[float, float]:
    if not where.any():
      return 0.0, 0.0
    light, *colour = detail[where].std(axis=0)
    return float(light / contrast), float(np.mean(colour))

  light, colour = variation(skin)
  eyes_light, eyes_colour = variation(_around_eyes(points))
  return (
    (light > _BOLD and light > _BOLDER * eyes_light)
    or (colour > _COLOURED and colour > _MORE_COLOURED * eyes_colour)
    or (light > _ROUGH and _order(colours[..., 0], points) < _ORDER)
  )


def _order(lightness: np.ndarray, points: np.ndarray) -> float:
  """How alike lightness across the mouth is at all places along it: the median correlation with the mean, at most 1."""
  line = np.stack([points[48], *((points[[61, 62, 63]] + points[[67, 66, 65]]) / 2), points[54]])
  along = np.linspace(0, 1, len(line))
  places = np.stack([np.interp(_ALONG, along, line[:, axis]) for axis in (0, 1)], axis=-1)
  step = (points[54] - points[48])[::-1] * (-1, 1) / max(np.linalg.norm(points[54] - points[48]), 1e-6)
  x, y = np.moveaxis(places[:, None] + step * _ACROSS[:, None], -1, 0)
  profiles = _bilinear(lightness, x, y)

  def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=-1, keepdims=True)) / (values.std(axis=-1, keepdims=True) + 1e-3)

  return float(np.median((standard(profiles) * standard(profiles.mean(axis=0))).mean(axis=-1)))


@functools.cache
def _blur(size: int) -> np.ndarray:
  """[size, size]: a Gaussian of deviation `_DETAIL` around every place; what is beyond an edge is its mirror image.

  This and `_bilinear` are all that SciPy's ndimage would be imported for in every run that finds a face.
  """
  radius = round(4 * _DETAIL)
  kernel = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / _DETAIL))
  mirrored = np.pad(np.eye(size), ((radius, radius), (0, 0)), mode='symmetric')
  return sum(weight * mirrored[start : start + size] for start, weight in enumerate(kernel / kernel.sum()))


def _bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """An image [H, W] at places x and y in pixels, or at the nearest within it."""
  x, y = (np.clip(place, 0, size - 1) for place, size in ((x, image.shape[1]), (y, image.shape[0])))
  left, top = np.minimum(x.astype(int), image.shape[1] - 2), np.minimum(y.astype(int), image.shape[0] - 2)
  right, bottom = x - left, y - top
  above = image[top, left] * (1 - right) + image[top, left + 1] * right
  below = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
  return above * (1 - bottom) + below * bottom


def _eye_contrast(lightness: np.ndarray, points: np.ndarray) -> float:
  """By how much of L* the dark of the eyes is below the skin around them; 0 where they are not in the crop."""
  eyes = np.logical_or(*(_filled(points[eye]) for eye in _EYES))
  skin = _around_eyes(points)
  if not eyes.any() or not skin.any():
    return 0.0
  return float(np.percentile(lightness[skin], 90) - np.percentile(lightness[eyes], 20))


def _around_eyes(points: np.ndarray) -> np.ndarray:
  """Which pixels are the skin around the eyes: bool [128, 128]."""
  return np.logical_or(*(_around(points[eye], _EYE_RING) for eye in _EYES))


def _around(line: np.ndarray, ring: tuple[float, float]) -> np.ndarray:
  """Which pixels are between a polygon enlarged by one factor and by another: bool [128, 128]."""
  middle = line.mean(axis=0)
  inner, outer = (_filled((line - middle) * scale + middle) for scale in ring)
  return outer & ~inner


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
