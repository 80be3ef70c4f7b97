"""A head that moves: gently by itself, or as in a video.

Motion is a similarity of the crop for every frame. In the crop alone all of it moves; in the whole picture the head
does, and the movement fades out around it. What is out of sight cannot be drawn: only small movements look right, so
larger ones are held back. Blinks are in `blinks`.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from atvg_jax.generate.effects.interpolation import MeshWarp, smoothstep
from atvg_jax.generate.portrait import Portrait
from data_pipelines import features
from data_pipelines.faces import face_alignment

GENTLE = 'gentle'

# In pixels of the crop.
_CENTRE = np.array([64.0, 60.0])  # of the head
_HEAD = 70.0  # moves as one
_FADE = 150.0  # beyond it nothing moves
_LIMITS = {'shift': 3.0, 'turn': np.radians(2.0), 'zoom': 0.02}
_CELL = 8

# (frequency in Hz, phase) of what a gentle movement is made of: no common period, so it does not repeat soon.
_WAVES = {
  'x': ((0.11, 0.3), (0.23, 2.1), (0.41, 4.4)),
  'y': ((0.13, 1.2), (0.29, 5.0), (0.53, 0.7)),
  'turn': ((0.09, 3.9), (0.19, 0.5), (0.37, 2.8)),
  'zoom': ((0.07, 5.5), (0.17, 1.7), (0.31, 3.3)),
}
_SIZES = {'x': 1.6, 'y': 1.0, 'turn': np.radians(0.9), 'zoom': 0.008}


def gentle() -> Iterator[np.ndarray]:
  """Similarities [2, 3] of a head at rest that is not quite still, without end; the first is the identity."""

  def value(name, time):
    return sum(np.sin(2 * np.pi * frequency * time + phase) - np.sin(phase) for frequency, phase in _WAVES[name]) / 3

  for frame in itertools.count():
    x, y, turn, zoom = (_SIZES[name] * value(name, frame / features.FPS) for name in ('x', 'y', 'turn', 'zoom'))
    yield _similarity(x, y, turn, zoom)


def of_track(matrices: np.ndarray) -> Iterator[np.ndarray]:
  """Similarities [2, 3] as a face in a video moves, without end: at its last frame it turns back.

  Args:
    matrices: [T, 2, 3], picture to crop of every frame. Movement is relative to the first.
  """
  shifts = []
  for matrix in matrices:
    inverse = face_alignment.invert(matrix)
    relative = matrices[0][:, :2] @ inverse[:, :2]
    centre = face_alignment.apply(matrices[0], face_alignment.apply(inverse, _CENTRE[None]))[0] - _CENTRE
    shifts.append([*centre, np.arctan2(relative[1, 0], relative[0, 0]), np.hypot(*relative[:, 0]) - 1])
  held = np.asarray(shifts)
  limits = np.array([_LIMITS['shift'], _LIMITS['shift'], _LIMITS['turn'], _LIMITS['zoom']])
  held = limits * np.tanh(held / limits)  # small movements as they are, large ones up to the limit
  for x, y, turn, zoom in itertools.cycle(np.concatenate([held, held[-2:0:-1]])):
    yield _similarity(x, y, turn, zoom)


def _similarity(x: float, y: float, turn: float, zoom: float) -> np.ndarray:
  """Turns and zooms about the head's centre, then shifts."""
  cosine, sine = (1 + zoom) * np.cos(turn), (1 + zoom) * np.sin(turn)
  linear = np.array([[cosine, -sine], [sine, cosine]])
  return np.concatenate([linear, (_CENTRE + np.array([x, y]) - linear @ _CENTRE)[:, None]], axis=1)


def moved_crops(frames: Iterable[np.ndarray], motion: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """Frames uint8 [128, 128, 3] moved; their edge is repeated where they leave the border bare."""
  for frame, matrix in zip(frames, motion):
    yield face_alignment.warp(frame, matrix)


def moved_pictures(
  frames: Iterable[np.ndarray],
  portrait: Portrait,
  motion: Iterable[np.ndarray],
) -> Iterator[np.ndarray]:
  """Whole pictures uint8 [H, W, 3] with the head moved; far from it no pixel changes."""
  mover = None
  for frame, matrix in zip(frames, motion):
    mover = mover or _HeadMover(portrait.matrix, frame.shape)
    yield mover(frame, matrix)


class _HeadMover:
  """Moves the head in pictures of one shape, and less and less of what is around it."""

  def __init__(self, to_crop: np.ndarray, shape: tuple[int, ...]):
    corners = _CENTRE + _FADE * np.array([[x, y] for x in (-1, 1) for y in (-1, 1)])
    corners = face_alignment.apply(face_alignment.invert(to_crop), corners)
    limits = np.array([shape[1], shape[0]])
    self._low = np.clip(np.floor(corners.min(axis=0)), 0, limits).astype(int)
    self._high = np.clip(np.ceil(corners.max(axis=0)), 0, limits).astype(int)
    scale = np.hypot(*to_crop[:, 0])
    width, height = (self._high - self._low).tolist()
    self._mesh = MeshWarp(width, height, _CELL / scale)
    nodes = (self._mesh.nodes + self._low).reshape(-1, 2)
    self._places = face_alignment.apply(to_crop, nodes)
    distance = np.hypot(*(self._places - _CENTRE).T)
    weight = np.clip((_FADE - distance) / (_FADE - _HEAD), 0, 1)
    # The picture's own border stays where it is: there is nothing to draw beyond it.
    edge = np.minimum(nodes, limits - nodes).min(axis=-1) * scale
    self._weight = smoothstep(weight * np.clip(edge / (_FADE - _HEAD), 0, 1))[:, None]
    self._from_crop = face_alignment.invert(to_crop)

  def __call__(self, frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The frame, moved by a similarity of the crop."""
    back = face_alignment.apply(face_alignment.invert(matrix), self._places)
    places = self._places + self._weight * (back - self._places)
    places = face_alignment.apply(self._from_crop, places).reshape(self._mesh.nodes.shape) - self._low
    (left, top), (right, bottom) = self._low, self._high
    out = frame.copy()
    out[top:bottom, left:right] = self._mesh(frame[top:bottom, left:right], places)
    return out
