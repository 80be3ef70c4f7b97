"""What else can be kept of a video: the landmarks, and the two maps that VG-net mixes a frame from.

Beside VIDEO.mp4 lie VIDEO.landmarks.npz, VIDEO.attention.mp4 (white where VG-net draws anew, black where it keeps the
example picture) and VIDEO.motion.mp4 (what it draws there).
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.generate import streaming
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.portrait import Portrait
from atvg_jax.models import fast_vg
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_writer

KINDS = ('landmarks', 'attention', 'motion')
_MAPS = KINDS[1:]


def check(kinds: Sequence[str]) -> None:
  """Raises InputError where there is no such side output."""
  if unknown := set(kinds) - set(KINDS):
    raise InputError(f'{min(unknown)!r} cannot be saved: choose of {", ".join(KINDS)}')


def paths(out: str, kinds: Sequence[str]) -> list[str]:
  """Where the side outputs `kinds` of the video `out` are."""
  stem, suffix = os.path.splitext(out)
  return [f'{stem}.{kind}{suffix if kind in _MAPS else ".npz"}' for kind in kinds]


class Saver:
  """Writes side outputs while the video is made; a context manager that keeps them only where all went well."""

  def __init__(self, out: str, kinds: Sequence[str], portrait: Portrait):
    """Takes the name of the video, which of KINDS to write, and the face."""
    self._paths = dict(zip(kinds, paths(out, kinds), strict=True))
    self._portrait = portrait
    self._stack = contextlib.ExitStack()
    self._landmarks: list[np.ndarray] = []
    self._points: list[np.ndarray] = []
    self._writers: dict[str, video_writer.VideoWriter] = {}

  def __enter__(self) -> Self:
    with contextlib.ExitStack() as stack:
      size = (features.IMAGE_SIZE, features.IMAGE_SIZE)
      for kind in _MAPS:
        if kind in self._paths:
          self._writers[kind] = stack.enter_context(video_writer.VideoWriter(self._paths[kind], size))
      self._stack = stack.pop_all()
    return self

  def __exit__(self, kind, value, traceback) -> None:
    if kind is None and 'landmarks' in self._paths:
      points, path = np.concatenate(self._points), self._paths['landmarks']
      folder, name = os.path.split(os.path.abspath(path))
      temporary = os.path.join(folder, f'.{os.getpid()}.{name}')  # as the videos', for `video_writer.remove_leftovers`
      with open(temporary, 'wb') as file:
        np.savez_compressed(
          file,
          landmarks=np.concatenate(self._landmarks),
          points_in_crop=points.astype(np.float32),
          points_in_picture=face_alignment.apply(face_alignment.invert(self._portrait.matrix), points).astype(
            np.float32
          ),
          picture_to_crop=self._portrait.matrix,
          fps=features.FPS,
        )
      os.replace(temporary, path)
    self._stack.__exit__(kind, value, traceback)

  def tap(
    self, generator: Generator, portrait: Portrait, landmarks: Iterable[np.ndarray], window: int
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames [n, 128, 128, 3] and landmarks [n, 136] for pieces of landmarks, kept on the way.

    Frames are those of `Generator.frames` to one grey level.
    """
    state = _Maps(generator, portrait) if self._writers else None
    for piece, frames, maps in state(landmarks, window) if state else _plain(generator, portrait, landmarks, window):
      self._landmarks.append(piece)
      self._points.append(generator.points(portrait, piece))
      for kind, writer in self._writers.items():
        for picture in maps[kind][: len(piece)]:
          writer.append(picture)
      yield frames[: len(piece)], piece


def _plain(generator, portrait, landmarks, window):
  waiting = []

  def seen():
    for piece in landmarks:
      waiting.append(piece)
      yield piece

  for frames in generator.frames(portrait, seen(), window):
    yield waiting.pop(0), frames, {}


class _Maps:
  """`streaming.VgStream`, with the maps beside the frames."""

  def __init__(self, generator: Generator, portrait: Portrait):
    self._vg = generator.vg
    self._image = portrait.crop[None]
    self._example = generator.conditions(portrait.landmarks[None]).example_landmarks

    @jax.jit
    def step(prepared, shared, landmarks, carry):
      outputs = generator.vg.draw(prepared, shared, landmarks, carry)
      attention = jnp.repeat(2 * outputs['attention'] - 1, 3, axis=-1)
      pictures = outputs['video'], attention, outputs['color']
      return tuple(streaming.to_bytes(values[0]) for values in pictures), outputs['carry']

    self._step = step

  def __call__(self, landmarks: Iterable[np.ndarray], window: int):
    vg = self._vg
    shared = vg.start(vg.prepared, self._image, self._example)
    carry = fast_vg.zero_carry(vg.net, *self._image.shape[:3])
    for piece in landmarks:
      padded = next(streaming.split(piece[None], window))
      pictures, carry = self._step(vg.prepared, shared, padded, carry)
      frames, attention, motion = map(np.asarray, pictures)
      yield piece, frames, {'attention': attention, 'motion': motion}
