"""A video to be dubbed: its shots, the face that is to speak in each, and the frames that are left alone."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from atvg_jax import landmarks as lm
from atvg_jax.generate import who_speaks
from atvg_jax.generate.generator import Generator
from data_pipelines.conversion import face_stretches, shots
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_choice, face_landmarker, face_tracks, lips, upright
from data_pipelines.faces.face_choice import FaceChoice
from data_pipelines.media.source_video import LoopedVideo, SourceVideo

_RAMP = 0.12  # seconds over which a mouth begins or ceases to be another within a shot
_SHORTEST = 0.1  # seconds: less of a face is left alone


class Stretch(NamedTuple):
  """One face through some frames of one shot."""

  start: int  # its first frame
  matrices: np.ndarray  # [T, 2, 3]: picture to crop
  landmarks: np.ndarray  # float32 [T, 136], aligned
  rest: np.ndarray  # float32 [136]: with the mouth at rest
  strength: np.ndarray  # float32 [T] in [0, 1]: how much the mouth is the new one's

  @property
  def end(self) -> int:
    """The frame after its last."""
    return self.start + len(self.landmarks)


class Footage(NamedTuple):
  """What was seen of a video."""

  video: SourceVideo
  ticks: np.ndarray  # int64 [T]: when each frame is shown,
  durations: np.ndarray  # int64 [T]: and for how long
  stretches: list[Stretch]  # what is to be drawn, in the order of time, without overlap
  notes: list[str]  # sentences on what is left alone

  @property
  def times(self) -> np.ndarray:
    """float64 [T]: seconds from the first frame on."""
    return self.ticks * float(self.video.look.time_base)

  @property
  def seconds(self) -> float:
    """Until the end of the last frame."""
    return float((self.ticks[-1] + self.durations[-1]) * self.video.look.time_base)


class _Seen(NamedTuple):
  """The first pass."""

  ticks: np.ndarray
  durations: np.ndarray
  cuts: np.ndarray  # bool [T]: whether a shot, or after a jump within one another take of it, begins with the frame
  tracks: Sequence[face_tracks.FaceTrack]


def follow(
  path: str | os.PathLike,
  generator: Generator,
  landmarker: face_landmarker.FaceLandmarker,
  choice: FaceChoice,
  force: bool = False,
  seconds: float | None = None,
) -> Footage:
  """Finds shots and faces, as `prepare clips` does, and chooses; shows progress on standard error.

  Args:
    path: the video.
    generator: the nets, of which AT-net hears who speaks.
    landmarker: the models.
    choice: which of several faces is to speak.
    force: draw faces that are turned too far, too small or on their head, too.
    seconds: for so long the video is shown, over and over; None: once.

  Raises:
    InputError: it is no video, stands on its head, or shows no face that can be drawn.
  """
  video = SourceVideo(path) if seconds is None else LoopedVideo(path, seconds)
  samples = upright.Samples()
  seen = _first_pass(video, landmarker, samples)
  if not force:
    samples.check(path, landmarker)
  if not seen.tracks:
    raise InputError(f'{path}: no face was found in any frame of the video.')
  speaking = None
  if choice.kind == face_choice.SPEAKING:
    times = seen.ticks * float(video.look.time_base)
    speaking = who_speaks.measure(path, generator, seen.tracks, times)
  chosen = face_choice.of_tracks(choice, seen.tracks, speaking)
  reasons = [face_stretches.unusable(track) for track in seen.tracks]
  rate = float(video.look.rate)
  stretches = []
  for track, of_track, reason in zip(seen.tracks, chosen, reasons, strict=True):
    drawn = of_track & track.seen & ((reason == '') | force)
    stretches += _stretches(track, drawn, seen.cuts, rate, generator.basis)
  notes = _notes(path, seen, chosen, reasons, stretches)
  if not stretches:
    raise InputError(notes[0] if notes else f'{path}: the face that was chosen is not to be seen.')
  return Footage(
    video, seen.ticks, seen.durations, sorted(stretches, key=lambda stretch: stretch.start), [] if force else notes
  )


def _first_pass(video: SourceVideo, landmarker: face_landmarker.FaceLandmarker, samples: upright.Samples) -> _Seen:
  ticks: list[int] = []
  last_duration = 1
  cuts: list[bool] = []

  def pictures() -> Iterator[np.ndarray]:
    nonlocal last_duration
    frames = video.frames(square_only=True)
    for frame in tqdm(frames, unit='frame', desc='following the face', dynamic_ncols=True):
      ticks.append(frame.ticks)
      last_duration = frame.duration
      samples.add(frame.picture)
      yield frame.picture

  def marked() -> Iterator[tuple[int, np.ndarray, bool]]:
    for number, (picture, new_shot) in enumerate(shots.mark(pictures())):
      cuts.append(new_shot or not number)
      yield number, picture, cuts[-1]

  tracks = face_tracks.follow(landmarker, marked(), float(video.look.rate), lips.covered)
  if len(ticks) < 2:
    raise InputError(f'{video.path} holds a single picture, where a video is needed.')
  jumps = {track.start for track in tracks} & {track.end for track in tracks}
  begins = np.array(cuts) | np.isin(np.arange(len(cuts)), sorted(jumps))
  return _Seen(np.array(ticks), np.append(np.diff(ticks), last_duration), begins, tracks)


def _stretches(
  track: face_tracks.FaceTrack, drawn: np.ndarray, cuts: np.ndarray, rate: float, basis: lm.LandmarkBasis
) -> list[Stretch]:
  """The runs of frames that are to be drawn."""
  matrices = face_alignment.align_track(track.landmarks, rate)
  landmarks = face_alignment.normalise(face_alignment.apply(matrices, track.landmarks))
  # Who speaks through all of a short shot is never seen with the mouth shut.
  rest = lm.closed(face_alignment.rest_landmarks(landmarks), basis)
  bounds = np.flatnonzero(np.diff(np.concatenate([[0], drawn, [0]]))).tolist()
  stretches = []
  for low, high in zip(bounds[::2], bounds[1::2], strict=True):
    if high - low < _SHORTEST * rate and high - low < len(drawn):
      continue
    start, end = track.start + low, track.start + high
    stretches.append(
      Stretch(
        start,
        matrices[low:high],
        landmarks[low:high],
        rest,
        _strength(high - low, rate, begins=cuts[start], ends=end == len(cuts) or cuts[end]),
      )
    )
  return stretches


def _strength(length: int, rate: float, begins: bool, ends: bool) -> np.ndarray:
  """[T]: 1, and rising from and falling to 0 where the shot does not begin or end there."""
  ramp = max(1, round(_RAMP * rate)) + 1
  rising, falling = np.arange(1, length + 1) / ramp, np.arange(length, 0, -1) / ramp
  strength = np.ones(length)
  if not begins:
    strength = np.minimum(strength, rising)
  if not ends:
    strength = np.minimum(strength, falling)
  return strength.astype(np.float32)


_Spans = Sequence[tuple[face_tracks.FaceTrack, np.ndarray]]  # faces, and in which of their frames it is so


def _turned(spans: _Spans) -> str:
  most = max(float(np.abs(track.yaw[where]).max()) for track, where in spans)
  return f'the head is turned by up to {most:.0f} degrees, {face_stretches.MAX_YAW:.0f} are allowed'


def _small(spans: _Spans) -> str:
  least = min(float(face_alignment.eye_distance(track.landmarks[where]).min()) for track, where in spans)
  return (
    f'the face is too small, {least:.1f} pixels between the eyes where {face_stretches.MIN_EYE_DISTANCE:.0f} are needed'
  )


_WHY: dict[str, Callable[[_Spans], str]] = {
  face_stretches.TURNED: _turned,
  face_stretches.SMALL: _small,
  face_stretches.COVERED: lambda spans: 'the mouth seems to be covered, by a mask or a hand',
}


def _notes(
  path: str | os.PathLike,
  seen: _Seen,
  chosen: Sequence[np.ndarray],
  reasons: Sequence[np.ndarray],
  stretches: Sequence[Stretch],
) -> list[str]:
  """Sentences on the frames that stay as they are."""
  count = len(seen.ticks)
  face = np.zeros(count, bool)
  for track in seen.tracks:
    face[track.start : track.end] |= track.seen
  notes = []
  for kind, why in _WHY.items():
    spans = [
      (track, of_track & (reason == kind)) for track, of_track, reason in zip(seen.tracks, chosen, reasons, strict=True)
    ]
    spans = [(track, where) for track, where in spans if where.any()]
    if spans:
      frames = sum(int(where.sum()) for _, where in spans)
      notes.append(f'{path}: {frames} of {count} frames stay as they are: {why(spans)}; --force draws them')
  if not face.all() and stretches:
    notes.append(f'{path}: {int((~face).sum())} of {count} frames show no face and stay as they are')
  return notes
