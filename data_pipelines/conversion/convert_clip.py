"""One clip of a corpus → one record of a data set: a pure function, and its files in the staging folder.

Runs in worker processes: imports no TensorFlow.
"""

import functools
import hashlib
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from data_pipelines import features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.clip_source import ClipSource
from data_pipelines.conversion import record_facts
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import audio, video_reader

# Part of every staged file's name: raise it when the same source would give another record.
VERSION = 3

IMAGE_FORMATS = ('jpeg', 'png')
_JPEG_QUALITY = 95

MIN_FRAMES = 16  # the published training window
MAX_MISSING = 0.2  # share of frames without a face; below it ends are trimmed and gaps bridged by straight lines
MIN_EYE_DISTANCE = 16.0  # source pixels between the eyes' centres, which the crop shows 40 pixels apart
MAX_MOUTH_OUTSIDE = 0.1  # share of frames whose mouth leaves the crop
_MOUTH_LIMIT = 1.0  # half crops from the middle: the edge
MIN_PEAK = 1e-3  # of full scale: below it a sound track is silent


class Record(NamedTuple):
  """A converted clip: the fields of the data set (video as encoded pictures) and facts for the report."""

  fields: dict[str, Any]
  facts: dict[str, Any]


class Rejection(NamedTuple):
  """A clip that is left out. `reason` is a category to count by, `detail` is about this clip."""

  reason: str
  detail: str


@functools.cache
def landmarker() -> face_landmarker.FaceLandmarker:
  """This process' one; loading it takes a second."""
  return face_landmarker.FaceLandmarker()


class _Footage(NamedTuple):
  """The frames of a clip that have both picture and sound."""

  frames: Sequence[np.ndarray]  # T of uint8 [H, W, 3]
  samples: np.ndarray  # float32 [640 T], in step with the frames
  source_fps: float


class _Face(NamedTuple):
  """Where in the footage the face is seen."""

  track: face_landmarker.Track  # of all frames
  start: int  # the frames from here
  stop: int  # up to here are used


def convert(source: ClipSource, image_format: str = 'jpeg') -> Record | Rejection:
  """Everything from a video file to a record: reads, tracks, aligns and crops the face, and computes the MFCC.

  Args:
    source: the clip.
    image_format: 'jpeg' (quality 95) or 'png' (exact, 2.7 times as large).

  Returns:
    A record with `clip_id`, `speaker`, `video` ([T] encoded 128x128 pictures), `landmarks` float32 [T, 136],
    `rest_landmarks` float32 [136], `audio` int16 [640 T], `mfcc_rows` float32 [4 T + 24, 12], `words`,
    `starts`, `ends`; T counts the frames that have both picture and sound. Or a rejection; it never raises
    for a bad clip.
  """
  footage = _read(source)
  if isinstance(footage, Rejection):
    return footage
  face = _find_face(footage.frames)
  if isinstance(face, Rejection):
    return face
  used = slice(face.start, face.stop)
  frames, points = footage.frames[used], face.track.landmarks[used]
  matrices = face_alignment.align_track(points)  # [T, 2, 3]
  landmarks = face_alignment.normalise(face_alignment.apply(matrices, points)).astype(np.float32)  # [T, 136]
  outside = mouth_outside(landmarks)
  if outside is not None:
    return outside
  facts = record_facts.of_conversion(
    source_fps=footage.source_fps,
    source_size=frames[0].shape[:2],
    points=points,
    yaw=face.track.yaw,
    faces_seen=int(face.track.faces_seen),
    frames_without_face=int((face.track.presence < 0.5).sum()),
    frames_trimmed=len(footage.frames) - len(frames),
    sound_peak=float(np.abs(footage.samples).max()),
    sound_advance=source.sound_advance,
  )
  pictures = [encoded_crop(frame, matrix, image_format) for frame, matrix in zip(frames, matrices, strict=True)]
  samples = footage.samples[face.start * features.SAMPLES_PER_FRAME : face.stop * features.SAMPLES_PER_FRAME]
  return make_record(source, pictures, landmarks, samples, face.start, facts)


def _read(source: ClipSource) -> _Footage | Rejection:
  """Decodes the file and puts its sound in step."""
  if source.problem:
    return Rejection(*source.problem)
  if not source.speaker:
    return Rejection('speaker unknown', 'the split is by speaker, and the corpus does not say whose clip this is')
  try:
    clip = video_reader.read_video(source.path)
  except InputError as error:
    return Rejection('unreadable', str(error))
  if clip.truncated:
    return Rejection('truncated', f'decoding broke off after {len(clip.frames)} frames')
  if not clip.has_audio or not clip.samples.size:
    return Rejection('no sound', 'the file has no sound')
  shift = round(source.sound_advance * features.SAMPLE_RATE)
  samples = clip.samples[shift:] if shift >= 0 else np.pad(clip.samples, (-shift, 0))
  num_frames = min(len(clip.frames), round(len(samples) / features.SAMPLES_PER_FRAME))
  if num_frames < MIN_FRAMES:
    return Rejection('too short', f'{num_frames} frames with picture and sound, {MIN_FRAMES} are needed')
  samples = np.pad(samples, (0, features.SAMPLES_PER_FRAME))[: num_frames * features.SAMPLES_PER_FRAME]
  return silent(samples) or _Footage(clip.frames[:num_frames], samples, clip.source_fps)


def _find_face(frames: Sequence[np.ndarray]) -> _Face | Rejection:
  """Tracks the face, and cuts off the ends that do not show it: nobody could tell the lips there."""
  try:
    track = landmarker().track(frames)
  except InputError as error:
    return Rejection('no face', str(error))
  found = np.flatnonzero(track.presence >= 0.5)
  missing = len(frames) - len(found)
  if missing > MAX_MISSING * len(frames):
    return Rejection('face missing', f'no face in {missing} of {len(frames)} frames')
  start, stop = int(found[0]), int(found[-1]) + 1
  if stop - start < MIN_FRAMES:
    return Rejection('too short', f'{stop - start} frames with a face, {MIN_FRAMES} are needed')
  eye_distance = float(np.median(face_alignment.eye_distance(track.landmarks[start:stop])))
  if eye_distance < MIN_EYE_DISTANCE:
    return Rejection('face too small', f'{eye_distance:.1f} pixels between the eyes, {MIN_EYE_DISTANCE:.0f} are needed')
  return _Face(track, start, stop)


def silent(samples: np.ndarray) -> Rejection | None:
  """The reason to leave out a clip whose sound, float32 [n] in [-1, 1], is silence."""
  peak = float(np.abs(samples).max())
  return None if peak >= MIN_PEAK else Rejection('silent', f'the sound never exceeds {peak:.5f} of full scale')


def mouth_outside(landmarks: np.ndarray) -> Rejection | None:
  """The reason to leave out a clip whose mouth, by its landmarks [T, 136], is not in its crops."""
  outside = (np.abs(landmarks.reshape(len(landmarks), -1, 2)[:, features.MOUTH]) > _MOUTH_LIMIT).any(axis=(1, 2))
  if outside.mean() <= MAX_MOUTH_OUTSIDE:
    return None
  return Rejection(
    'mouth outside crop', f'in {int(outside.sum())} of {len(landmarks)} frames: the face is turned too far'
  )


def make_record(
  source: ClipSource,
  pictures: list[bytes],
  landmarks: np.ndarray,
  samples: np.ndarray,
  start: int,
  facts: dict[str, Any],
) -> Record:
  """The record of a clip of T frames, for `convert` and for clips cut out of longer videos (`cut_video`).

  Args:
    source: whose words and times are taken along.
    pictures: T encoded crops.
    landmarks: float32 [T, 136].
    samples: float32 [640 T].
    start: frame at which the clip begins in what the times of the words count from.
    facts: what the report is to know beside what follows from the record itself.
  """
  num_frames = len(pictures)
  sound = features.sound_to_int16(samples)
  fields = {
    features.CLIP_ID: source.clip_id,
    features.SPEAKER: source.speaker,
    features.VIDEO: pictures,
    features.LANDMARKS: landmarks,
    features.REST_LANDMARKS: np.asarray(face_alignment.rest_landmarks(landmarks), np.float32),
    features.AUDIO: sound,
    # Of the stored sound, so that a record agrees with itself.
    features.MFCC_ROWS: audio.frame_rows(features.sound_to_float(sound), num_frames),
    'words': list(source.words),
    'starts': _times(source.starts, start, num_frames),
    'ends': _times(source.ends, start, num_frames),
  }
  return Record(fields, facts | record_facts.measure(fields))


def _times(seconds: Sequence[float], start: int, num_frames: int) -> list[float]:
  """Times in a clip → times in its frames from `start` on, held within them."""
  return [round(min(max(time - start / features.FPS, 0.0), num_frames / features.FPS), 5) for time in seconds]


def encoded_crop(frame: np.ndarray, matrix: np.ndarray, image_format: str) -> bytes:
  """A frame, uint8 [H, W, 3], and its matrix to the crop [2, 3] → the encoded crop."""
  from data_pipelines.faces import frame_resampling  # here, for it compiles, and only workers need it

  return encode(face_alignment.warp(frame, matrix, sample=frame_resampling.bicubic), image_format)


def encode(crop: np.ndarray, image_format: str) -> bytes:
  """uint8 [H, W, 3] → an encoded picture; the same bytes whichever process does it."""
  buffer = io.BytesIO()
  if image_format == 'jpeg':
    Image.fromarray(crop).save(buffer, 'JPEG', quality=_JPEG_QUALITY, subsampling='4:2:0')
  else:
    Image.fromarray(crop).save(buffer, 'PNG', compress_level=3)
  return buffer.getvalue()


# ---- Staging: one file a finished clip, so that a killed conversion redoes none.


class StagingTask(NamedTuple):
  """What a worker is given."""

  source: ClipSource
  image_format: str
  path: str


def staging_task(source: ClipSource, image_format: str, folder: str | os.PathLike) -> StagingTask:
  """The clip and its staged file, whose name changes with everything that the record depends on."""
  try:
    status = os.stat(source.path)
    state = [status.st_size, status.st_mtime_ns]
  except OSError:
    state = []
  identity = json.dumps([VERSION, image_format, state, *map(str, source.__dict__.values())])
  digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
  return StagingTask(source, image_format, str(pathlib.Path(folder) / f'{source.clip_id}.{digest}.npz'))


def fingerprint(tasks: Sequence[StagingTask]) -> str:
  """Of all that a conversion depends on: 16 hexadecimal digits."""
  names = json.dumps([pathlib.Path(task.path).name for task in tasks])
  return hashlib.sha256(names.encode()).hexdigest()[:16]


def convert_to_file(task: StagingTask) -> None:
  """Converts a clip and writes its record or rejection to `task.path`, whole or not at all."""
  save(convert(task.source, task.image_format), task.path)


def save(result: Record | Rejection, path: str) -> None:
  """Writes a staged file, whole or not at all."""
  if isinstance(result, Rejection):
    arrays: dict[str, np.ndarray] = {}
    header: dict[str, Any] = {'rejection': list(result)}
  else:
    fields = dict(result.fields)
    pictures = fields.pop(features.VIDEO)
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    arrays['picture_bytes'] = np.frombuffer(b''.join(pictures), np.uint8)
    arrays['picture_sizes'] = np.array([len(picture) for picture in pictures])
    texts = {name: value for name, value in fields.items() if not isinstance(value, np.ndarray)}
    header = {'fields': texts, 'facts': result.facts}
  arrays['header'] = np.frombuffer(json.dumps(header).encode(), np.uint8)
  with atomic_write(path, 'wb') as file:
    np.savez(file, allow_pickle=False, **arrays)


def load(path: str | os.PathLike, keys: Sequence[str] | None = None) -> Record | Rejection:
  """Reads a staged file; with `keys`, only these arrays (the pictures are most of it) beside the small fields.

  Raises:
    InputError: the file is damaged.
  """
  try:
    with open(path, 'rb') as stream, np.load(stream, allow_pickle=False) as file:
      header = json.loads(file['header'].tobytes())
      if 'rejection' in header:
        return Rejection(*header['rejection'])
      fields = dict(header['fields'])
      for name in file.files:
        if name not in ('header', 'picture_bytes', 'picture_sizes') and (keys is None or name in keys):
          fields[name] = file[name]
      if keys is None or features.VIDEO in keys:
        ends = np.cumsum(file['picture_sizes'])
        content = file['picture_bytes'].tobytes()
        fields[features.VIDEO] = [content[end - size : end] for end, size in zip(ends, file['picture_sizes'])]
    return Record(fields, header['facts'])
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise InputError(f'The half-way file {path} is damaged: remove it and run the same command again.') from error
