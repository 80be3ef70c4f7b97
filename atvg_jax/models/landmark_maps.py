"""Soft drawings of landmarks, which tell a decoder in pixels where lips and jaw are to be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array

NUM_MAPS = 4
_OUTER_LIPS = tuple(range(48, 60))
_INNER_LIPS = tuple(range(60, 68))
_JAW = tuple(range(0, 17))
_REST = (
  *((i, i + 1) for first, last in ((17, 21), (22, 26), (27, 30), (31, 35)) for i in range(first, last)),
  *((first + i, first + (i + 1) % 6) for first in (36, 42) for i in range(6)),
)


def _ring(points: tuple[int, ...]) -> np.ndarray:
  return np.array([points, points[1:] + points[:1]]).T


_SEGMENTS = (
  _ring(_OUTER_LIPS),
  _ring(_INNER_LIPS),
  np.array([_JAW[:-1], _JAW[1:]]).T,
  np.array(_REST),
)


def landmark_maps(landmarks: Array, size: int, width: float = 3.0) -> Array:
  """Draws landmarks at a given size; no gradient flows back to them.

  Args:
    landmarks: [..., 136], -1 and 1 at the edges of the picture.
    size: side of the drawings.
    width: distance, in 1/64 of the picture, at which a drawing has faded out.

  Returns:
    [..., size, size, 4]: the outer lips and the mouth's hole as clipped signed distances (1 well inside, 0 on
    the line, -1 well outside); the jaw line, and brows, nose and eyes, as lines of height 1.
  """
  points = lax.stop_gradient(landmarks).reshape(-1, 68, 2)
  return _maps(points, size, width / 32).reshape(*landmarks.shape[:-1], size, size, NUM_MAPS)


@functools.partial(jax.jit, static_argnames=('size', 'width'))  # traced once for example and frames
def _maps(points: Array, size: int, width: float) -> Array:
  """[N, 68, 2] -> [N, size, size, 4]; `width` is in the landmarks' unit."""
  centres = pixel_centres(size)
  maps = []
  for index, segments in enumerate(_SEGMENTS):
    start, end = points[:, segments[:, 0]], points[:, segments[:, 1]]  # [N, S, 2]
    distance, crossings = _distance(start, end, centres)
    if index < 2:
      maps.append(jnp.clip(_signed(distance, crossings) / width, -1, 1))
    else:
      maps.append(jnp.maximum(1 - distance / width, 0))
  return jnp.stack(maps, axis=-1)


def mouth_hole(landmarks: Array, size: int, soft: float) -> Array:
  """The gap between the inner lips as a mask; no gradient flows back.

  Args:
    landmarks: [..., 136].
    size: side of the mask.
    soft: over how much of the picture's half its border goes from 0 to 1.

  Returns:
    [..., size, size, 1]: 1 inside, 1/2 on the lips' line, 0 outside.
  """
  points = lax.stop_gradient(landmarks).reshape(-1, 68, 2)
  segments = _SEGMENTS[1]
  distance, crossings = _distance(points[:, segments[:, 0]], points[:, segments[:, 1]], pixel_centres(size))
  return jnp.clip(0.5 + _signed(distance, crossings) / soft, 0, 1).reshape(*landmarks.shape[:-1], size, size, 1)


def pixel_centres(size: int) -> np.ndarray:
  """[size]: where the centres of a row's pixels lie, in the landmarks' unit."""
  return ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)


def _distance(start: Array, end: Array, centres: np.ndarray) -> tuple[Array, Array]:
  """Distance of every pixel to the nearest segment, and how many segments a ray to the right crosses."""
  start, end = start[..., None, None], end[..., None, None]  # [N, S, 2, 1, 1]
  x0, y0 = start[:, :, 0], start[:, :, 1]
  dx, dy = end[:, :, 0] - x0, end[:, :, 1] - y0
  x, y = centres[None, :], centres[:, None]
  share = ((x - x0) * dx + (y - y0) * dy) / jnp.maximum(dx * dx + dy * dy, 1e-12)
  share = jnp.clip(share, 0, 1)
  square = jnp.square(x0 + share * dx - x) + jnp.square(y0 + share * dy - y)  # [N, S, H, W]
  straddles = (y0 > y) != (y0 + dy > y)
  crosses = straddles & (x < x0 + (y - y0) * dx / jnp.where(dy == 0, 1, dy))
  return jnp.sqrt(jnp.min(square, axis=1)), jnp.sum(crosses, axis=1)


def _signed(distance: Array, crossings: Array) -> Array:
  """What `_distance` found of a ring of segments, negative outside of it."""
  return jnp.where(crossings % 2 == 0, -distance, distance)
