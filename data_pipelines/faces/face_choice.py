"""Which of several faces is meant.

Faces are numbered from left to right, from 1 on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.faces.face_landmarker import FaceLandmarker, Shape
from data_pipelines.faces.face_tracks import FaceTrack

LARGEST, LEFT, RIGHT, SPEAKING = 'largest', 'left', 'right', 'speaking'
_NUMBER, _POINT = 'number', 'point'
_WORDS = f'{LARGEST}, {LEFT}, {RIGHT}, a number from the left, or X,Y in pixels'
_REACH = 0.5  # of a face's box: a point so far beside it still means it


class FaceChoice(NamedTuple):
  """As `parse` reads it."""

  kind: str  # one of the words above, 'number' or 'point'
  number: int = 0
  point: tuple[float, float] = (0.0, 0.0)


def parse(text: str) -> FaceChoice:
  """'largest', 'left', 'right', 'speaking', '2' (from the left) or '310,200' (pixels from the left and from the top).

  Raises:
    InputError: it is none of these.
  """
  word = text.strip().lower()
  if word in (LARGEST, LEFT, RIGHT, SPEAKING):
    return FaceChoice(word)
  if word.isdecimal() and 0 < int(word) < 1000:
    return FaceChoice(_NUMBER, number=int(word))
  try:
    x, y = (float(part) for part in word.split(','))
  except ValueError:
    x = y = np.nan
  if not (np.isfinite(x) and np.isfinite(y)):
    raise InputError(f'face {text!r} is no choice of a face: use {_WORDS}; in a video also {SPEAKING}')
  return FaceChoice(_POINT, point=(x, y))


def in_picture(landmarker: FaceLandmarker, image: np.ndarray) -> list[Shape]:
  """The points of every face in `image`, uint8 [H, W, 3], from left to right; small ones are looked for too."""
  picture = Image.fromarray(image)
  found = landmarker.detect(image, all_sizes=True)
  shapes: list[Shape] = []
  for face in found:
    sight = landmarker.look(picture, face)
    if sight is not None and not any(_same(sight.points, other.points) for other in shapes):
      shapes.append(Shape(sight.points, 1.0, sight.yaw, 0))
  shapes.sort(key=lambda shape: float(shape.points[:, 0].mean()))
  return [shape._replace(faces_seen=len(shapes)) for shape in shapes]


def box(points: np.ndarray) -> np.ndarray:
  """[68, 2] → [4]: left, top, right, bottom."""
  return np.concatenate([points.min(axis=0), points.max(axis=0)])


def of_picture(choice: FaceChoice, boxes: np.ndarray) -> int:
  """Which of the faces in a picture is chosen.

  Args:
    choice: not 'speaking'.
    boxes: [n, 4], left, top, right, bottom; n > 0.

  Raises:
    InputError: no face has that number or is at that point.
  """
  order = np.argsort((boxes[:, 0] + boxes[:, 2]) / 2, kind='stable')
  if choice.kind == LARGEST:
    return int(np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
  if choice.kind == LEFT:
    return int(order[0])
  if choice.kind == RIGHT:
    return int(order[-1])
  if choice.kind == _NUMBER:
    if choice.number > len(order):
      raise InputError(f'there is no face number {choice.number}: {_counted(len(order))} seen')
    return int(order[choice.number - 1])
  if choice.kind == _POINT:
    distance = _distance(boxes, choice.point)
    if distance.min() > _REACH:
      middles = '; '.join(f'{(box[0] + box[2]) / 2:.0f},{(box[1] + box[3]) / 2:.0f}' for box in boxes[order])
      raise InputError(f'there is no face at {choice.point[0]:g},{choice.point[1]:g}: faces are at {middles}')
    return int(np.argmin(distance))
  raise InputError(f'face {choice.kind!r} follows the sound of a video, and this is a picture: use {_WORDS}')


def of_tracks(
  choice: FaceChoice, tracks: Sequence[FaceTrack], speaking: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
  """In which frames each of the faces of a video is chosen.

  'largest' is the largest of those seen at a time. 'left', 'right' and numbers count the faces of a shot. A point means
  the face that is there in the first frame in which any is, in every shot.

  Args:
    choice: any.
    tracks: faces of shots.
    speaking: for 'speaking', of each track, float [T]: how much rather than the others it speaks.

  Returns:
    Of each track, bool [T]; at most one is true in a frame.
  """
  if choice.kind == SPEAKING:
    assert speaking is not None, 'who speaks is to be measured before'
    ranks = list(speaking)
  elif choice.kind == LARGEST:
    ranks = [np.full(len(track.landmarks), 0.0) for track in tracks]
    for i, track in enumerate(tracks):
      for other in tracks:
        if other is not track and larger(other, track):
          low, high = _shared(track, other)
          ranks[i][low - track.start : max(low, high) - track.start] -= 1
    return _best([np.where(rank < 0, -np.inf, 0.0) for rank in ranks], tracks)
  elif choice.kind == _POINT:
    ranks = [np.full(len(track.landmarks), _rank_at(track, choice.point)) for track in tracks]
  else:
    wanted = {LEFT: 1, RIGHT: 1, _NUMBER: choice.number}[choice.kind]
    ranks = [
      np.full(len(track.landmarks), 0.0 if _number(track, tracks, choice.kind == RIGHT) == wanted else -np.inf)
      for track in tracks
    ]
  return _best(ranks, tracks)


def larger(track: FaceTrack, other: FaceTrack) -> bool:
  """Whether `track` has the larger face over all frames in which both are seen."""
  low, high = _shared(track, other)
  if low >= high:
    return False
  sizes = [
    float(np.median(face_alignment.eye_distance(one.landmarks[low - one.start : high - one.start])))
    for one in (track, other)
  ]
  return sizes[0] > sizes[1] or (sizes[0] == sizes[1] and track.start < other.start)


def _number(track: FaceTrack, tracks: Sequence[FaceTrack], from_right: bool) -> int:
  """Its place among the faces of its shot: one more than the most that are seen beside it at a time."""
  beside = np.zeros(len(track.landmarks), int)
  for other in tracks:
    low, high = _shared(track, other)
    if other is track or low >= high:
      continue
    own, its = (one.landmarks[low - one.start : high - one.start, :, 0].mean() for one in (track, other))
    if (its > own) if from_right else (its < own):
      beside[low - track.start : high - track.start] += 1
  return int(beside.max()) + 1


def _rank_at(track: FaceTrack, point: tuple[float, float]) -> float:
  """The nearer a face is to a point when it is first seen, the higher; -inf far from it."""
  points = track.landmarks[0]
  distance = float(_distance(box(points)[None], point)[0])
  return -distance if distance <= _REACH else -np.inf


def _best(ranks: Sequence[np.ndarray], tracks: Sequence[FaceTrack]) -> list[np.ndarray]:
  """Where each has the highest of the ranks, -inf for never; the first of equal ones."""
  chosen = [np.isfinite(rank) for rank in ranks]
  for i, track in enumerate(tracks):
    for j, other in enumerate(tracks):
      low, high = _shared(track, other)
      if i == j or low >= high:
        continue
      own, its = ranks[i][low - track.start : high - track.start], ranks[j][low - other.start : high - other.start]
      chosen[i][low - track.start : high - track.start] &= (own > its) | ((own == its) & (i < j))
  return chosen


def _same(points: np.ndarray, other: np.ndarray) -> bool:
  """Whether two detections have come to one face: the middle of one is in the other."""
  own = box(other)
  return bool(((points.mean(axis=0) > own[:2]) & (points.mean(axis=0) < own[2:])).all())


def _shared(track: FaceTrack, other: FaceTrack) -> tuple[int, int]:
  return max(track.start, other.start), min(track.end, other.end)


def _distance(boxes: np.ndarray, point: tuple[float, float]) -> np.ndarray:
  """[n]: how far a point is outside of each box, in the box's sides; 0 to -0.5 towards its middle."""
  middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
  return (np.abs(middles - point) / np.maximum(sides, 1e-6)).max(axis=-1) - 0.5


def _counted(count: int) -> str:
  return 'one face is' if count == 1 else f'{count} faces are'
