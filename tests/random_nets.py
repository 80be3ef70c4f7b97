"""Tiny nets with random weights for tests: they draw noise, but every path through the code is a real one."""

import pathlib
from typing import Any

import jax
import numpy as np

from atvg_jax import landmarks as lm
from atvg_jax import models
from atvg_jax.audio import front_ends
from atvg_jax.checkpoints import weights
from configs import release_at, release_vg
from data_pipelines import features
from data_pipelines.faces import face_alignment


def basis(num_components: int = 6) -> lm.LandmarkBasis:
  """A landmark basis in which mouths open and shut."""
  rng = np.random.default_rng(0)
  spread = rng.normal(size=(200, features.LANDMARK_SIZE)) * 0.01
  spread[:, 2 * 66 + 1] += rng.normal(size=200) * 0.1
  rest = face_alignment.normalise(face_alignment.TEMPLATE)
  return lm.fit(
    {'count': 200, 'rest_sum': 10 * rest, 'rest_count': 10, 'deviation_outer': spread.T @ spread}, num_components
  )


def bundle(kind: str, module: Any = None) -> weights.Bundle:
  """A config's smoke size, by default the small net's, initialised at random; kind is 'at' or 'vg'."""
  module = module or {'at': release_at, 'vg': release_vg}[kind]
  config = module.get_config('smoke').to_dict()
  net = models.make_net(config)
  points = np.zeros((1, features.LANDMARK_SIZE), np.float32)
  inputs = {
    'at': (
      points[:, : config['landmarks']['num_components']],
      np.zeros((1, 1, *front_ends.of(config).shape), np.float32) if kind == 'at' else None,
    ),
    'vg': (np.zeros((1, features.IMAGE_SIZE, features.IMAGE_SIZE, 3), np.float32), points, points[:, None]),
  }[kind]
  # Shapes only: compiling the initialisers takes longer than all the tests.
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), *inputs, train=False))
  rng = np.random.default_rng(0)
  variables = jax.tree.map_with_path(lambda path, leaf: _numbers(rng, path[-1].key, leaf.shape), shapes)
  return weights.Bundle(
    kind,
    config,
    variables['params'],
    variables.get('batch_stats', {}),
    basis(config['landmarks']['num_components']) if kind == 'at' else None,
    {},
  )


def _numbers(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
  if name in ('scale', 'var'):
    return np.ones(shape, np.float32)
  fan_in = max(1, int(np.prod(shape[:-1])))
  return (rng.normal(size=shape) * (0.1 if len(shape) == 1 else np.sqrt(2 / fan_in))).astype(np.float32)


def save(folder: pathlib.Path) -> list[str]:
  """Packs both into `folder`; returns their paths, AT-net's first."""
  paths = [str(folder / f'{kind}.npz') for kind in ('at', 'vg')]
  for kind, path in zip(('at', 'vg'), paths, strict=True):
    weights.save(path, bundle(kind))
  return paths
