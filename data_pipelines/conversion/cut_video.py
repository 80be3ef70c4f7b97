"""A stretch of a video of any length → clips of one face each, and a reason for everything that is left out.

Two passes over the pictures: the first finds shots and follows faces, the second makes crops of what has been chosen.
They are kept between the passes only where they are few. Runs in worker processes: imports no TensorFlow.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import features
from data_pipelines.clip_source import ClipSource, VideoPart
from data_pipelines.conversion import convert_clip, face_stretches, lip_sync, record_facts, shots, video_part
from data_pipelines.conversion.convert_clip import Record, Rejection, StagingTask
from data_pipelines.conversion.face_stretches import LeftOut, Stretch, clock
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_tracks, upright

PART_FRAMES = 60 * features.FPS  # of a part: what a killed conversion may have to do again
_MIN_MOTION = 0.012  # eye distances: a mouth whose opening changes less in `_MOTION_FRAMES` does not speak
_MOTION_FRAMES = 2 * features.FPS
_MARGIN = features.FPS  # frames of sound read before and after a part, for sound that is out of step
_MEMORY = 200_000_000  # bytes: pictures of a part below this are kept for the second pass

Result = tuple[ClipSource, Record | Rejection]


def cut(part: VideoPart, image_format: str = 'jpeg') -> list[Result]:
  """Cuts a part of a video into clips. Never raises for a bad file; the same results whichever process does it.

  A clip shows one face within one shot, turned by at most `face_stretches.MAX_YAW` degrees, wholly in the picture,
  with `MIN_EYE_DISTANCE` pixels between its eyes, for `convert_clip.MIN_FRAMES` to `MAX_FRAMES` frames. Of several
  faces at a time the largest is taken, unless `part.all_faces`. Sound that is clearly out of step (`lip_sync`) is
  moved into step.

  Args:
    part: the stretch of the video.
    image_format: of the crops, as in `convert_clip.convert`.

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
      return _cut(part, image_format)
  except InputError as error:
    rejection = Rejection('unreadable', str(error))
  return [(_Names(part).clip(part.first), rejection)]


class _Names:
  """Clips of a part under names that no other has."""

  def __init__(self, part: VideoPart):
    self._part = part
    self._given: set[str] = set()

  def clip(self, start: int, reason: str = '') -> ClipSource:
    """The clip that begins at a frame, or what is left out there."""
    part = self._part
    name = f'{part.clip_id}_{start:06d}' + f'-{reason.replace(" ", "-")}' * bool(reason)
    unique, count = name, 1
    while unique in self._given:
      count += 1
      unique = f'{name}-{count}'
    self._given.add(unique)
    return ClipSource(unique, part.speaker, part.split, part.path, part.sound_advance)

  def left_out(self, items: Iterable[LeftOut]) -> list[Result]:
    """Results of what is not used."""
    return [(self.clip(item.start, item.name), item.rejection) for item in items]


class _FirstPass(NamedTuple):
  """What was seen when the part was read for the first time."""

  tracks: Sequence[face_tracks.FaceTrack]
  size: tuple[int, int]  # height, width
  end: int  # after the last frame
  notes: video_part.Notes
  pictures: Sequence[np.ndarray] | None  # all of them, if they are few
  on_its_head: str = ''  # why nothing of it is used


class _Clip(NamedTuple):
  """A clip that is kept, without its pictures."""

  stretch: Stretch
  source: ClipSource
  matrices: np.ndarray  # [T, 2, 3], picture to crop
  landmarks: np.ndarray  # [T, 136]
  samples: np.ndarray  # [640 T]
  facts: dict[str, Any]


def _cut(part: VideoPart, image_format: str) -> list[Result]:
  seen, names = _first_pass(part), _Names(part)
  end, damage = _damage(part, seen)
  results = names.left_out(damage)
  if end == part.first:
    return results
  if seen.on_its_head:
    return results + names.left_out([LeftOut(part.first, 'on-its-head', Rejection('on its head', seen.on_its_head))])
  classified = [
    face_stretches.classify(i, seen.tracks, seen.size, end, all_faces=part.all_faces) for i in range(len(seen.tracks))
  ]
  stretches = [stretch for of_track in classified for stretch in of_track]
  results += names.left_out(face_stretches.without_face(seen.tracks, part.first, end))
  results += names.left_out(face_stretches.unfit(seen.tracks, stretches))
  begin = part.first - _MARGIN
  sound = _Sound(video_part.samples(part.path, seen.notes.start, begin, end + _MARGIN), begin)
  clips, unusable = _choose(part, seen, [stretch for stretch in stretches if not stretch.reason], sound, names)
  results += unusable
  for clip, crops in zip(clips, _crops(part, seen, clips, image_format), strict=True):
    record = convert_clip.make_record(clip.source, crops, clip.landmarks, clip.samples, clip.stretch.start, clip.facts)
    results.append((clip.source, record))
  return sorted(results, key=lambda result: result[0].clip_id)


def _first_pass(part: VideoPart) -> _FirstPass:
  """Follows the faces in the part, whose first frame begins a shot."""
  notes = video_part.Notes()
  kept: list[np.ndarray] | None = []
  total, end = 0, part.first
  size = (0, 0)
  samples, on_its_head = upright.Samples(), ''

  def read() -> Iterator[tuple[int, np.ndarray, bool]]:
    nonlocal kept, total, size, end
    pictures = (image for _, image in video_part.frames(part.path, part.first, part.end, notes=notes))
    for number, (image, new_shot) in enumerate(shots.mark(pictures), part.first):
      total += image.nbytes
      if total > _MEMORY:
        kept = None
      if kept is not None:
        kept.append(image)
      samples.add(image)
      size, end = (image.shape[0], image.shape[1]), number + 1
      yield number, image, new_shot or number == part.first

  tracks = face_tracks.follow(convert_clip.landmarker(), read())
  try:
    samples.check(part.path, convert_clip.landmarker())
  except InputError as error:
    on_its_head = str(error)
  return _FirstPass(tracks, size, end, notes, kept, on_its_head)


def _damage(part: VideoPart, seen: _FirstPass) -> tuple[int, list[LeftOut]]:
  """The end of what could be decoded well, and what is lost."""
  notes, end = seen.notes, seen.end
  lost: list[LeftOut] = []
  damage = None if notes.damage is None else int(notes.damage * features.FPS)
  if damage is not None and part.first <= damage < end:
    detail = (
      f'decoding fails at {damage / features.FPS:.1f} s; what follows, up to {end / features.FPS:.1f} s, is not used'
    )
    lost.append(LeftOut(damage, 'damaged', Rejection('damaged', detail)))
    end = damage
  if notes.broken_off and (part.end is None or notes.last * features.FPS < part.end):
    detail = f'the file breaks off at {notes.last:.1f} s, before the end that it announces'
    lost.append(LeftOut(end, 'truncated', Rejection('truncated', detail)))
  return end, lost


class _Sound(NamedTuple):
  """A part's samples, to be asked for by frames."""

  samples: np.ndarray  # float32 [n]
  begin: int  # the frame at which they begin

  def between(self, start: int, end: int, advance: float) -> np.ndarray:
    """Samples of the frames `start` to `end`, the sound advanced by so many seconds.

    Silence where there are none before; shorter where the sound ends.
    """
    low = (start - self.begin) * features.SAMPLES_PER_FRAME + round(advance * features.SAMPLE_RATE)
    high = low + (end - start) * features.SAMPLES_PER_FRAME
    return np.pad(self.samples[max(0, low) : max(0, high)], (max(0, min(-low, high - low)), 0))

  def end(self, advance: float) -> int:
    """The frame at which the sound ends."""
    left = len(self.samples) - round(advance * features.SAMPLE_RATE)
    return self.begin + round(left / features.SAMPLES_PER_FRAME)


def _choose(
  part: VideoPart, seen: _FirstPass, fit: Sequence[Stretch], sound: _Sound, names: _Names
) -> tuple[list[_Clip], list[Result]]:
  """The clips of the fit stretches, and what their sound or crops leave out."""
  advance, offset = part.sound_advance, None
  if not advance:
    offset = lip_sync.estimate([_mouth_and_sound(seen.tracks[stretch.track], stretch, sound) for stretch in fit])
    if offset is not None and abs(offset) > lip_sync.TOLERANCE:
      advance = offset
  with_sound, without = _up_to_sound_end(fit, sound.end(advance))
  clips, unusable = [], names.left_out(without)
  for stretch in (piece for whole in with_sound for piece in face_stretches.equal_parts(whole)):
    clip = _aligned(seen, stretch, names.clip(stretch.start), sound, advance, offset)
    rejection = (
      convert_clip.silent(clip.samples) or convert_clip.mouth_outside(clip.landmarks) or _motionless(clip.landmarks)
    )
    if rejection is None:
      clips.append(clip)
    else:
      unusable.append((clip.source, rejection))
  return clips, unusable


def _up_to_sound_end(fit: Sequence[Stretch], end: int) -> tuple[list[Stretch], list[LeftOut]]:
  """The stretches up to where the sound ends, which is often some frames before the picture does."""
  cut_off = [stretch._replace(end=min(stretch.end, end)) for stretch in fit]
  kept = [stretch for stretch in cut_off if stretch.end - stretch.start >= convert_clip.MIN_FRAMES]
  lost = []
  for stretch in cut_off:
    if stretch not in kept:
      left = max(0, end - stretch.start)
      detail = f'the sound ends at {clock(max(0, end))}, {left} frames after the clip begins'
      lost.append(LeftOut(stretch.start, 'no-sound', Rejection('no sound', detail)))
  return kept, lost


def _aligned(
  seen: _FirstPass, stretch: Stretch, source: ClipSource, sound: _Sound, advance: float, offset: float | None
) -> _Clip:
  """A stretch with its sound, and its face in the coordinates of the crop."""
  track = seen.tracks[stretch.track]
  frames = slice(stretch.start - track.start, stretch.end - track.start)
  points = track.landmarks[frames]
  matrices = face_alignment.align_track(track.landmarks)[frames]
  landmarks = face_alignment.normalise(face_alignment.apply(matrices, points)).astype(np.float32)
  samples = sound.between(stretch.start, stretch.end, advance)
  # The last frame may lack a little of its sound.
  samples = np.pad(samples, (0, len(points) * features.SAMPLES_PER_FRAME - len(samples)))
  facts = record_facts.of_conversion(
    source_fps=seen.notes.source_fps,
    source_size=seen.size,
    points=points,
    yaw=track.yaw[frames],
    faces_seen=face_stretches.most_at_once(seen.tracks, stretch.start, stretch.end),
    frames_without_face=int((~track.seen[frames]).sum()),
    frames_trimmed=0,
    sound_peak=float(np.abs(samples).max()),
    sound_advance=round(advance, 3),
  )
  facts |= {'source_seconds': round(stretch.start / features.FPS, 2), 'sound_offset': offset}
  return _Clip(stretch, source, matrices, landmarks, samples, facts)


def _crops(part: VideoPart, seen: _FirstPass, clips: Sequence[_Clip], image_format: str) -> list[list[bytes]]:
  """The second pass: encoded crops of every clip."""
  crops: list[list[bytes]] = [[] for _ in clips]
  wanted = {number for clip in clips for number in range(clip.stretch.start, clip.stretch.end)}
  pictures: Iterable[tuple[int, np.ndarray]] = ()
  if seen.pictures is not None:
    pictures = ((number, seen.pictures[number - part.first]) for number in sorted(wanted))
  elif wanted:
    pictures = video_part.frames(part.path, part.first, max(wanted) + 1, wanted=wanted)
  for number, image in pictures:
    for of_clip, clip in zip(crops, clips, strict=True):
      if clip.stretch.start <= number < clip.stretch.end:
        of_clip.append(convert_clip.encoded_crop(image, clip.matrices[number - clip.stretch.start], image_format))
  if any(len(of_clip) != len(clip.matrices) for of_clip, clip in zip(crops, clips, strict=True)):
    raise InputError(f'{part.path} gave other frames when it was read again: is it being written?')
  return crops


def _mouth_and_sound(track: face_tracks.FaceTrack, stretch: Stretch, sound: _Sound) -> tuple[np.ndarray, np.ndarray]:
  """What `lip_sync` compares: the mouth's opening, and the sound with its margins."""
  points = track.landmarks[stretch.start - track.start : stretch.end - track.start]
  landmarks = face_alignment.normalise(face_alignment.apply(face_alignment.alignment(points), points))
  samples = sound.between(stretch.start - lip_sync.MARGIN, stretch.end + lip_sync.MARGIN, 0.0)
  return face_alignment.mouth_opening(landmarks), samples


def _motionless(landmarks: np.ndarray) -> Rejection | None:
  """A mouth that does not move belongs to a listener or to a photograph, whoever speaks."""
  if len(landmarks) < _MOTION_FRAMES:
    return None
  low, high = np.percentile(face_alignment.mouth_opening(landmarks), [5, 95])
  if high - low >= _MIN_MOTION:
    return None
  return Rejection(
    'mouth still',
    f'the opening of the mouth changes by {high - low:.4f} eye distances in '
    f'{len(landmarks) / features.FPS:.1f} s, while there is sound',
  )


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
