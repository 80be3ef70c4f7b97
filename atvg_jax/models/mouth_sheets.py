"""How a face moves when its mouth does: two sheets that meet at the mouth's line, and what lies between the lips.

One smooth field of movement cannot shut a mouth: where lips meet, the upper one's way down and the lower one's way up
would average to nothing, and what the picture shows between them would stay. So there are two fields, one of all that
hangs on the skull (nose, cheeks, upper lip) and one of all that hangs on the jaw (lower lip, chin). Each pixel follows
the one on its side of the mouth's line. Beyond the mouth's corners the two are the same, so there is no seam.

All lengths are in half crops (see `data_pipelines.features`) whatever the resolution: the functions take the places of
columns and rows, so that a crop and the picture that it was cut from are drawn alike.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from atvg_jax.models.landmark_maps import pixel_centres
from data_pipelines import features

Array = jax.Array

_PIXEL = 2 / features.IMAGE_SIZE  # of the crop of 128, in half crops

# Standard deviation of the Gaussians: 4 pixels of 128 fit training speakers best (SSIM of the lips: deviations of 3 to
# 7, and wider ones for the jaw, were tried).
_BANDWIDTH = 4 * _PIXEL
_RIDGE = 1e-2  # weight of no displacement: far from all landmarks pixels stay where they are
_CORNER = 2 * _PIXEL  # over so much on both sides of a mouth's corner the two fields become one
# Inner lips' landmarks may lie on the teeth: lips that come nearer each other are taken from so far out. VG-net, which
# draws over the crop, was trained with the first; nothing draws over a picture, where some teeth are found farther out.
_MARGIN, _WIDE_MARGIN = 1.0 * _PIXEL, 2.0 * _PIXEL
_MARGIN_SHARE = 0.35  # of the lips' thickness, at most
_LIP = 0.25 * _PIXEL  # so much of the picture's mouth beside its lips may be lip
_DRAWN_OUT = 3 * _PIXEL  # so far teeth are drawn out under an upper lip that rises above them
_SHADOW = 0.5 * _PIXEL  # of the lips: halves the light between lips that are so far apart
_NEAR = 1.5 * _PIXEL  # lips that are less far apart begin to meet
_LINE = 2.0 * _PIXEL  # standard deviation, across, of the line that lips make which meet
_SHUTTING = 2.0 * _PIXEL  # lips that come nearer by so much on average are matched out to the mouth's own corners

_UPPER_LIP, _LOWER_LIP = (*range(49, 54), 61, 62, 63), (*range(55, 60), 65, 66, 67)
_CORNERS, _INNER_CORNERS = np.array([48, 54]), np.array([60, 64])  # left and right
_UPPER_LINE, _LOWER_LINE = np.array([60, 61, 62, 63, 64]), np.array([60, 67, 66, 65, 64])
# What speech moves, and the nose's tip, which holds the cheeks.
_POINTS = np.r_[2:15, 30:36, features.MOUTH]
_UPPER, _LOWER = (np.isin(_POINTS, lip) for lip in (_UPPER_LIP, _LOWER_LIP))
_COMMON = ~(_UPPER | _LOWER)
_TOWARDS_LIPS = np.array([1 / 3, 2 / 3])  # of the way from an inner corner to the landmarks beside it
_NEAR_CORNERS = np.repeat([True, False], 4)  # of `_near_corners`: the upper lip's
# The same groups where lips are matched near the corners. There the inner corners alone hold the corners: they may lie
# on the mouth's own, which would count twice.
_FINE_GROUPS = (
  np.r_[_COMMON & ~np.isin(_POINTS, _CORNERS), np.zeros_like(_NEAR_CORNERS)],
  np.r_[_UPPER, _NEAR_CORNERS],
  np.r_[_LOWER, ~_NEAR_CORNERS],
)


def to_outer_corners(source: Array, target: Array) -> tuple[Array, Array]:
  """Moves the inner lips' corners out to the mouth's own where a mouth shuts.

  A smile is open beyond the landmarks of the inner lips' corners: dark wedges reach nearly to the mouth's own corners,
  and would stay in a mouth that is shut. Where a mouth opens, the lips part at the inner corners.

  Args:
    source: [..., 68, 2], the picture's landmarks.
    target: [..., 68, 2], the frame's.

  Returns:
    Both, [..., 68, 2] each, with these two landmarks moved.
  """
  nearer = jnp.mean(features.inner_lip_gaps(source) - features.inner_lip_gaps(target), axis=-1)
  share = jnp.clip(nearer / _SHUTTING, 0, 1)[..., None, None]

  def moved(points: Array) -> Array:
    corners = (1 - share) * points[..., _INNER_CORNERS, :] + share * points[..., _CORNERS, :]
    return jnp.broadcast_to(points, target.shape).at[..., _INNER_CORNERS, :].set(corners)

  return moved(source), moved(target)


def sheets(
  source: Array, target: Array, xs: Array, ys: Array, *, apart: bool = True, fine: bool = False
) -> tuple[Array, Array]:
  """Where the pixels of a frame come from, by the upper and by the lower sheet.

  Each field is a mean of the landmarks' movements, weighed by Gaussians of the distance to the frame's landmarks
  (Nadaraya and Watson's regression), of movements corrected so that the means at the landmarks are nearly their own.

  Args:
    source: [..., 68, 2], the picture's landmarks.
    target: [..., 68, 2], the frame's.
    xs: [W], the columns' places.
    ys: [H], the rows'.
    apart: False makes both one smooth field of all landmarks, which cannot shut a mouth: what ablations compare with.
    fine: the inner lips' edges are matched near the mouth's corners too, and lips that come nearer each other are
      taken from farther out: for a picture over which no net draws. VG-net was trained without it.

  Returns:
    Two arrays [..., 3, H, W], of which `offset` makes what has to be added to a pixel's place: to choose between the
    sheets first takes one division for both.
  """
  points, groups = target[..., _POINTS, :], (_COMMON, _UPPER, _LOWER)
  move = _beyond_teeth(source, target, _WIDE_MARGIN if fine else _MARGIN)[..., _POINTS, :] - points
  if fine:
    here, there = _near_corners(target), _near_corners(source)
    # Landmarks near the corners may lie on the other lip, which would show as a light line where a mouth opens.
    nearer = (_gaps(there) - _gaps(here)) / 2
    beyond = jnp.clip(nearer, 0, _WIDE_MARGIN) + jnp.clip(-nearer, 0, _MARGIN)
    there = there.at[..., 1].add(jnp.concatenate([-beyond, beyond], axis=-1))
    points, move = jnp.concatenate([points, here], axis=-2), jnp.concatenate([move, there - here], axis=-2)
    groups = _FINE_GROUPS
  left, right = (target[..., corner, 0, None] for corner in _INNER_CORNERS)

  def beside(x: Array) -> Array:
    """[..., M] → 1 beside the mouth, 0 between its corners."""
    return jnp.clip(0.5 + jnp.maximum(left - x, x - right) / (2 * _CORNER), 0, 1) if apart else jnp.ones_like(x + left)

  columns, rows = (_gaussian(points[..., axis, None] - places) for axis, places in ((0, xs), (1, ys)))
  values = _corrected(move, points, beside(points[..., 0]), *groups[1:])
  values = jnp.concatenate([values, jnp.ones_like(values[..., :1])], axis=-1)
  # The weights are products of what depends on x and on y, so that all sums over landmarks are matrix products.
  common, upper, lower = (
    jnp.einsum('...nh,...nw,...nc->...chw', rows[..., group, :], columns[..., group, :], values[..., group, :])
    for group in groups
  )
  share = beside(xs)[..., None, None, :]
  return common + upper + share * lower, common + lower + share * upper


def _corrected(move: Array, points: Array, beside: Array, of_upper: np.ndarray, of_lower: np.ndarray) -> Array:
  """Movements [..., N, 2] whose means at the points [..., N, 2] are nearer to `move` than its own means are.

  Args:
    move: [..., N, 2].
    points: [..., N, 2].
    beside: [..., N], see `sheets`: how much of the other lip is in both sheets at each point.
    of_upper: bool [N], which points are of the upper lip.
    of_lower: bool [N], of the lower one.
  """
  near = _gaussian(points[..., :, None, 0] - points[..., None, :, 0])
  near *= _gaussian(points[..., :, None, 1] - points[..., None, :, 1])  # [..., N, N]
  means = []
  for other in (of_lower, of_upper):
    weights = near * jnp.where(other, beside[..., None], 1)
    means.append(weights @ move / (jnp.sum(weights, axis=-1, keepdims=True) + _RIDGE))
  upper, lower = means
  own = jnp.where(of_upper[:, None], upper, jnp.where(of_lower[:, None], lower, (upper + lower) / 2))
  return 2 * move - own


def offset(sheet: Array) -> Array:
  """[..., 2, H, W]: what has to be added to x and y of the pixels' places, by a sheet [..., 3, H, W]."""
  return sheet[..., :2, :, :] / (sheet[..., 2:, :, :] + _RIDGE)


def above(target: Array, xs: Array, ys: Array) -> Array:
  """The share of each pixel that is above the mouth's line, and so of the upper sheet: [..., H, W].

  Args:
    target: [..., 68, 2].
    xs: [W], the columns' places.
    ys: [H], the rows', evenly apart.
  """
  top, bottom = lines(target, xs)
  return jnp.clip(0.5 + ((top + bottom)[..., None, :] / 2 - ys[:, None]) / (ys[1] - ys[0]), 0, 1)


def lines(points: Array, xs: Array) -> tuple[Array, Array]:
  """The edges of the inner lips [..., W], upper and lower, over columns xs [W]; level beyond the mouth's corners."""
  return _curve(points[..., _UPPER_LINE, :], xs), _curve(points[..., _LOWER_LINE, :], xs)


class Opening(NamedTuple):
  """What is seen between the inner lips, pixel by pixel: arrays [..., H, W].

  Attributes:
    hole: the share of the pixel that lies between the frame's lips.
    rows: in which row, in half crops, the picture shows what is seen there; the column is the same.
    known: 1 where the picture does show it, 0 where nobody knows.
    light: the brightness that is left of it: narrow mouths are dark.
  """

  hole: Array
  rows: Array
  known: Array
  light: Array


def opening(source: Array, target: Array, xs: Array, ys: Array) -> Opening:
  """What a frame shows between its lips of what the picture shows between its own.

  Teeth that a picture shows are nearly always the upper ones. They belong to the skull, so they stay where they are,
  while the lips move over them. Where the picture has a lip in the place, nothing is known.

  Args:
    source: [..., 68, 2], the picture's landmarks.
    target: [..., 68, 2], the frame's.
    xs: [W], the columns' places.
    ys: [H], the rows', evenly apart.
  """
  top, bottom = (line[..., None, :] for line in lines(target, xs))
  shown_top, shown_bottom = (line[..., None, :] for line in lines(source, xs))
  gap, shown_gap = jnp.maximum(bottom - top, 0), jnp.maximum(shown_bottom - shown_top, 0)
  # A lip that has moved away lays bare what may be lip in the picture; one that has not hides what it hides there.
  first = shown_top - _PIXEL + (_PIXEL + _LIP) * jnp.clip((shown_top - top) / _PIXEL, 0, 1)
  last = shown_bottom + _PIXEL - (_PIXEL + _LIP) * jnp.clip((bottom - shown_bottom) / _PIXEL, 0, 1)
  rows = jnp.maximum(ys[:, None], first)
  wider = jnp.clip((gap - shown_gap) / _PIXEL, 0, 1)
  known = jnp.clip(0.5 + (last - rows) / _PIXEL, 0, 1)
  known *= jnp.clip((shown_gap - 2 * _LIP) / _PIXEL + 1 - wider, 0, 1)
  known *= jnp.clip(1 + (_DRAWN_OUT + ys[:, None] - first) / _PIXEL, 0, 1)
  light = (gap / (gap + _SHADOW)) / jnp.maximum(shown_gap / (shown_gap + _SHADOW), 1e-3)
  return Opening(_cover(top, bottom, ys), rows, known, jnp.broadcast_to(jnp.minimum(light, 1), rows.shape))


def hole(landmarks: Array, size: int) -> Array:
  """The gap between the inner lips as a mask; no gradient flows back.

  Args:
    landmarks: [..., 136].
    size: side of the mask.

  Returns:
    [..., size, size, 1]: the share of each pixel that lies within.
  """
  points = lax.stop_gradient(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  centres = jnp.asarray(pixel_centres(size))
  top, bottom = lines(points, centres)
  return _cover(top[..., None, :], bottom[..., None, :], centres)[..., None]


def meeting(landmarks: Array, size: int) -> Array:
  """The line of lips that meet as a mask, the softer the less they do; no gradient flows back.

  Args:
    landmarks: [..., 136].
    size: side of the mask.

  Returns:
    [..., size, size, 1]: 1 on the line between the inner lips in columns where they touch, 0 where they are 1.5 pixels
    of 128 apart or more, beside the mouth, and a few pixels from the line.
  """
  points = lax.stop_gradient(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  centres = jnp.asarray(pixel_centres(size))
  top, bottom = lines(points, centres)  # [..., W]
  left, right = (points[..., corner, 0, None] for corner in _INNER_CORNERS)
  met = jnp.clip(1 - (bottom - top) / _NEAR, 0, 1)
  met *= jnp.clip(0.5 + jnp.minimum(centres - left, right - centres) / (2 * _PIXEL), 0, 1)
  away = (centres[:, None] - (top + bottom)[..., None, :] / 2) / _LINE
  return (met[..., None, :] * jnp.exp(-0.5 * jnp.square(away)))[..., None]


def _cover(top: Array, bottom: Array, ys: Array) -> Array:
  """Which share of each pixel lies between two lines [..., 1, W]: [..., H, W], for rows at ys [H]."""
  rows, pixel = ys[:, None], ys[1] - ys[0]
  height = jnp.minimum(rows + pixel / 2, bottom) - jnp.maximum(rows - pixel / 2, top)
  return jnp.clip(height / pixel, 0, 1)


def _beyond_teeth(source: Array, target: Array, most: float) -> Array:
  """The picture's landmarks, the inner lips' moved into the lips where the mouth shuts."""
  gaps, wanted = (features.inner_lip_gaps(points) for points in (source, target))
  margin = jnp.clip((gaps - wanted) / 2, 0, most)  # [..., 3]
  down = jnp.zeros(target.shape[:-1])
  for inner, outer, sign in (([61, 62, 63], [50, 51, 52], -1), ([67, 66, 65], [58, 57, 56], 1)):
    thickness = sign * (source[..., np.array(outer), 1] - source[..., np.array(inner), 1])
    inside = jnp.minimum(margin, jnp.maximum(_MARGIN_SHARE * thickness, _MARGIN))
    down = down.at[..., np.array(inner)].set(sign * inside)
  return source + jnp.stack([jnp.zeros_like(down), down], axis=-1)


def _near_corners(points: Array) -> Array:
  """[..., 8, 2]: places on the inner lips' edges between the corners and their neighbours; the upper lip's first."""
  found = []
  for line in (_UPPER_LINE, _LOWER_LINE):
    knots = points[..., line, :]
    corner, neighbour = (knots[..., np.repeat(numbers, 2), 0] for numbers in ([0, 4], [1, 3]))
    x = corner + np.tile(_TOWARDS_LIPS, 2) * (neighbour - corner)
    found.append(jnp.stack([x, _curve(knots, x[..., None, :])], axis=-1))
  return jnp.concatenate(found, axis=-2)


def _gaps(near_corners: Array) -> Array:
  """[..., 4]: how far the lips are apart at places of `_near_corners`."""
  upper, lower = jnp.split(near_corners[..., 1], 2, axis=-1)
  return lower - upper


def _gaussian(distance: Array) -> Array:
  return jnp.exp(-0.5 * jnp.square(distance / _BANDWIDTH))


def _curve(knots: Array, xs: Array) -> Array:
  """A cubic Hermite curve through knots [..., K, 2] from left to right → [..., W]; level beyond them.

  Args:
    knots: [..., K, 2].
    xs: [W], or [..., 1, W] where each curve has its own.
  """
  x, y = lax.cummax(knots[..., 0], axis=knots.ndim - 2), knots[..., 1]
  width = jnp.maximum(jnp.diff(x), _PIXEL)
  secant = jnp.diff(y) / width
  # Slopes of the parabolas through three knots.
  inner = (width[..., 1:] * secant[..., :-1] + width[..., :-1] * secant[..., 1:]) / (width[..., 1:] + width[..., :-1])
  first, last = (1.5 * secant[..., end] - 0.5 * inner[..., end] for end in (0, -1))
  slope = jnp.concatenate([first[..., None], inner, last[..., None]], axis=-1)
  # [..., K - 1, W]: a piece is 0 before its first knot, and its whole rise beyond its second: the curve is their sum.
  t = jnp.clip((xs - x[..., :-1, None]) / width[..., None], 0, 1)
  rise = t * t * (3 - 2 * t) * jnp.diff(y)[..., None]
  rise += width[..., None] * t * (1 - t) * ((1 - t) * slope[..., :-1, None] - t * slope[..., 1:, None])
  return y[..., :1] + jnp.sum(rise, axis=-2)
