"""Tracks of faces → stretches that make training clips, and a reason for everything else.

Times are frames of 1/25 s, counted from the video's beginning.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines import features
from data_pipelines.conversion import convert_clip
from data_pipelines.conversion.convert_clip import Rejection
from data_pipelines.faces import face_alignment, face_choice
from data_pipelines.faces.face_tracks import FaceTrack

MAX_FRAMES = 10 * features.FPS  # of a clip; longer stretches are cut into equal ones
MAX_YAW = 40.0  # degrees: beyond, half of the mouth is hidden
MIN_EYE_DISTANCE = convert_clip.MIN_EYE_DISTANCE
TURNED, SMALL, COVERED = 'turned too far', 'face too small', 'mouth covered'  # reasons
_COVERED_REACH = 12  # frames on either side, of which most must show no lips
_MIN_INSIDE = 0.97  # share of the face's points that are in the picture
_MIN_REPORTED = features.FPS  # frames without any face that are worth a line of the report


class Stretch(NamedTuple):
  """Frames `start` to `end` of the track with number `track`, all of them fit or all unfit for one `reason`."""

  track: int
  start: int
  end: int
  reason: str  # empty: fit


class LeftOut(NamedTuple):
  """What is not used: the frame at which it begins, the end of its name, and why."""

  start: int
  name: str
  rejection: Rejection


def classify(
  index: int, tracks: Sequence[FaceTrack], size: tuple[int, int], end: int, *, all_faces: bool
) -> list[Stretch]:
  """One track in stretches, each fit or unfit for one reason.

  Args:
    index: the track's number in `tracks`.
    tracks: all of them.
    size: (height, width) of the pictures.
    end: frames from here on are damaged.
    all_faces: keep every face, not only the largest of those seen at a time.

  Returns:
    The stretches in order, without those of damage, which are reported once for all tracks.
  """
  track = tracks[index]
  points = track.landmarks
  height, width = size
  inside = ((points >= 0) & (points <= (width, height))).all(axis=-1).mean(axis=-1)
  reasons = unusable(track)
  reasons[inside < _MIN_INSIDE] = 'partly outside the picture'
  if not all_faces:
    for other in tracks:
      if other is not track and face_choice.larger(other, track):
        low, high = max(other.start, track.start), min(other.end, track.end)
        reasons[low - track.start : max(low, high) - track.start] = 'not the largest face'
  reasons[max(0, end - track.start) :] = 'damaged'
  stretches = []
  for low, high in itertools.pairwise([0, *(np.flatnonzero(reasons[1:] != reasons[:-1]) + 1).tolist(), len(reasons)]):
    reason = reasons[low]
    if not reason and high - low < convert_clip.MIN_FRAMES:
      reason = 'too short'
    if reason != 'damaged':
      stretches.append(Stretch(index, track.start + low, track.start + high, reason))
  return stretches


def unusable(track: FaceTrack) -> np.ndarray:
  """Why the nets can do nothing with a face, frame by frame: texts [T], '' where they can."""
  reasons = np.full(len(track.landmarks), '', object)
  reasons[_median_of_five(np.abs(track.yaw)) > MAX_YAW] = TURNED
  reasons[_median_of_five(face_alignment.eye_distance(track.landmarks)) < MIN_EYE_DISTANCE] = SMALL
  if len(track.marked):  # `face_tracks.follow` was asked to look at the lips
    padded = np.pad(track.marked.astype(float), _COVERED_REACH, mode='edge')
    reasons[np.convolve(padded, np.ones(2 * _COVERED_REACH + 1), 'valid') > _COVERED_REACH] = COVERED
  return reasons


def without_face(tracks: Sequence[FaceTrack], first: int, end: int) -> list[LeftOut]:
  """The stretches of the frames `first` to `end` in which no face is seen, if they last a second."""
  without = np.ones(end - first, bool)
  for track in tracks:
    without[max(0, track.start - first) : max(0, track.end - first)] = False
  bounds = (np.flatnonzero(np.diff(np.concatenate([[0], without, [0]]))) + first).tolist()
  return [
    LeftOut(low, 'no-face', Rejection('no face', f'no face from {clock(low)} to {clock(high)}'))
    for low, high in zip(bounds[::2], bounds[1::2], strict=True)
    if high - low >= min(_MIN_REPORTED, len(without))
  ]


def unfit(tracks: Sequence[FaceTrack], stretches: Sequence[Stretch]) -> list[LeftOut]:
  """One line for each face and reason."""
  found = []
  for index, track in enumerate(tracks):
    own = [stretch for stretch in stretches if stretch.track == index]
    for reason in sorted({stretch.reason for stretch in own if stretch.reason}):
      spans = [stretch for stretch in own if stretch.reason == reason]
      count = sum(stretch.end - stretch.start for stretch in spans)
      if count < convert_clip.MIN_FRAMES and any(not stretch.reason for stretch in own):
        continue  # the ends of a face that is kept
      detail = (
        f'{count} of {len(track.landmarks)} frames of the face seen from {clock(track.start)} to {clock(track.end)}'
        f'{_limit_missed(track, spans[0])}'
      )
      found.append(LeftOut(spans[0].start, reason, Rejection(reason, detail)))
  return found


def _limit_missed(track: FaceTrack, span: Stretch) -> str:
  where = slice(span.start - track.start, span.end - track.start)
  if span.reason == TURNED:
    yaw = np.abs(track.yaw[where]).max()
    return f': the head is turned by {yaw:.0f} degrees, {MAX_YAW:.0f} are allowed'
  if span.reason == SMALL:
    distance = np.median(face_alignment.eye_distance(track.landmarks[where]))
    return f': {distance:.1f} pixels between the eyes, {MIN_EYE_DISTANCE:.0f} are needed'
  return f': {convert_clip.MIN_FRAMES} in a row are needed' if span.reason == 'too short' else ''


def equal_parts(stretch: Stretch) -> list[Stretch]:
  """A stretch in equal parts of at most `MAX_FRAMES`."""
  count = -(-(stretch.end - stretch.start) // MAX_FRAMES)
  bounds = np.linspace(stretch.start, stretch.end, count + 1).round().astype(int).tolist()
  return [stretch._replace(start=low, end=high) for low, high in itertools.pairwise(bounds)]


def most_at_once(tracks: Sequence[FaceTrack], start: int, end: int) -> int:
  """The largest number of faces in one of the frames."""
  counts = np.zeros(end - start, int)
  for track in tracks:
    counts[max(0, track.start - start) : max(0, track.end - start)] += 1
  return int(counts.max())


def clock(frame: int) -> str:
  """A frame's time as minutes:seconds."""
  seconds = frame / features.FPS
  return f'{int(seconds // 60)}:{seconds % 60:04.1f}'


def _median_of_five(values: np.ndarray) -> np.ndarray:
  """[T]: over time, so that one bad frame does not cut a clip."""
  padded = np.pad(values, 2, mode='edge')
  return np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=-1)
