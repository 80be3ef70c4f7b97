"""Another sound for a video: every frame is its own example, and keeps all but its mouth.

What the face does beside speaking, turning and frowning, stays; of each frame's landmarks, the movement that the
landmark basis knows (mouth and jaw) is taken away, and what the sound says is put in its place. VG-net draws each frame
from that frame's own picture, its recurrent state carried from frame to frame, and the frame's own pixels are moved
as in `paste`.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from atvg_jax import landmarks as lm
from atvg_jax.generate import streaming
from atvg_jax.generate.effects import paste
from atvg_jax.generate.generator import Conditions, Generator
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import video_reader

# Frames drawn at a time: whole pictures, which may be large, wait for them.
_WINDOW = 8

SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.avi', '.webm', '.mpg', '.mpeg', '.ts', '.wmv')


class Followed(NamedTuple):
  """The face of a video, frame by frame."""

  matrices: np.ndarray  # [T, 2, 3]: picture to crop
  landmarks: np.ndarray  # float32 [T, 136], aligned
  faces_seen: int


def is_video(path: str) -> bool:
  """By its name: pictures are read as pictures."""
  return path.lower().endswith(SUFFIXES)


def follow(path: str, landmarker: face_landmarker.FaceLandmarker) -> Followed:
  """Finds the largest face of a video in every frame; shows progress on standard error.

  Raises:
    InputError: it is no video, or shows no face.
  """
  frames = tqdm(video_reader.iter_video(path), unit='frame', desc='following the face', dynamic_ncols=True)
  track = landmarker.track(frames)
  matrices = face_alignment.align_track(track.landmarks)
  return Followed(matrices, face_alignment.normalise(face_alignment.apply(matrices, track.landmarks)), track.faces_seen)


def spoken(generator: Generator, followed: Followed, sound: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """Landmarks [136] of every frame of the video with the mouth saying `sound`, silence where it is over."""
  if generator.published:
    raise InputError(
      'the published weights know one mean face only, and cannot dub a video: use weights that were trained here'
    )
  landmarks, basis = followed.landmarks, generator.basis
  rest = face_alignment.rest_landmarks(landmarks)
  coefficients = lm.to_coefficients(landmarks, rest, basis)
  silent = landmarks - (lm.from_coefficients(coefficients, rest, basis) - rest)
  conditions = Conditions(rest[None], landmarks[:1], coefficients[:1].astype(np.float32))
  silence = itertools.repeat(np.zeros(features.SAMPLES_PER_FRAME, np.float32))
  windows = streaming.heard(itertools.chain(sound, silence))
  pieces = generator.spoken(conditions, (mfcc for mfcc, _ in windows))
  said = itertools.chain.from_iterable(piece[0] for piece in pieces)
  for still, speaking in zip(silent, said):
    yield (still + speaking - rest).astype(np.float32)


def frames(
  generator: Generator, path: str, followed: Followed, landmarks: Iterable[np.ndarray], whole: bool
) -> Iterator[np.ndarray]:
  """The video's frames, dubbed.

  Args:
    generator: the nets.
    path: the video.
    followed: its face.
    landmarks: [136] for every frame, as `spoken` gives them.
    whole: give the whole frames, else the face alone.

  Yields:
    uint8 [H, W, 3], or [128, 128, 3].
  """
  shown = zip(video_reader.iter_video(path), followed.matrices, followed.landmarks, landmarks)
  windows, kept = itertools.tee(iter(lambda: list(itertools.islice(shown, _WINDOW)), []))
  for window, drawn in zip(kept, generator.vg.redrawn(map(_arrays, windows)), strict=True):
    for (picture, matrix, still, speaking), frame in zip(window, drawn):  # what filled the last window up is left
      if whole:
        frame = paste.Paster(picture, matrix, face_alignment.denormalise(still))(
          frame, face_alignment.denormalise(speaking)
        )
      yield frame


def _arrays(window: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Faces uint8 [W, 128, 128, 3], their landmarks, and those to draw; a short window is filled up with its last."""
  window = window + window[-1:] * (_WINDOW - len(window))
  crops = np.stack([face_alignment.warp(picture, matrix) for picture, matrix, _, _ in window])
  return crops, *(np.stack([entry[index] for entry in window]) for index in (2, 3))
