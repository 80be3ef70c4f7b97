"""Another sound for a video: every frame is its own example, and keeps all but its mouth.

What the face does beside speaking, turning and frowning, stays; of each frame's landmarks, the movement that the
landmark basis knows (mouth and jaw) is taken away, and what the sound says is put in its place. VG-net draws each frame
from that frame's own picture, its recurrent state carried from frame to frame, and the frame's own pixels are moved
as in `paste`.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from atvg_jax import landmarks as lm
from atvg_jax import paste, streaming, tasks
from atvg_jax.generator import Conditions, Generator
from data_pipelines import faces, features, media
from data_pipelines.errors import InputError

SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.avi', '.webm', '.mpg', '.mpeg', '.ts', '.wmv')


class Followed(NamedTuple):
  """The face of a video, frame by frame."""

  matrices: np.ndarray  # [T, 2, 3]: picture to crop
  landmarks: np.ndarray  # float32 [T, 136], aligned
  faces_seen: int


def is_video(path: str) -> bool:
  """By its name: pictures are read as pictures."""
  return path.lower().endswith(SUFFIXES)


def follow(path: str, landmarker: faces.FaceLandmarker) -> Followed:
  """Finds the largest face of a video in every frame; shows progress on standard error.

  Raises:
    InputError: it is no video, or shows no face.
  """
  frames = tqdm(media.iter_video(path), unit='frame', desc='following the face', dynamic_ncols=True)
  track = landmarker.track(frames)
  matrices = faces.align_track(track.landmarks)
  return Followed(matrices, faces.normalise(faces.apply(matrices, track.landmarks)), track.faces_seen)


def spoken(generator: Generator, followed: Followed, sound: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """Landmarks [136] of every frame of the video with the mouth saying `sound`, silence where it is over."""
  if generator.published:
    raise InputError('the published weights know one mean face only, and cannot dub a video: use weights that were '
                     'trained here')
  landmarks, basis = followed.landmarks, generator.basis
  rest = faces.rest_landmarks(landmarks)
  coefficients = lm.to_coefficients(landmarks, rest, basis)
  silent = landmarks - (lm.from_coefficients(coefficients, rest, basis) - rest)
  conditions = Conditions(rest[None], landmarks[:1], coefficients[:1].astype(np.float32))
  silence = itertools.repeat(np.zeros(features.SAMPLES_PER_FRAME, np.float32))
  windows = streaming.heard(itertools.chain(sound, silence))
  pieces = generator.spoken(conditions, (mfcc for mfcc, _ in windows))
  said = itertools.chain.from_iterable(piece[0] for piece in pieces)
  for still, speaking in zip(silent, said):
    yield (still + speaking - rest).astype(np.float32)


def frames(generator: Generator, path: str, followed: Followed, landmarks: Iterable[np.ndarray],
           whole: bool) -> Iterator[np.ndarray]:
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
  step, variables, carry = _step(generator.bundles['vg'])
  waiting = None

  def finished(drawn, picture, matrix, still, speaking):
    if not whole:
      return np.asarray(drawn)
    paster = paste.Paster(picture, matrix, faces.denormalise(still))
    return paster(np.asarray(drawn), faces.denormalise(speaking))

  for picture, matrix, still, speaking in zip(media.iter_video(path), followed.matrices, followed.landmarks, landmarks):
    drawn, carry = step(variables, faces.warp(picture, matrix), still, speaking, carry)
    if waiting is not None:  # is pasted while this one is drawn
      yield finished(*waiting)
    waiting = drawn, picture, matrix, still, speaking
  if waiting is not None:
    yield finished(*waiting)


def _step(bundle: Any) -> tuple[Callable, Any, jax.Array]:
  """VG-net on one frame that is its own example, its weights, and the state to begin with."""
  net = tasks.make_net(bundle.config)

  @jax.jit
  def step(variables, image, example_landmarks, landmarks, carry):
    image = image.astype(jnp.float32)[None] / 127.5 - 1
    outputs = net.apply(variables, image, example_landmarks[None], landmarks[None, None], train=False, carry=carry)
    frame = jnp.round((outputs['video'][0, 0] + 1) * 127.5)
    return jnp.clip(frame, 0, 255).astype(jnp.uint8), outputs['carry']

  side = features.IMAGE_SIZE // 16
  carry = jnp.zeros((1, side, side, net.recurrent_features), net.dtype)
  return step, jax.device_put({'params': bundle.params, 'batch_stats': bundle.batch_stats}), carry
