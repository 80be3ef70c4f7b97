"""The talking face back in its picture, at the picture's own resolution.

The nets draw 128x128 pixels, in which lips, beard and skin are soft. Pasted back as they are, they look like a patch,
however well it is feathered; even only their change leaves halos along jaw and ears. So skin and lips here are the
picture's own pixels, moved as the landmarks move (a thin-plate spline), and the inside of the opened mouth, of which
the picture knows nothing, is the net's:

  out = picture + mask ((1 - mouth) W(picture) + mouth up(frame + offset) - picture)

with a feathered mask around mouth, jaw and chin, and the offset that brings the net's colours around the mouth to
the picture's. A face that does not move is the picture itself, so there is no seam.
"""

import numpy as np
import scipy  # its parts are loaded when they are first used: a crop needs none
from PIL import Image, ImageDraw

from atvg_jax.generate.effects.interpolation import MeshWarp, smoothstep
from data_pipelines import features
from data_pipelines.faces import face_alignment

_SIZE = features.IMAGE_SIZE
# All lengths are in pixels of the crop.
_CELL = 4  # the warp is bilinear in cells of this side
# Smoothing of the thin-plate spline: more misses landmarks, less folds where lips close.
TPS_SMOOTHING = 0.05 * _SIZE
_REACH = 8.0  # around jaw and mouth this much is drawn wholly,
_FEATHER = 12.0  # and over this much more it fades into the picture,
_MARGIN = 8.0  # and over this much towards the crop's edge
_SOFT = 1.0  # the border of the opened mouth
_OPEN = (0.5, 2.0)  # a gap between the inner lips below the first is shut, above the second open
_COLOUR = 6.0  # how far around the mouth its colours are compared
_MOST = 15.0  # grey levels that the comparison may change
_INNER_LIPS = slice(60, 68)


class Paster:
  """Puts the frames of a crop back into the picture that it was cut from."""

  def __init__(self, picture: np.ndarray, matrix: np.ndarray, points: np.ndarray):
    """Prepares what all frames share.

    Args:
      picture: uint8 [H, W, 3].
      matrix: [2, 3], picture to crop.
      points: [68, 2], the landmarks that the picture shows, in pixels of the crop.
    """
    self.picture = picture
    self._points = np.asarray(points, np.float64)
    matrix = np.asarray(matrix, np.float64)
    mask = face_mask(self._points)
    self.box = left, top, right, bottom = _box_in_picture(mask, matrix, picture.shape)
    self._to_crop = matrix + np.concatenate([np.zeros((2, 2)), matrix[:, :2] @ [[left], [top]]], axis=1)
    self._patch = np.ascontiguousarray(picture[top:bottom, left:right])
    cell = max(2, round(_CELL / np.hypot(*self._to_crop[:, 0])))
    self._mesh = MeshWarp(right - left, bottom - top, cell)
    self._mask = np.clip(_lift(mask[..., None], self._to_crop, (0, 0, right - left, bottom - top)), 0, 1)
    self._crop = face_alignment.warp(picture, matrix).astype(np.float32)

  def __call__(self, frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture with one frame in it.

    Args:
      frame: uint8 [128, 128, 3], as the nets drew it.
      points: [68, 2], where the frame's landmarks are, in pixels of the crop.

    Returns:
      uint8 [H, W, 3]; outside of `box` (left, top, right, bottom) the pixels are the picture's.
    """
    points = np.asarray(points, np.float64)
    patch = self._patch.astype(np.float32)
    new = self._warped(points).astype(np.float32)
    self._draw_mouth(new, frame.astype(np.float32), points)
    patch += self._mask * (new - patch)
    out = self.picture.copy()
    left, top, right, bottom = self.box
    out[top:bottom, left:right] = np.clip(np.round(patch), 0, 255)
    return out

  def _warped(self, points: np.ndarray) -> np.ndarray:
    """The picture's own pixels, moved from its landmarks to `points`: uint8, of the box's size."""
    if not self._patch.size:
      return self._patch
    border = _border()
    # Maps of the plane that bring some points to others and bend as little as they can (Bookstein 1989).
    spline = scipy.interpolate.RBFInterpolator(
      np.concatenate([points, border]),
      np.concatenate([self._points, border]),
      kernel='thin_plate_spline',
      smoothing=TPS_SMOOTHING,
    )
    places = spline(face_alignment.apply(self._to_crop, self._mesh.nodes.reshape(-1, 2)))
    places = face_alignment.apply(face_alignment.invert(self._to_crop), places)
    return self._mesh(self._patch, places.reshape(self._mesh.nodes.shape))

  def _draw_mouth(self, new: np.ndarray, frame: np.ndarray, points: np.ndarray) -> None:
    """Lays the inside of the frame's mouth over `new`, float32 [h, w, 3] of the box's size."""
    mouth = open_mouth(points, self._points)
    if not mouth.any():
      return
    left, top, right, bottom = _box_in_picture(mouth, self._to_crop, new.shape)
    near = scipy.ndimage.gaussian_filter(_polygon(points[features.MOUTH][:12]), _COLOUR) * (1 - mouth)
    offset = ((self._crop - frame) * near[..., None]).sum(axis=(0, 1)) / max(near.sum(), 1e-6)
    offset = np.clip(offset, -_MOST, _MOST)
    layer = np.concatenate([mouth[..., None] * (frame + offset), mouth[..., None]], axis=-1)
    layer = _lift(layer, self._to_crop, (left, top, right, bottom))
    part = new[top:bottom, left:right]
    part *= 1 - np.clip(layer[..., 3:], 0, 1)
    part += layer[..., :3]


def face_mask(points: np.ndarray) -> np.ndarray:
  """float32 [128, 128] in [0, 1]: where mouth, jaw and chin of a face with points [68, 2] may move."""
  # So far below the eyes that nothing of them is touched.
  top = points[features.EYES, 1].max() + _REACH + _FEATHER
  line = points[1:16]
  shape = _polygon(np.stack([line[:, 0], np.maximum(line[:, 1], top)], axis=-1))
  distance = scipy.ndimage.distance_transform_edt(shape < 0.5)
  edge = np.minimum(np.arange(_SIZE), np.arange(_SIZE)[::-1])
  ramp = np.minimum((_REACH + _FEATHER - distance) / _FEATHER, np.minimum(edge, edge[:, None]) / _MARGIN)
  return smoothstep(ramp).astype(np.float32)


def open_mouth(points: np.ndarray, picture_points: np.ndarray) -> np.ndarray:
  """float32 [128, 128] in [0, 1]: the inside of the mouth at `points` [68, 2].

  Nothing where it is shut, both here and in the picture, whose points are `picture_points` [68, 2].
  """
  gap = max(features.inner_lip_gaps(at).mean() for at in (points, picture_points))
  openness = np.clip((gap - _OPEN[0]) / (_OPEN[1] - _OPEN[0]), 0, 1)
  if not openness:
    return np.zeros((_SIZE, _SIZE), np.float32)
  return openness * scipy.ndimage.gaussian_filter(_polygon(points[_INNER_LIPS]), _SOFT)


def _polygon(points: np.ndarray) -> np.ndarray:
  """float32 [128, 128] in [0, 1]: how much of each pixel a polygon covers."""
  finer = 4
  drawing = Image.new('L', (_SIZE * finer, _SIZE * finer))
  ImageDraw.Draw(drawing).polygon([tuple(point) for point in points * finer - 0.5], fill=255)
  return np.asarray(drawing.reduce(finer), np.float32) / 255


def _box_in_picture(layer: np.ndarray, to_crop: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
  """Left, top, right, bottom of what is not zero in a layer [128, 128] of the crop, in a picture of `shape`."""
  rows, columns = np.flatnonzero(layer.any(axis=1)), np.flatnonzero(layer.any(axis=0))
  corners = np.array([[x, y] for x in (columns[0] - 2, columns[-1] + 3) for y in (rows[0] - 2, rows[-1] + 3)], float)
  corners = face_alignment.apply(face_alignment.invert(to_crop), corners)
  limits = np.array([shape[1], shape[0]])
  low, high = (
    np.clip(edge, 0, limits).astype(int).tolist()
    for edge in (np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)))
  )
  return *low, *high


def _lift(layer: np.ndarray, to_crop: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
  """A layer of the crop [128, 128, C] in a box of the picture, float32 [h, w, C]; zero beyond the crop."""
  left, top, right, bottom = box
  shrink = np.hypot(*to_crop[:, 0])  # crop pixels in a pixel of the picture
  if shrink > 1:  # a transform picks single places: average before
    layer = scipy.ndimage.gaussian_filter(layer, (shrink / 2, shrink / 2, 0))
  matrix = to_crop + np.concatenate([np.zeros((2, 2)), to_crop[:, :2] @ [[left], [top]]], axis=1)
  size = (right - left, bottom - top)
  if not all(size):
    return np.zeros((bottom - top, right - left, layer.shape[-1]), np.float32)
  return np.stack(
    [
      np.asarray(
        Image.fromarray(channel).transform(
          size, Image.Transform.AFFINE, tuple(matrix.reshape(-1)), Image.Resampling.BICUBIC
        )
      )
      for channel in np.moveaxis(layer.astype(np.float32), -1, 0)
    ],
    axis=-1,
  )


def _border() -> np.ndarray:
  """Points [32, 2] on the crop's border, which do not move."""
  steps = np.linspace(0, _SIZE, 9)[:-1]
  return np.concatenate(
    [
      np.stack(pair, axis=-1)
      for pair in (
        (steps, 0 * steps),
        (_SIZE + 0 * steps, steps),
        (_SIZE - steps, _SIZE + 0 * steps),
        (0 * steps, _SIZE - steps),
      )
    ]
  )
