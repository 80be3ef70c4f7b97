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
def _landmarker() -> face_landmarker.FaceLandmarker:
  return face_landmarker.FaceLandmarker()


def convert(source: ClipSource, image_format: str = 'jpeg') -> Record | Rejection:
  """Reads, tracks, aligns, crops and listens: everything from a video file to a record.

  Args:
    source: the clip.
    image_format: 'jpeg' (quality 95) or 'png' (exact, 2.7 times as large).

  Returns:
    A record with `clip_id`, `speaker`, `video` ([T] encoded 128x128 pictures), `landmarks` float32 [T, 136],
    `rest_landmarks` float32 [136], `audio` int16 [640 T], `mfcc_rows` float32 [4 T + 24, 12], `words`,
    `starts`, `ends`; T counts the frames that have both picture and sound. Or a rejection; it never raises
    for a bad clip.
  """
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
  peak = float(np.abs(samples).max())
  if peak < MIN_PEAK:
    return Rejection('silent', f'the sound never exceeds {peak:.5f} of full scale')

  try:
    track = _landmarker().track(clip.frames[:num_frames])
  except InputError as error:
    return Rejection('no face', str(error))
  found = np.flatnonzero(track.presence >= 0.5)
  missing = num_frames - len(found)
  if missing > MAX_MISSING * num_frames:
    return Rejection('face missing', f'no face in {missing} of {num_frames} frames')
  # Clips that begin or end with lost frames are cut to what shows the face; nobody could tell the lips there.
  start, stop = int(found[0]), int(found[-1]) + 1
  num_frames = stop - start
  if num_frames < MIN_FRAMES:
    return Rejection('too short', f'{num_frames} frames with a face, {MIN_FRAMES} are needed')
  frames, points = clip.frames[start:stop], track.landmarks[start:stop]
  samples = samples[start * features.SAMPLES_PER_FRAME : stop * features.SAMPLES_PER_FRAME]
  eye_distance = float(np.median(face_alignment.eye_distance(points)))
  if eye_distance < MIN_EYE_DISTANCE:
    return Rejection('face too small', f'{eye_distance:.1f} pixels between the eyes, {MIN_EYE_DISTANCE:.0f} are needed')

  matrices = face_alignment.align_track(points)  # [T, 2, 3]
  landmarks = face_alignment.normalise(face_alignment.apply(matrices, points)).astype(np.float32)  # [T, 136]
  turned = mouth_outside(landmarks)
  if turned is not None:
    return turned
  pictures = [encoded_crop(frame, matrix, image_format) for frame, matrix in zip(frames, matrices)]
  return make_record(
    source,
    pictures,
    landmarks,
    samples,
    start,
    {
      'source_fps': round(clip.source_fps, 3),
      'source_size': f'{frames[0].shape[1]}x{frames[0].shape[0]}',
      'faces_seen': int(track.faces_seen),
      'frames_without_face': missing,
      'frames_trimmed': len(track.presence) - num_frames,
      'eye_distance': round(eye_distance, 1),
      'yaw': round(float(np.median(track.yaw)), 1),
      'sound_peak': round(peak, 3),
      'sound_advance': source.sound_advance,
    },
  )


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
  """The record of a clip of T frames, for `convert` and for clips cut out of longer videos.

  Args:
    source: whose words and times are taken along.
    pictures: T encoded crops.
    landmarks: float32 [T, 136].
    samples: float32 [640 T].
    start: frame at which the clip begins in what the times of the words count from.
    facts: what the report is to know beside what follows from the record itself.
  """
  num_frames = len(pictures)
  sound = np.round(samples * 32767).astype(np.int16)
  opening = face_alignment.mouth_opening(landmarks)
  fields = {
    features.CLIP_ID: source.clip_id,
    features.SPEAKER: source.speaker,
    features.VIDEO: pictures,
    features.LANDMARKS: landmarks,
    features.REST_LANDMARKS: np.asarray(face_alignment.rest_landmarks(landmarks), np.float32),
    features.AUDIO: sound,
    # Of the stored sound, so that a record agrees with itself.
    features.MFCC_ROWS: audio.frame_rows(sound / np.float32(32767), num_frames),
    'words': list(source.words),
    'starts': _times(source.starts, start, num_frames),
    'ends': _times(source.ends, start, num_frames),
  }
  return Record(
    fields,
    facts
    | record_facts.measure(fields)
    | {
      'frames': num_frames,
      'mouth_opening_range': round(float(opening.max() - opening.min()), 4),
      'chin_lowest': round(float(face_alignment.denormalise(landmarks)[:, 8, 1].max()), 1),
    },
  )


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
    arrays, header = {}, {'rejection': list(result)}
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
