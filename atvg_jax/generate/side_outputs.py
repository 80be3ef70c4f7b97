"""What else can be kept of a video: the landmarks, and the two maps that VG-net mixes a frame from.

Beside VIDEO.mp4 lie VIDEO.landmarks.npz, VIDEO.attention.mp4 (white where VG-net draws anew, black where it keeps the
example picture) and VIDEO.motion.mp4 (what it draws there).
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np

from atvg_jax.generate.normalisation import Normalisation
from atvg_jax.generate.pieces import Piece
from atvg_jax.generate.portrait import Portrait
from data_pipelines import atomic_files, features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_writer

KINDS = ('landmarks', 'attention', 'motion')
_MAPS = KINDS[1:]


def check(kinds: Sequence[str], out: str = '') -> None:
  """Raises InputError where there is no such side output, or the video `out` leaves its name no room."""
  if unknown := set(kinds) - set(KINDS):
    raise InputError(f'{min(unknown)!r} cannot be saved: choose of {", ".join(KINDS)}')
  for path in paths(out, kinds):
    atomic_files.check_name(path)


def paths(out: str, kinds: Sequence[str]) -> list[str]:
  """Where the side outputs `kinds` of the video `out` are."""
  stem, suffix = os.path.splitext(out)
  return [f'{stem}.{kind}{suffix if kind in _MAPS else ".npz"}' for kind in kinds]


class Saver:
  """Writes side outputs while the video is made; a context manager that keeps them only where all went well.

  Attributes:
    needs_maps: whether the pieces must have maps.
  """

  def __init__(self, out: str, kinds: Sequence[str], portrait: Portrait, normalisation: Normalisation):
    """Takes the name of the video, which of KINDS to write, the face, and how its landmarks are normalised."""
    self._paths = dict(zip(kinds, paths(out, kinds), strict=True))
    self.needs_maps = any(kind in _MAPS for kind in kinds)
    self._portrait = portrait
    self._normalisation = normalisation
    self._stack = contextlib.ExitStack()
    self._landmarks: list[np.ndarray] = []
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
    self._stack.__exit__(kind, value, traceback)

  def finish(self) -> None:
    """Writes the rest, all that can still fail, after the last frame; the end of the block gives the files their names.

    Raises:
      InputError: the disk is full.
    """
    for writer in self._writers.values():
      writer.finish()
    if 'landmarks' in self._paths:
      try:
        self._save_landmarks(self._paths['landmarks'])
      except OSError as error:
        raise InputError(f'{self._paths["landmarks"]} cannot be written ({error.strerror}): make room first') from error

  def keep(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Passes pieces of crops on, and keeps what is asked for, if anything is."""
    for piece in pieces:
      if 'landmarks' in self._paths:
        self._landmarks.append(piece.landmarks)
      for kind, writer in self._writers.items():
        for picture in piece.maps[kind]:
          writer.append(picture)
      yield piece

  def _save_landmarks(self, path: str) -> None:
    landmarks = np.concatenate(self._landmarks)
    points = self._normalisation.points(self._portrait.landmarks, landmarks)
    in_picture = face_alignment.apply(face_alignment.invert(self._portrait.matrix), points)
    unfinished = self._stack.enter_context(atomic_files.Unfinished(path))
    with open(unfinished.path, 'wb') as file:
      np.savez_compressed(
        file,
        landmarks=landmarks,
        points_in_crop=points.astype(np.float32),
        points_in_picture=in_picture.astype(np.float32),
        picture_to_crop=self._portrait.matrix,
        fps=features.FPS,
      )
