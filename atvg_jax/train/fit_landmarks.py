"""The PCA basis of landmarks, fitted to converted data sets: for training AT-net and to look at.

Only the sums that the conversion left beside the records are read (`data_pipelines.records.landmark_statistics`), so
any number of frames is fitted in a moment. Training AT-net calls `fit` with its config's settings and keeps the basis
beside its checkpoints.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from atvg_jax import landmarks as lm
from atvg_jax.runtime import parallel
from atvg_jax.train import feed, pictures
from data_pipelines import features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError

PICTURE_FILE = 'landmark_basis.png'


def fit(
  dirs: Sequence[str],
  num_components: int,
  *,
  points: str = 'mouth_jaw',
  symmetric: bool = True,
  rest_gap: float | None = None,
) -> lm.LandmarkBasis:
  """The basis of the union of data sets' training splits; the options are those of `landmarks.fit`.

  Raises:
    InputError: a folder is no converted data set, or its frames are too few.
  """
  return lm.fit(feed.landmark_statistics(dirs), num_components, points=points, symmetric=symmetric, rest_gap=rest_gap)


def landmark_basis(config: Any, workdir: str, basis: lm.LandmarkBasis | None = None) -> lm.LandmarkBasis | None:
  """The workdir's landmark basis; a new run of AT-net gets the given one, or one fitted to its data sets.

  VG-net learns from landmarks themselves and has none: None.
  """
  if config.task != 'at':
    return None
  path = os.path.join(workdir, lm.BASIS_FILE)
  if os.path.exists(path):
    return lm.load(path)
  if basis is None:
    settings = config.landmarks
    basis = fit(
      config.data.dirs,
      settings.num_components,
      points=settings.points,
      symmetric=settings.symmetric,
      rest_gap=settings.rest_gap,
    )
  if parallel.is_main_process():
    lm.save(path, basis)
  return basis


def run(
  dirs: Sequence[str],
  out: str | None = None,
  *,
  num_components: int = 6,
  points: str = 'mouth_jaw',
  symmetric: bool = True,
) -> str:
  """The command `atvg fit-landmarks`: writes the basis and its components drawn as faces.

  Args:
    dirs: converted data sets.
    out: folder to write to; None: the data set, of which there must be one then.
    num_components: as in `landmarks.fit`.
    points: likewise.
    symmetric: likewise.

  Returns:
    A table: each component's share of the movement, and its standard deviation.

  Raises:
    InputError: bad options or data.
  """
  if out is None and len(dirs) > 1:
    raise InputError('A basis of several data sets belongs into none of them: name a folder with --out.')
  if not 1 <= num_components <= features.LANDMARK_SIZE:
    raise InputError(f'--num-components={num_components}: give 1 to {features.LANDMARK_SIZE}.')
  basis = fit(dirs, num_components, points=points, symmetric=symmetric)
  folder = dirs[0] if out is None else out
  try:
    os.makedirs(folder, exist_ok=True)
    with atomic_write(os.path.join(folder, PICTURE_FILE), 'wb') as file:
      Image.fromarray(pictures.landmark_modes(basis)).save(file, format='PNG')
    lm.save(os.path.join(folder, lm.BASIS_FILE), basis)
  except OSError as error:
    raise InputError(f'{folder} cannot be written ({error.strerror}): choose another with --out.') from error
  return table(basis) + f'\n{os.path.join(folder, lm.BASIS_FILE)} and {PICTURE_FILE} written'


def table(basis: lm.LandmarkBasis) -> str:
  """A line a component: its share of the movement, the shares' sum so far, its deviation in pixels of the crop."""
  half_crop = features.IMAGE_SIZE / 2
  rows = ['component  explained  together  deviation, pixels']
  # Along a component the movement is spread over all points: the largest point's own is what a person sees.
  for i, (component, deviation) in enumerate(zip(basis.components, lm.deviations(basis))):
    reach = np.linalg.norm(component.reshape(-1, 2), axis=1).max() * deviation * half_crop
    rows.append(f'{i + 1:>9}{basis.explained[i]:>11.1%}{basis.explained[: i + 1].sum():>10.1%}{reach:>19.2f}')
  return '\n'.join(rows)
