"""All faces of a video, each followed for as long as it is seen."""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipelines import features
from data_pipelines.faces import face_alignment, face_landmarker

_SEARCH = 10  # frames between two looks for new faces; in frames without any, a third of it
_SEARCH_SMALL = 50  # frames between two looks for small faces, where there are no others
MAX_GAP = 5  # frames without the face that are bridged
_MAX_FACES = 8  # at a time: the largest
_SAME = 0.3  # overlap of two boxes (of their union) that are one face
_LEAP = 0.8  # eye distances in a frame: no head moves so fast, it is another one
# A jump cut within a shot: the face's picture, aligned, changes once, and is calm before and after. Between frames of
# one take it changes by 1 to 3 grey levels and never by 2.2 times its neighbours; between takes of one person by more.
_JUMP = 4.0  # grey levels, mean
_JUMP_RATIO = 2.5
_JUMP_REACH = 3  # frames
_LOOK_SIZE = 24  # pixels of that picture
_LOOK_SAMPLES = 3  # a pixel's side
_MARKED = 10  # frames from one mark to the next

Mark = Callable[[np.ndarray, np.ndarray], bool]  # a picture and a face's points [68, 2] in it → whether it is so


class FaceTrack(NamedTuple):
  """One face through T frames of a shot."""

  start: int  # its first frame
  landmarks: np.ndarray  # float32 [T, 68, 2] in pixels, smoothed, gaps bridged
  seen: np.ndarray  # bool [T]: not bridged
  yaw: np.ndarray  # float32 [T], degrees
  marked: np.ndarray = np.zeros(0, bool)  # bool [T]: what `follow` was told to look for; empty if nothing

  @property
  def end(self) -> int:
    """The frame after its last."""
    return self.start + len(self.landmarks)


class _Open:
  """A track that goes on."""

  def __init__(self, start: int, sight: face_landmarker.Sight, image: np.ndarray, mark: Mark | None):
    self.start = start
    self.mark = mark
    self.marks = [mark(image, sight.points)] if mark else []  # of every `_MARKED`-th frame
    self.sight = sight  # the last
    self.sights: list[face_landmarker.Sight | None] = [sight]
    self.looks = [_look(image, sight)]  # the face's picture of every frame, the last one where it is missing
    self.missing = 0

  def add(self, sight: face_landmarker.Sight | None, image: np.ndarray) -> None:
    self.sights.append(sight)
    self.looks.append(_look(image, sight) if sight else self.looks[-1])
    if self.mark and len(self.sights) > _MARKED * len(self.marks):
      self.marks.append(self.mark(image, sight.points) if sight else self.marks[-1])
    self.missing = 0 if sight else self.missing + 1
    self.sight = sight or self.sight


def follow(
  landmarker: face_landmarker.FaceLandmarker,
  frames: Iterable[tuple[int, np.ndarray, bool]],
  rate: float = features.FPS,
  mark: Mark | None = None,
) -> list[FaceTrack]:
  """Finds and follows every face.

  A track ends at a shot change, when the face is lost for more than `MAX_GAP` frames, and where it leaps or looks
  different at once (a jump cut, or another face in its place).

  Args:
    landmarker: the models.
    frames: (number, uint8 [H, W, 3], whether a new shot begins with it), one after the other without holes.
    rate: how many there are a second.
    mark: something to be asked of a face every few frames.

  Returns:
    Tracks in the order in which they began.
  """
  open_tracks: list[_Open] = []
  done: list[FaceTrack] = []
  pace = rate / features.FPS
  leap, max_gap = _LEAP / pace, MAX_GAP * max(pace, 1)
  search_step, small_step = (max(1, round(step * pace)) for step in (_SEARCH, _SEARCH_SMALL))
  smoothing = face_alignment.light(rate)
  for number, image, cut in frames:
    if cut:
      done += [closed for track in open_tracks for closed in _close(track, smoothing)]
      open_tracks = []
    for track in open_tracks:
      sight = landmarker.look(image, track.sight.square)
      if sight is not None and _moved(track.sight, sight) > leap:
        sight = None
      track.add(sight, image)
    lost = any(track.missing for track in open_tracks)
    search = number % (search_step if open_tracks else -(-search_step // 3)) == 0
    if cut or lost or search or (not done and not open_tracks and number % 2 == 0):
      small = not open_tracks and (cut or number % small_step == 0)
      _match(landmarker, image, landmarker.detect(image, small=small), open_tracks, number, leap, mark)
    for track in _duplicates(open_tracks) + [track for track in open_tracks if track.missing > max_gap]:
      if track in open_tracks:
        open_tracks.remove(track)
        done += _close(track, smoothing)
  done += [closed for track in open_tracks for closed in _close(track, smoothing)]
  return sorted(done, key=lambda track: (track.start, tuple(track.landmarks[0, 30])))


def _match(
  landmarker: face_landmarker.FaceLandmarker,
  image: np.ndarray,
  detections: list[face_landmarker.Face],
  open_tracks: list[_Open],
  number: int,
  leap: float,
  mark: Mark | None,
) -> None:
  """Gives detections to the tracks that have lost theirs, and begins tracks with those that are nobody's."""
  picture = Image.fromarray(image)
  for face in detections:
    owner = max(open_tracks, key=lambda track: _overlap(_box(track.sight), face.box), default=None)
    if owner is not None and _overlap(_box(owner.sight), face.box) > _SAME:
      if owner.sights[-1] is None:
        sight = landmarker.look(picture, face)
        if sight is not None and _moved(owner.sight, sight) <= leap * (1 + owner.missing):
          owner.sights.pop()
          owner.looks.pop()
          owner.add(sight, image)
      continue
    if len(open_tracks) < _MAX_FACES:
      sight = landmarker.look(picture, face)
      if sight is not None and all(_overlap(_box(track.sight), _box(sight)) <= _SAME for track in open_tracks):
        open_tracks.append(_Open(number, sight, image, mark))


def _duplicates(open_tracks: list[_Open]) -> list[_Open]:
  """The younger ones of tracks that have come to follow the same face."""
  return [
    track
    for i, track in enumerate(open_tracks)
    if track.sights[-1] is not None
    and any(
      other.sights[-1] is not None and _overlap(_box(track.sight), _box(other.sight)) > 0.5 for other in open_tracks[:i]
    )
  ]


def _close(track: _Open, smoothing: np.ndarray) -> list[FaceTrack]:
  """An ended track without its last gap, smoothed, and cut where it leaps."""
  sights = track.sights[: len(track.sights) - track.missing]
  empty = np.full((features.NUM_LANDMARKS, 2), np.nan, np.float32)
  points = np.stack([sight.points if sight else empty for sight in sights])
  yaw = np.array([sight.yaw if sight else np.nan for sight in sights], np.float32)
  seen = np.array([sight is not None for sight in sights])
  points, yaw = face_landmarker.fill_gaps(points), face_landmarker.fill_gaps(yaw)
  marked = np.repeat(np.array(track.marks, bool), _MARKED)[: len(points)]
  bounds = [0, *jumps(np.stack(track.looks[: len(sights)])), len(points)]
  return [
    FaceTrack(
      track.start + low,
      face_alignment.smooth(points[low:high], smoothing),
      seen[low:high],
      yaw[low:high],
      marked[low:high],
    )
    for low, high in itertools.pairwise(bounds)
  ]


def jumps(looks: np.ndarray) -> list[int]:
  """The face's picture [T, h, w, 3] → the frames with which a take begins: it changes once between calm frames."""
  steps = np.abs(np.diff(looks.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))  # [T - 1]
  found = []
  for t in np.flatnonzero(steps > _JUMP):
    near = np.concatenate([steps[max(0, t - _JUMP_REACH) : t], steps[t + 1 : t + 1 + _JUMP_REACH]])
    if len(near) and steps[t] > _JUMP_RATIO * near.max():
      found.append(int(t) + 1)
  return found


def _look(image: np.ndarray, sight: face_landmarker.Sight) -> np.ndarray:
  """uint8 [24, 24, 3]: the face, aligned. Means of a few samples: this is for every face in every frame."""
  side = _LOOK_SIZE * _LOOK_SAMPLES
  scale = features.IMAGE_SIZE / side
  place = face_alignment.invert(face_alignment.alignment(sight.points))
  middles = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) + 0.5) * scale
  x, y = np.clip(
    np.floor(face_alignment.apply(place, middles)).astype(int), 0, (image.shape[1] - 1, image.shape[0] - 1)
  ).T
  cells = image[y, x].reshape(_LOOK_SIZE, _LOOK_SAMPLES, _LOOK_SIZE, _LOOK_SAMPLES, 3)
  return cells.mean(axis=(1, 3)).astype(np.uint8)


def _moved(before: face_landmarker.Sight, after: face_landmarker.Sight) -> float:
  """How far the middle of a face has gone, in eye distances."""
  shift = np.linalg.norm(after.points.mean(axis=0) - before.points.mean(axis=0))
  return float(shift / max(float(face_alignment.eye_distance(before.points)), 1e-6))


def _box(sight: face_landmarker.Sight) -> np.ndarray:
  return np.concatenate([sight.points.min(axis=0), sight.points.max(axis=0)])


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
  """Intersection over union."""
  sides = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0)
  shared = float(sides[0] * sides[1])
  areas = sum(float((b[2] - b[0]) * (b[3] - b[1])) for b in (box, other))
  return shared / max(areas - shared, 1e-6)
