"""Batches out of thin air, for tests of training that need neither clips nor TensorFlow."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from atvg_jax import landmarks
from data_pipelines import features


def config(name: str, arg: str = 'smoke', **fields: Any):
  """A config of configs/, locked, with fields such as `data__window=3` replaced and pictures of 32x32."""
  made = importlib.import_module(f'configs.{name}').get_config(arg)
  made.data.image_size = 32
  made.update_from_flattened_dict({field.replace('__', '.'): value for field, value in fields.items()})
  return made.lock()


def basis(num_components: int = 6) -> landmarks.LandmarkBasis:
  """A landmark basis fitted to noise."""
  rng = np.random.default_rng(0)
  deviation = rng.normal(size=(400, features.LANDMARK_SIZE)) * 0.02
  statistics = {
    'count': 400,
    'rest_count': 10,
    'rest_sum': rng.normal(size=features.LANDMARK_SIZE),
    'deviation_outer': deviation.T @ deviation,
  }
  return landmarks.fit(statistics, num_components)


def batch(step: int, config: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
  """The batch of a step: random, but always the same. Clips are named '<step>-<place>'."""
  rng = np.random.default_rng(step)
  size, count, frames = config.data.image_size, batch_size or config.data.batch_size, config.data.window
  rest = rng.normal(size=(count, features.LANDMARK_SIZE)).astype(np.float32) * 0.3
  made = {
    features.MFCC: rng.normal(size=(count, frames, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)).astype(
      np.float32
    ),
    features.REST_LANDMARKS: rest,
    features.EXAMPLE_LANDMARKS: rest + 0.01,
    features.LANDMARKS: rest[:, None]
    + rng.normal(size=(count, frames, features.LANDMARK_SIZE)).astype(np.float32) * 0.02,
    features.MASK: np.ones(count, np.float32),
    features.CLIP_ID: np.array([f'{step}-{place}'.encode() for place in range(count)], object),
  }
  if config.task == 'at' and config.model.get('audio') == 'speech':
    del made[features.MFCC]
    made |= {
      features.AUDIO: rng.integers(-9999, 9999, (count, frames * features.SAMPLES_PER_FRAME), np.int16),
      features.REST_GAPS: np.zeros((count, frames), np.float32),
      features.FRAME_MASK: np.ones((count, frames), np.float32),
    }
  if config.task == 'vg':
    made[features.EXAMPLE_IMAGE] = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    made[features.VIDEO] = rng.integers(0, 256, (count, frames, size, size, 3), np.uint8)
  return made


def batches(config: Any, start_step: int = 0, *, end: int | None = None) -> Iterator[dict[str, np.ndarray]]:
  """The batches from a step on, endless or up to `end`."""
  step = start_step
  while end is None or step < end:
    yield batch(step, config)
    step += 1


def arguments(config: Any) -> dict[str, Any]:
  """What `train.train` needs instead of data sets."""
  return {
    'batches': lambda step: batches(config, step),
    'eval_sets': {'fake': lambda: batches(config, 1000, end=1001)},
    'basis': basis(),
  }
