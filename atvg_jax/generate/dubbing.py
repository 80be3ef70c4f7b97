"""Another sound for a video: every frame is its own example, and keeps all but its mouth.

What the face does beside speaking, turning and frowning, stays. Of each frame's landmarks, the movement that the
landmark basis spans (mouth and jaw) is taken away, and what AT-net predicts from the sound is put in its place. VG-net
draws each frame from that frame's own picture, its recurrent state carried from frame to frame, and the frame's own
pixels are moved as in `paste`.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from atvg_jax import landmarks as lm
from atvg_jax.generate import streaming
from atvg_jax.generate.effects import paste
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.normalisation import Conditions
from atvg_jax.generate.pieces import Piece, lookahead
from data_pipelines import features
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import video_reader

# Frames drawn at a time: whole pictures, which may be large, wait for them.
_WINDOW = 8

SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.avi', '.webm', '.mpg', '.mpeg', '.ts', '.wmv')


class AlignedTrack(NamedTuple):
  """The face of a video, frame by frame."""

  matrices: np.ndarray  # [T, 2, 3]: picture to crop
  landmarks: np.ndarray  # float32 [T, 136], aligned
  faces_seen: int


def is_video(path: str) -> bool:
  """By its name: pictures are read as pictures."""
  return path.lower().endswith(SUFFIXES)


def follow(path: str, landmarker: face_landmarker.FaceLandmarker) -> AlignedTrack:
  """Finds the largest face of a video in every frame; shows progress on standard error.

  Raises:
    InputError: it is no video, or shows no face.
  """
  frames = tqdm(video_reader.iter_video(path), unit='frame', desc='following the face', dynamic_ncols=True)
  track = landmarker.track(frames)
  matrices = face_alignment.align_track(track.landmarks)
  return AlignedTrack(
    matrices, face_alignment.normalise(face_alignment.apply(matrices, track.landmarks)), track.faces_seen
  )


def predict_landmarks(generator: Generator, track: AlignedTrack, sound: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """Landmarks [136] of every frame of the video with the mouth speaking `sound`, and at rest where it is over.

  Raises:
    InputError: the weights cannot do this.
  """
  generator.normalisation.check_use('dubbing')
  landmarks, basis = track.landmarks, generator.basis
  rest = face_alignment.rest_landmarks(landmarks)
  coefficients = lm.to_coefficients(landmarks, rest, basis)
  mouth = lm.from_coefficients(coefficients, rest, basis) - rest  # how each frame's mouth moves in the video
  conditions = Conditions(rest[None], landmarks[:1], coefficients[:1].astype(np.float32))
  silence = itertools.repeat(np.zeros(features.SAMPLES_PER_FRAME, np.float32))
  inputs = streaming.at_inputs(itertools.chain(sound, silence), generator.at.front_end)
  pieces = generator.predict_landmarks(conditions, inputs, streaming.WINDOW)
  predicted = itertools.chain.from_iterable(piece[0] for piece in pieces)
  for without_mouth, speaking in zip(landmarks - mouth, predicted):
    yield (without_mouth + speaking - rest).astype(np.float32)


def redraw(
  generator: Generator, path: str, track: AlignedTrack, landmarks: Iterable[np.ndarray], whole: bool
) -> Iterator[Piece]:
  """The video's frames, dubbed.

  Args:
    generator: the nets.
    path: the video.
    track: its face.
    landmarks: [136] for every frame, as `predict_landmarks` gives them.
    whole: give the whole frames, else the face alone.

  Yields:
    Pieces of one frame, [1, H, W, 3] or [1, 128, 128, 3].
  """
  for window, frames in lookahead(_redrawn(generator, _windows(path, track, landmarks))):
    for shown, frame in zip(window, np.asarray(frames)):  # what filled the last window up is left
      if whole:
        paster = paste.Paster(shown.picture, shown.matrix, face_alignment.denormalise(shown.landmarks))
        frame = paster(frame, face_alignment.denormalise(shown.speaking))
      yield Piece(shown.speaking[None], frame[None])


class _Shown(NamedTuple):
  """A frame of the video."""

  picture: np.ndarray  # uint8 [H, W, 3]
  matrix: np.ndarray  # [2, 3]: picture to crop
  landmarks: np.ndarray  # float32 [136], aligned
  speaking: np.ndarray  # float32 [136]: what is to be drawn


def _windows(path: str, track: AlignedTrack, landmarks: Iterable[np.ndarray]) -> Iterator[list[_Shown]]:
  """The video's frames, some at a time."""
  shown = map(_Shown._make, zip(video_reader.iter_video(path), track.matrices, track.landmarks, landmarks))
  while window := list(itertools.islice(shown, _WINDOW)):
    yield window


def _redrawn(generator: Generator, windows: Iterable[list[_Shown]]) -> Iterator[tuple[list[_Shown], jax.Array]]:
  """Windows with their frames, which are still being computed: uint8 [_WINDOW, 128, 128, 3]."""
  carry = None
  for window in windows:
    full = window + window[-1:] * (_WINDOW - len(window))
    frames, carry = generator.vg.redraw(
      np.stack([face_alignment.warp(shown.picture, shown.matrix) for shown in full]),
      np.stack([shown.landmarks for shown in full]),
      np.stack([shown.speaking for shown in full]),
      carry,
    )
    yield window, frames
