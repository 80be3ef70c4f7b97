"""A video whose face another face follows, and what is said of files."""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker, upright
from data_pipelines.media import video_reader


class AlignedTrack(NamedTuple):
  """The face of a video, at 25 frames a second."""

  matrices: np.ndarray  # [T, 2, 3]: picture to crop
  landmarks: np.ndarray  # float32 [T, 136], aligned


def follow(path: str, landmarker: face_landmarker.FaceLandmarker) -> AlignedTrack:
  """Finds the largest face of a video in every frame; shows progress on standard error.

  Raises:
    InputError: it is no video, stands on its head, or shows no face.
  """
  samples = upright.Samples()

  def frames() -> Iterator[np.ndarray]:
    for picture in tqdm(video_reader.iter_video(path), unit='frame', desc='following the face', dynamic_ncols=True):
      samples.add(picture)
      yield picture

  try:
    track = landmarker.track(frames())
  except InputError as error:
    samples.check(path, landmarker)
    raise about(path, error) from error
  samples.check(path, landmarker)
  if track.faces_seen > 1:
    notify(f'{path} shows {track.faces_seen} faces: following the largest')
  matrices = face_alignment.align_track(track.landmarks)
  return AlignedTrack(matrices, face_alignment.normalise(face_alignment.apply(matrices, track.landmarks)))


def about(path: str, error: InputError) -> InputError:
  """The error with the name of the file that it is about."""
  sentence = str(error)
  return error if path in sentence else InputError(f'{path}: {sentence[:1].lower()}{sentence[1:]}')


def notify(sentence: str) -> None:
  """Says something on standard error."""
  print(f'atvg: {sentence}', file=sys.stderr)
