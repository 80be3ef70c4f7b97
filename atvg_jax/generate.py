"""Files in, a video out: a picture of a face and a recording of speech, or a video to follow."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import atvg_jax
from atvg_jax import streaming
from atvg_jax.generator import Generator, check_speech, load_nets
from data_pipelines import audio as audio_io
from data_pipelines import faces, features, media
from data_pipelines.errors import InputError


class Result(NamedTuple):
  """A video that was written."""

  path: str
  num_frames: int
  seconds: float  # that it took, from the first window on


def generate_video(image: str, out: str, *, audio: str | None = None, driving: str | None = None,
                   nets: Sequence[str] | None = None) -> Result:
  """Reads the files, makes the face speak and writes the video; shows progress on standard error.

  Args:
    image: picture of a face.
    out: the video to write; it gets its name when it is whole.
    audio: speech. With `driving`, the sound of the video only.
    driving: video whose face's mouth is followed instead of the sound; its sound is used where `audio` is None.
    nets: weights, see `load_nets`.

  Raises:
    InputError: any of the files will not do, in one sentence.
  """
  for source in (image, audio, driving):
    if source is not None and os.path.exists(out) and os.path.exists(source) and os.path.samefile(source, out):
      raise InputError(f'--out {out} would overwrite what is read: choose another name')
  picture = media.read_image(image)
  generator = Generator(*load_nets(nets))
  landmarker = faces.FaceLandmarker()
  try:
    portrait = generator.find_face(picture, landmarker)
  except InputError as error:
    raise _about(image, error) from error
  if portrait.faces_seen > 1:
    _say(f'{image} shows {portrait.faces_seen} faces: taking the largest')
  samples = _sound(audio, driving)
  if driving is None:
    check_speech(samples, audio)
  size = (features.IMAGE_SIZE, features.IMAGE_SIZE)
  with media.VideoWriter(out, size, samples, comment={'generated_by': f'atvg_jax {atvg_jax.__version__}'}) as writer:
    _check_writable(out)
    if driving is None:
      num_frames = audio_io.num_frames(samples)
      pieces = generator.speech_landmarks(portrait, samples)
    else:
      track = _track(driving, landmarker)
      num_frames = len(track)
      pieces = (piece[0] for piece in streaming.split(generator.transferred_landmarks(portrait, track)[None]))
    start = time.perf_counter()
    with tqdm(total=num_frames, unit='frame', desc='preparing the nets', dynamic_ncols=True) as progress:
      for frames in generator.frames(portrait, pieces):
        progress.set_description('drawing')
        for frame in frames[:num_frames - writer.num_frames]:
          writer.append(frame)
          progress.update()
  return Result(out, writer.num_frames, time.perf_counter() - start)


def _sound(audio: str | None, driving: str | None) -> np.ndarray | None:
  """The video's sound; None where a driving video has none."""
  if audio is not None:
    return audio_io.read_audio(audio)
  with audio_io.open_media(driving) as container:
    if not container.streams.video:
      raise InputError(f'{driving} has no picture in it: give a video file, or use --audio')
    if not container.streams.audio:
      return None
  return audio_io.read_audio(driving)


def _track(path: str, landmarker: faces.FaceLandmarker) -> np.ndarray:
  """Aligned landmarks [T, 136] of the face in a video."""
  try:
    track = landmarker.track(tqdm(media.iter_video(path), unit='frame', desc='following the face', dynamic_ncols=True))
  except InputError as error:
    raise _about(path, error) from error
  if track.faces_seen > 1:
    _say(f'{path} shows {track.faces_seen} faces: following the largest')
  return faces.normalise(faces.apply(faces.align_track(track.landmarks), track.landmarks))


def _about(path: str, error: InputError) -> InputError:
  """The error with the name of the file that it is about."""
  sentence = str(error)
  return error if path in sentence else InputError(f'{path}: {sentence[:1].lower()}{sentence[1:]}')


def _check_writable(path: str) -> None:
  """Raises InputError where no file can be made beside `path`: better now than after the drawing."""
  try:
    tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(path))).close()
  except OSError as error:
    raise InputError(f'{path} cannot be written ({error.strerror}): choose another folder') from error


def _say(sentence: str) -> None:
  print(f'atvg: {sentence}', file=sys.stderr)
