"""The talking face back in its picture, at the picture's own resolution.

The nets draw 128x128 pixels, in which lips, beard and skin are soft. Pasted back as they are, they look like a patch,
however well it is feathered; even only their change leaves halos along jaw and ears. So skin, lips and the teeth that
the picture shows are here the picture's own pixels, moved as the crop's are (`mouth_sheets`), and what an opened mouth
lays bare, of which the picture knows nothing, is the net's:

  out = picture + mask (hole (known W'(picture) + (1 - known) up(frame + offset)) + (1 - hole) W(picture) - picture)

with a feathered mask around mouth, jaw and chin, and the offset that brings the net's colours around the mouth to
the picture's. A face that does not move is the picture itself, so there is no seam.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its parts are loaded when they are first used: a crop needs none
from PIL import Image, ImageDraw

from atvg_jax.generate.effects import interpolation
from atvg_jax.generate.effects.interpolation import smoothstep
from atvg_jax.models import landmark_maps, mouth_sheets
from data_pipelines import features
from data_pipelines.faces import face_alignment

Array = jax.Array

_SIZE = features.IMAGE_SIZE
# All lengths are in pixels of the crop.
_CELL = 1.5  # the warp is bilinear in cells of about this side
_REACH = 8.0  # around jaw and mouth this much is drawn wholly,
_FEATHER = 12.0  # and over this much more it fades into the picture,
_MARGIN = 8.0  # and over this much towards the crop's edge
_AROUND = (12.0, 10.0, 12.0, 30.0)  # left, above, right and below the picture's inner lips, they may be open
_COLOUR = 6.0  # how far around the mouth its colours are compared
_MOST = 15.0  # grey levels that the comparison may change


class _Patch(NamedTuple):
  """What all frames of a picture share: arrays of its part [H, W], filled up, and of its crop.

  Lengths are in half crops from the patch's corner along its own sides, see `mouth_sheets`.
  """

  pixels: Array  # uint8 [H, W, 3]
  mask: Array  # float32 [H, W, 1]
  crop: Array  # uint8 [128, 128, 3]
  crop_landmarks: Array  # float32 [136]
  to_crop: Array  # float32 [2, 3]: pixels of the patch to those of the crop
  pixel: Array  # float32 []: the side of one
  source: Array  # float32 [68, 2]: the picture's landmarks
  corner: Array  # int32 [2]: row and column of the mouth's box


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
    points, matrix = np.asarray(points, np.float64), np.asarray(matrix, np.float64)
    mask = face_mask(points)
    self.box = left, top, right, bottom = _box_in_picture(mask, matrix, picture.shape)
    to_crop = matrix + np.concatenate([np.zeros((2, 2)), matrix[:, :2] @ [[left], [top]]], axis=1)
    self._from_crop = face_alignment.invert(to_crop)
    self._side = float(np.hypot(*to_crop[:, 0]))  # of a picture's pixel, in pixels of the crop
    if right <= left or bottom <= top:
      return
    mask = np.clip(_lift(mask[..., None], to_crop, (0, 0, right - left, bottom - top)), 0, 1)
    height, width = (side + -side % interpolation.STEP for side in mask.shape[:2])
    mask = np.pad(mask, ((0, height - mask.shape[0]), (0, width - mask.shape[1]), (0, 0)))
    low, high = _mouth_box(points, self._from_crop, (height, width))
    self._cell = interpolation.cell_of(_CELL / self._side)
    self._mouth = (high - low).tolist()
    shared = (
      interpolation.filled_up(picture[top:bottom, left:right]),
      mask.astype(np.float32),
      face_alignment.warp(picture, matrix),
      face_alignment.normalise(points),
      to_crop.astype(np.float32),
      np.float32(self._side * 2 / _SIZE),
      self._along_patch(points),
      low.astype(np.int32),
    )
    self._patch = _Patch(*(jnp.asarray(values) for values in shared))

  def __call__(self, frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture with one frame in it.

    Args:
      frame: uint8 [128, 128, 3], as the nets drew it.
      points: [68, 2], where the frame's landmarks are, in pixels of the crop.

    Returns:
      uint8 [H, W, 3]; outside of `box` (left, top, right, bottom) the pixels are the picture's.
    """
    out = self.picture.copy()
    left, top, right, bottom = self.box
    if right > left and bottom > top:
      points = np.asarray(points, np.float64)
      landmarks, target = face_alignment.normalise(points), self._along_patch(points)
      part = _draw(self._patch, frame, landmarks, target, self._cell, *self._mouth)
      out[top:bottom, left:right] = np.asarray(part)[: bottom - top, : right - left]
    return out

  def _along_patch(self, points: np.ndarray) -> np.ndarray:
    """Points [68, 2] in pixels of the crop → in half crops from the patch's corner, along the patch's sides."""
    return (face_alignment.apply(self._from_crop, points) * (self._side * 2 / _SIZE)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _draw(patch: _Patch, frame: Array, landmarks: Array, target: Array, cell: int, rows: int, columns: int) -> Array:
  """The patch with a frame in it, uint8 [H, W, 3]; the mouth's box has so many rows and columns."""
  height, width = patch.mask.shape[:2]
  pixels = interpolation.packed(patch.pixels)
  xs, ys = ((jnp.arange(side) + 0.5) * patch.pixel for side in (width, height))
  nodes = (jnp.arange(0, side + 1, cell) * patch.pixel for side in (width, height))
  held, held_at = mouth_sheets.to_outer_corners(patch.source, target)
  upper, lower = (
    interpolation.spread(mouth_sheets.offset(sheet), cell)
    for sheet in mouth_sheets.sheets(held, held_at, *nodes, fine=True)
  )
  above = mouth_sheets.above(held_at, xs, ys)

  is_above = above >= 0.5
  move = jnp.where(is_above, upper, lower)
  out = interpolation.bicubic(pixels, xs + move[0], ys[:, None] + move[1], patch.pixel)
  # A pixel that the mouth's line crosses is of both sheets: one in each column.
  crossed = jnp.argmin(jnp.abs(above - 0.5), axis=0), jnp.arange(width)
  move = jnp.where(is_above[crossed], lower[:, *crossed], upper[:, *crossed])
  other = interpolation.bicubic(pixels, xs + move[0], ys[crossed[0]] + move[1], patch.pixel)
  share = jnp.minimum(above, 1 - above)[crossed][:, None]
  out = out.at[crossed].set(out[crossed] * (1 - share) + other * share)

  top, left = patch.corner
  xs, ys = jax.lax.dynamic_slice(xs, (left,), (columns,)), jax.lax.dynamic_slice(ys, (top,), (rows,))
  opening = mouth_sheets.opening(patch.source, target, xs, ys)
  hole, known, light = opening.hole[..., None], opening.known[..., None], opening.light[..., None]
  teeth = interpolation.bicubic(pixels, xs, opening.rows, patch.pixel) * light
  # Where the box's pixels are in the crop: what is added is in its pixels, the products in the patch's half crops.
  across, down = (row[0] * xs + row[1] * ys[:, None] + row[2] * patch.pixel for row in patch.to_crop)
  drawn = interpolation.bicubic(interpolation.packed(frame), across, down, patch.pixel)
  drawn += _colour_offset(patch, frame, landmarks)
  mouth = jax.lax.dynamic_slice(out, (top, left, 0), (rows, columns, 3))
  mouth = mouth * (1 - hole) + (teeth * known + drawn * (1 - known)) * hole
  out = jax.lax.dynamic_update_slice(out, mouth, (top, left, 0))
  before = patch.pixels.astype(jnp.float32)
  return interpolation.to_bytes(before + patch.mask * (out - before))


def _colour_offset(patch: _Patch, frame: Array, landmarks: Array) -> Array:
  """[3]: what brings the frame's colours around the mouth to the crop's."""
  points = landmarks.reshape(features.NUM_LANDMARKS, 2)[features.MOUTH]
  centres = jnp.asarray(landmark_maps.pixel_centres(_SIZE))
  middle, reach = (points.max(axis=0) + points.min(axis=0)) / 2, (points.max(axis=0) - points.min(axis=0)) / 2
  columns, rows = (
    jnp.exp(-0.5 * jnp.square((centres - middle[axis]) / (reach[axis] + _COLOUR * 2 / _SIZE))) for axis in (0, 1)
  )
  holes = mouth_sheets.hole(jnp.stack([landmarks, patch.crop_landmarks]), _SIZE)
  near = rows[:, None, None] * columns[:, None] * jnp.prod(1 - holes, axis=0)
  difference = jnp.sum((patch.crop.astype(jnp.float32) - frame) * near, axis=(0, 1)) / jnp.sum(near)
  return jnp.clip(difference, -_MOST, _MOST)


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


def _mouth_box(points: np.ndarray, from_crop: np.ndarray, sides: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
  """First and last row and column, int [2] each, of where the mouth of a face may be open in a patch of such sides."""
  lips = points[features.INNER_LIPS]
  left, above, right, below = _AROUND
  low, high = lips.min(axis=0) - np.array([left, above]), lips.max(axis=0) + np.array([right, below])
  corners = face_alignment.apply(from_crop, np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])]))
  step, limits = interpolation.STEP // 2, np.array(sides)
  size = np.minimum(np.ceil(np.ptp(corners, axis=0)[::-1] / step).astype(int) * step, limits)
  first = np.clip(np.floor(corners.min(axis=0))[::-1].astype(int), 0, limits - size)
  return first, first + size


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
