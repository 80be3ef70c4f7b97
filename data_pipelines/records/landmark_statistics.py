"""Sums over a training split from which a landmark basis is fitted, so that fitting reads no clip."""

import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from data_pipelines import features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError

FILE_NAME = 'landmark_statistics.npz'
# name → shape: `rest_*` count clips, `count` and `deviation_*` count frames, where a deviation is a frame's
# landmarks minus its clip's rest landmarks.
SHAPES = {
  'count': (),
  'rest_count': (),
  'rest_sum': (features.LANDMARK_SIZE,),
  'deviation_sum': (features.LANDMARK_SIZE,),
  'deviation_outer': (features.LANDMARK_SIZE, features.LANDMARK_SIZE),
  'rest_outer': (features.LANDMARK_SIZE, features.LANDMARK_SIZE),
}
_SINCE_0_2 = 'rest_outer'


def zeros() -> dict[str, np.ndarray]:
  """The sums over nothing."""
  return {name: np.zeros(shape, np.float64) for name, shape in SHAPES.items()}


def add(sums: dict[str, np.ndarray], landmarks: np.ndarray, rest: np.ndarray) -> None:
  """Adds a clip of landmarks [T, 136] and rest landmarks [136] to the sums, in place."""
  deviations = landmarks.astype(np.float64) - rest
  sums['count'] += len(landmarks)
  sums['rest_count'] += 1
  sums['rest_sum'] += rest
  sums['rest_outer'] += np.outer(rest.astype(np.float64), rest)
  sums['deviation_sum'] += deviations.sum(axis=0)
  # einsum, not BLAS: the sum must not depend on the number of threads.
  sums['deviation_outer'] += np.einsum('ti,tj->ij', deviations, deviations)


def accumulate(clips: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
  """Sums over clips of (landmarks [T, 136], rest landmarks [136]); float64, keys and shapes as in `SHAPES`."""
  sums = zeros()
  for landmarks, rest in clips:
    add(sums, landmarks, rest)
  return sums


def save(sums: dict[str, np.ndarray], folder: str | os.PathLike) -> None:
  """Writes the sums of one data set into its folder."""
  with atomic_write(pathlib.Path(folder) / FILE_NAME, 'wb') as file:
    np.savez(file, allow_pickle=False, **sums)


def load(folders: Sequence[str | os.PathLike]) -> dict[str, np.ndarray]:
  """The sums of several data sets together; keys and shapes as in `SHAPES`.

  `rest_outer` is left out where version 0.1 converted one of them.

  Raises:
    InputError: a folder has no such file, or a damaged one.
  """
  total = zeros()
  for folder in folders:
    path = pathlib.Path(folder) / FILE_NAME
    if not path.is_file():
      raise InputError(f'{folder} holds no {FILE_NAME}: convert the data with `atvg prepare` first.')
    try:
      with np.load(path, allow_pickle=False) as file:
        if _SINCE_0_2 not in file:
          total.pop(_SINCE_0_2, None)
        for name, shape in SHAPES.items():
          if name not in total:
            continue
          if file[name].shape != shape:
            raise ValueError(name)
          total[name] += file[name]
    except Exception as error:  # whatever a damaged zip raises
      raise InputError(f'{path} is damaged: convert the data with `atvg prepare` again.') from error
  return total
