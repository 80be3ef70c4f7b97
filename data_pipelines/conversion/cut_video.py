"""A stretch of a video of any length → clips of one face each, and a reason for everything that is left out.

Two passes over the pictures, neither of which keeps them: the first finds shots and follows faces, the second makes
crops of what has been chosen. Runs in worker processes: imports no TensorFlow.
"""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines import features
from data_pipelines.clip_source import ClipSource, VideoPart
from data_pipelines.conversion import convert_clip, lip_sync, shots, video_part
from data_pipelines.conversion.convert_clip import Record, Rejection, StagingTask
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker, face_tracks

PART_FRAMES = 60 * features.FPS  # of a part: what a killed conversion may have to do again
MAX_FRAMES = 10 * features.FPS  # of a clip; longer stretches are cut into equal ones
MAX_YAW = 40.0  # degrees: beyond, half of the mouth is hidden
MIN_EYE_DISTANCE = convert_clip.MIN_EYE_DISTANCE
_MIN_INSIDE = 0.97  # share of the face's points that are in the picture
_MIN_TOLD = features.FPS  # frames without any face that are worth a line of the report
_STILL = 0.012  # eye distances: a mouth whose opening changes less in `_STILL_FRAMES` does not speak
_STILL_FRAMES = 2 * features.FPS
_MARGIN = features.FPS  # frames of sound read before and after a part, for sound that is out of step
_MEMORY = 200_000_000  # bytes: pictures of a part below this are kept for the second pass

Result = tuple[ClipSource, Record | Rejection]


class _Stretch(NamedTuple):
  """Frames `start` to `end` of a track, all of them fit or all unfit for one `reason`."""

  track: int
  start: int
  end: int
  reason: str  # empty: fit


def cut(part: VideoPart, image_format: str = 'jpeg') -> list[Result]:
  """Cuts a part of a video into clips. Never raises for a bad file; the same results whichever process does it.

  A clip shows one face within one shot, at most `MAX_YAW` degrees from the front, wholly in the picture, with
  `MIN_EYE_DISTANCE` pixels between its eyes, for `convert_clip.MIN_FRAMES` to `MAX_FRAMES` frames. Of several faces
  at a time the largest is taken, unless `part.all_faces`. Sound that is clearly out of step (`lip_sync`) is
  put right.

  Returns:
    Each clip with its record or the reason why it is left out, in the order of time. Stretches without any face
    and of damage are clips that are left out, too.
  """
  try:
    if part.problem:
      rejection = Rejection(*part.problem)
    elif not part.speaker:
      rejection = Rejection('speaker unknown', 'the split is by speaker, and nothing says whose video this is')
    elif not video_part.probe(part.path).has_audio:
      rejection = Rejection('no sound', 'the file has no sound')
    else:
      return _Cutting(part, image_format).results()
  except InputError as error:
    rejection = Rejection('unreadable', str(error))
  return [(_clip(part, f'{part.clip_id}_{part.first:06d}'), rejection)]


class _Cutting:
  """One part's way through both passes."""

  def __init__(self, part: VideoPart, image_format: str):
    self._part = part
    self._image_format = image_format
    self._notes = video_part.Notes()
    self._size = (0, 0)  # height, width
    self._end = part.first  # after the last frame that was read
    self._kept: list[np.ndarray] | None = []  # the pictures, as long as they are few
    self._names: set[str] = set()

  def results(self) -> list[Result]:
    part = self._part
    tracks = face_tracks.follow(_landmarker(), self._first_pass())
    results = self._damage()
    if self._end == part.first:
      return results
    stretches = [stretch for i, track in enumerate(tracks) for stretch in self._judge(i, tracks)]
    fit = [stretch for stretch in stretches if not stretch.reason]
    samples = video_part.samples(part.path, self._notes.start, part.first - _MARGIN, self._end + _MARGIN)
    results += self._no_face(tracks)
    results += self._unfit(tracks, stretches)
    results += self._records(tracks, fit, samples)
    return sorted(results, key=lambda result: result[0].clip_id)

  def _first_pass(self) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Numbered frames with shot changes; the part's first frame begins a shot."""
    part, total = self._part, 0
    pictures = (image for _, image in video_part.frames(part.path, part.first, part.end, notes=self._notes))
    for number, (image, new_shot) in enumerate(shots.mark(pictures), part.first):
      if self._kept is not None:
        total += image.nbytes
        self._kept = [*self._kept, image] if total <= _MEMORY else None
      self._size = image.shape[:2]
      self._end = number + 1
      yield number, image, new_shot or number == part.first

  def _second_pass(self, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    if self._kept is not None:
      return ((number, self._kept[number - self._part.first]) for number in sorted(wanted))
    return video_part.frames(self._part.path, self._part.first, max(wanted) + 1, wanted=wanted)

  # ---- What is left out

  def _damage(self) -> list[Result]:
    """Cuts `_end` to what could be decoded well, and tells what is lost."""
    notes, part = self._notes, self._part
    results = []
    damage = None if notes.damage is None else int(notes.damage * features.FPS)
    if damage is not None and part.first <= damage < self._end:
      detail = (
        f'decoding fails at {damage / features.FPS:.1f} s; what follows, up to {self._end / features.FPS:.1f} s, '
        'is not used'
      )
      results.append((self._named(damage, 'damaged'), Rejection('damaged', detail)))
      self._end = damage
    if notes.broken_off and (part.end is None or notes.last * features.FPS < part.end):
      detail = f'the file breaks off at {notes.last:.1f} s, before the end that it announces'
      results.append((self._named(self._end, 'truncated'), Rejection('truncated', detail)))
    return results

  def _judge(self, index: int, tracks: Sequence[face_tracks.FaceTrack]) -> list[_Stretch]:
    """A track in stretches, each fit or unfit for one reason."""
    track = tracks[index]
    points = track.landmarks
    height, width = self._size
    inside = ((points >= 0) & (points <= (width, height))).all(axis=-1).mean(axis=-1)
    reasons = np.full(len(points), '', object)
    reasons[_calm(np.abs(track.yaw)) > MAX_YAW] = 'turned too far'
    reasons[_calm(face_alignment.eye_distance(points)) < MIN_EYE_DISTANCE] = 'face too small'
    reasons[inside < _MIN_INSIDE] = 'partly outside the picture'
    if not self._part.all_faces:
      for other in tracks:
        if other is not track and _larger(other, track):
          low, high = max(other.start, track.start), min(other.end, track.end)
          reasons[low - track.start : max(low, high) - track.start] = 'not the largest face'
    reasons[max(0, self._end - track.start) :] = 'damaged'
    bounds = [0, *(np.flatnonzero(reasons[1:] != reasons[:-1]) + 1), len(reasons)]
    stretches = []
    for low, high in itertools.pairwise(bounds):
      reason = reasons[low]
      if not reason and high - low < convert_clip.MIN_FRAMES:
        reason = 'too short'
      if reason != 'damaged':  # told once for all tracks
        stretches.append(_Stretch(index, track.start + low, track.start + high, reason))
    return stretches

  def _no_face(self, tracks: Sequence[face_tracks.FaceTrack]) -> list[Result]:
    part = self._part
    without = np.ones(self._end - part.first, bool)
    for track in tracks:
      without[max(0, track.start - part.first) : max(0, track.end - part.first)] = False
    bounds = np.flatnonzero(np.diff(np.concatenate([[0], without, [0]])))
    gaps = [(low, high) for low, high in zip(bounds[::2], bounds[1::2]) if high - low >= min(_MIN_TOLD, len(without))]
    return [
      (
        self._named(part.first + low, 'no-face'),
        Rejection('no face', f'no face from {_clock(part.first + low)} to {_clock(part.first + high)}'),
      )
      for low, high in gaps
    ]

  def _unfit(self, tracks: Sequence[face_tracks.FaceTrack], stretches: Sequence[_Stretch]) -> list[Result]:
    """One line for each face and reason."""
    results = []
    for index, track in enumerate(tracks):
      for reason in sorted({stretch.reason for stretch in stretches if stretch.track == index and stretch.reason}):
        spans = [stretch for stretch in stretches if stretch.track == index and stretch.reason == reason]
        count = sum(stretch.end - stretch.start for stretch in spans)
        if count < convert_clip.MIN_FRAMES and any(s.track == index and not s.reason for s in stretches):
          continue  # the ends of a face that is kept
        where = slice(spans[0].start - track.start, spans[0].end - track.start)
        fact = {
          'turned too far': f': the head is turned by {np.abs(track.yaw[where]).max():.0f} degrees, '
          f'{MAX_YAW:.0f} are allowed',
          'face too small': f': {np.median(face_alignment.eye_distance(track.landmarks[where])):.1f} pixels between the eyes, '
          f'{MIN_EYE_DISTANCE:.0f} are needed',
          'too short': f': {convert_clip.MIN_FRAMES} in a row are needed',
        }.get(reason, '')
        detail = (
          f'{count} of {len(track.landmarks)} frames of the face seen from {_clock(track.start)} to '
          f'{_clock(track.end)}{fact}'
        )
        results.append((self._named(spans[0].start, reason), Rejection(reason, detail)))
    return results

  # ---- What is kept

  def _records(
    self, tracks: Sequence[face_tracks.FaceTrack], fit: Sequence[_Stretch], samples: np.ndarray
  ) -> list[Result]:
    """The clips of the fit stretches, and what their sound or crops leave out."""
    advance, offset = self._part.sound_advance, None
    if not advance:
      offset = lip_sync.estimate([self._heard(tracks, stretch, samples, 0.0) for stretch in fit])
      if offset is not None and abs(offset) > lip_sync.TOLERANCE:
        advance = offset
    results, heard = self._heard_part(fit, samples, advance)
    samples = np.pad(samples, (0, features.SAMPLES_PER_FRAME))  # the last frame may lack a little of its sound
    chosen = []
    for stretch in (piece for whole in heard for piece in _pieces(whole)):
      start, end = stretch.start, stretch.end
      source = self._named(start)
      track = tracks[stretch.track]
      matrices = face_alignment.align_track(track.landmarks)[start - track.start : end - track.start]
      points = track.landmarks[start - track.start : end - track.start]
      landmarks = face_alignment.normalise(face_alignment.apply(matrices, points)).astype(np.float32)
      sound = self._sound(samples, start, end, advance)
      rejection = _silent(sound) or convert_clip.mouth_outside(landmarks) or _still(landmarks)
      if rejection is not None:
        results.append((source, rejection))
        continue
      facts = {
        'source_fps': round(self._notes.source_fps, 3),
        'source_size': f'{self._size[1]}x{self._size[0]}',
        'source_seconds': round(start / features.FPS, 2),
        'faces_seen': _most_at_once(tracks, start, end),
        'frames_without_face': int((~track.seen[start - track.start : end - track.start]).sum()),
        'frames_trimmed': 0,
        'eye_distance': round(float(np.median(face_alignment.eye_distance(points))), 1),
        'yaw': round(float(np.median(track.yaw[start - track.start : end - track.start])), 1),
        'sound_peak': round(float(np.abs(sound).max()), 3),
        'sound_advance': round(advance, 3),
        'sound_offset': offset,
      }
      chosen.append((stretch, source, matrices, landmarks, sound, facts))
    pictures = self._pictures([(stretch, matrices) for stretch, _, matrices, *_ in chosen])
    for (stretch, source, _, landmarks, sound, facts), crops in zip(chosen, pictures):
      results.append((source, convert_clip.make_record(source, crops, landmarks, sound, stretch.start, facts)))
    return results

  def _heard_part(
    self, fit: Sequence[_Stretch], samples: np.ndarray, advance: float
  ) -> tuple[list[Result], list[_Stretch]]:
    """The stretches up to where the sound ends, which is often some frames before the picture does."""
    shift = round(advance * features.SAMPLE_RATE)
    end = self._part.first - _MARGIN + round((len(samples) - shift) / features.SAMPLES_PER_FRAME)
    heard = [stretch._replace(end=min(stretch.end, end)) for stretch in fit]
    without = [stretch for stretch in heard if stretch.end - stretch.start < convert_clip.MIN_FRAMES]
    told = [
      (
        self._named(stretch.start, 'no-sound'),
        Rejection(
          'no sound',
          f'the sound ends at {_clock(max(0, end))}, {max(0, end - stretch.start)} frames after the clip begins',
        ),
      )
      for stretch in without
    ]
    return told, [stretch for stretch in heard if stretch not in without]

  def _pictures(self, chosen: list[tuple[_Stretch, np.ndarray]]) -> list[list[bytes]]:
    """Encoded crops of every chosen stretch, by its matrices [T, 2, 3]."""
    crops: list[list[bytes]] = [[] for _ in chosen]
    wanted = {number for stretch, _ in chosen for number in range(stretch.start, stretch.end)}
    for number, image in self._second_pass(wanted) if wanted else ():
      for made, (stretch, matrices) in zip(crops, chosen):
        if stretch.start <= number < stretch.end:
          made.append(convert_clip.encoded_crop(image, matrices[number - stretch.start], self._image_format))
    for made, (stretch, _) in zip(crops, chosen):
      if len(made) != stretch.end - stretch.start:
        raise InputError(f'{self._part.path} gave other frames when it was read again: is it being written?')
    return crops

  def _heard(
    self, tracks: Sequence[face_tracks.FaceTrack], stretch: _Stretch, samples: np.ndarray, advance: float
  ) -> tuple[np.ndarray, np.ndarray]:
    """What `lip_sync` compares: the mouth's opening, and the sound with its margins."""
    track = tracks[stretch.track]
    points = track.landmarks[stretch.start - track.start : stretch.end - track.start]
    landmarks = face_alignment.normalise(face_alignment.apply(face_alignment.alignment(points), points))
    margin = lip_sync.MARGIN
    return face_alignment.mouth_opening(landmarks), self._sound(
      samples, stretch.start - margin, stretch.end + margin, advance
    )

  def _sound(self, samples: np.ndarray, start: int, end: int, advance: float) -> np.ndarray:
    """Samples of the frames `start` to `end`, silence where there are none before; shorter where the sound ends."""
    shift = round(advance * features.SAMPLE_RATE)
    low = (start - self._part.first + _MARGIN) * features.SAMPLES_PER_FRAME + shift
    high = low + (end - start) * features.SAMPLES_PER_FRAME
    return np.pad(samples[max(0, low) : max(0, high)], (max(0, min(-low, high - low)), 0))

  def _named(self, start: int, reason: str = '') -> ClipSource:
    """The clip that begins at a frame, under a name that no other has."""
    name = f'{self._part.clip_id}_{start:06d}' + f'-{reason.replace(" ", "-")}' * bool(reason)
    unique, count = name, 1
    while unique in self._names:
      count += 1
      unique = f'{name}-{count}'
    self._names.add(unique)
    return _clip(self._part, unique)


def _clip(part: VideoPart, name: str) -> ClipSource:
  return ClipSource(name, part.speaker, part.split, part.path, part.sound_advance)


@functools.cache
def _landmarker() -> face_landmarker.FaceLandmarker:
  return face_landmarker.FaceLandmarker()


def _calm(values: np.ndarray) -> np.ndarray:
  """[T]: the median of five, so that one bad frame does not cut a clip."""
  padded = np.pad(values, 2, mode='edge')
  return np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=-1)


def _most_at_once(tracks: Sequence[face_tracks.FaceTrack], start: int, end: int) -> int:
  """Faces seen in one of the frames."""
  counts = np.zeros(end - start, int)
  for track in tracks:
    counts[max(0, track.start - start) : max(0, track.end - start)] += 1
  return int(counts.max())


def _larger(track: face_tracks.FaceTrack, other: face_tracks.FaceTrack) -> bool:
  """Where both are seen, as a whole."""
  low, high = max(track.start, other.start), min(track.end, other.end)
  if low >= high:
    return False
  sizes = [
    float(np.median(face_alignment.eye_distance(one.landmarks[low - one.start : high - one.start])))
    for one in (track, other)
  ]
  return sizes[0] > sizes[1] or (sizes[0] == sizes[1] and track.start < other.start)


def _pieces(stretch: _Stretch) -> list[_Stretch]:
  """Equal parts of at most `MAX_FRAMES`."""
  count = -(-(stretch.end - stretch.start) // MAX_FRAMES)
  bounds = np.linspace(stretch.start, stretch.end, count + 1).round().astype(int).tolist()
  return [stretch._replace(start=low, end=high) for low, high in itertools.pairwise(bounds)]


def _silent(sound: np.ndarray) -> Rejection | None:
  peak = float(np.abs(sound).max())
  if peak >= convert_clip.MIN_PEAK:
    return None
  return Rejection('silent', f'the sound never exceeds {peak:.5f} of full scale')


def _still(landmarks: np.ndarray) -> Rejection | None:
  """A mouth that does not move belongs to a listener or to a still picture, whoever is heard."""
  if len(landmarks) < _STILL_FRAMES:
    return None
  low, high = np.percentile(face_alignment.mouth_opening(landmarks), [5, 95])
  if high - low >= _STILL:
    return None
  return Rejection(
    'mouth still',
    f'the opening of the mouth changes by {high - low:.4f} eye distances in '
    f'{len(landmarks) / features.FPS:.1f} s, while there is sound',
  )


def _clock(frame: int) -> str:
  seconds = frame / features.FPS
  return f'{int(seconds // 60)}:{seconds % 60:04.1f}'


# ---- Staging: a part leaves one file for each of its clips and, last, the list of them.


def convert_to_file(task: StagingTask) -> None:
  """Does the work of a task, a clip or a part of a video, and leaves it in the staging folder."""
  if not isinstance(task.source, VideoPart):
    convert_clip.convert_to_file(task)
    return
  folder = pathlib.Path(task.path).parent
  clips = []
  for clip, result in cut(task.source, task.image_format):
    convert_clip.save(result, convert_clip.staging_task(clip, task.image_format, folder).path)
    clips.append(dataclasses.asdict(clip))
  convert_clip.save(Record({'clips': json.dumps(clips), features.VIDEO: []}, {}), task.path)


def staged(sources: Sequence[ClipSource], tasks: Sequence[StagingTask]) -> tuple[list[ClipSource], list[StagingTask]]:
  """Clips and their staged files: parts of videos, which have been converted, give way to the clips cut out of them."""
  clips, files = [], []
  for source, task in zip(sources, tasks):
    made = convert_clip.load(task.path, keys=()) if isinstance(source, VideoPart) else None
    if not isinstance(made, Record):  # a clip, or a part whose worker died
      clips.append(source)
      files.append(task)
      continue
    for fields in json.loads(made.fields['clips']):
      clip = ClipSource(**fields | {name: tuple(fields[name]) for name in ('words', 'starts', 'ends')})
      clips.append(clip)
      files.append(convert_clip.staging_task(clip, task.image_format, pathlib.Path(task.path).parent))
  return clips, files
