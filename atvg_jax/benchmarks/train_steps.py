"""One training step of VG-net, timed: what `atvg benchmark train` measures."""

import argparse
import importlib
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from atvg_jax.benchmarks import generate_benchmark
from atvg_jax.runtime import flops, parallel, rng
from atvg_jax.train import feed, tasks
from data_pipelines import features
from data_pipelines.errors import InputError

PROCESSOR_TIME = 'processor time of a step, s'


def make_config(arguments: argparse.Namespace) -> Any:
  """The named config with the options in it."""
  name, _, argument = arguments.config.partition(':')
  try:
    config = importlib.import_module(f'configs.{name}').get_config(argument)
  except ModuleNotFoundError as error:
    raise InputError(
      f'--config={arguments.config}: there is no such file in configs/: give its name, such as vg_grid'
    ) from error
  if config.task != 'vg':
    raise InputError(f'--config={arguments.config} trains another net: give one of VG-net')
  config.data.dirs = tuple(arguments.data or ())
  if len(config.data.dirs) != len(config.data.weights):
    config.data.weights = ()
  config.data.batch_size = arguments.batch_size or config.data.batch_size
  config.data.window = arguments.window or config.data.window
  config.dtype = arguments.dtype or config.dtype
  return config


def measure(config: Any, steps: int) -> dict[str, float]:
  """Trains for `steps` steps on `config.data.dirs`, or on noise where there are none; name with unit → number."""
  task = tasks.make_task(config, None)
  state = parallel.replicate(jax.jit(task.init)(rng.stream_key(config.seed, 'init')))
  per_step = operations(config, state)
  step = parallel.pmap_train_step(task.train_step)
  source = (lambda: feed.train_batches(config, 0)) if config.data.dirs else (lambda: noise(config))
  begun = time.perf_counter()
  with feed.Feed(source) as batches:
    state, metrics = step(state, next(batches).arrays)
    jax.block_until_ready(metrics)
    compiled = time.perf_counter() - begun
    peak = flops.matmul_peak(config.dtype)
    times, busy, waited = [time.perf_counter()], [time.process_time()], batches.wait_seconds
    for _ in range(steps):
      state, metrics = step(state, next(batches).arrays)
      jax.block_until_ready(metrics)
      times.append(time.perf_counter())
      busy.append(time.process_time())
    waited = batches.wait_seconds - waited
  if not all(math.isfinite(value) for value in jax.device_get(metrics).values()):
    raise InputError(f'after {steps + 1} steps a loss is not finite: the figures are void')
  peak = max(peak, flops.matmul_peak(config.dtype))
  seconds = float(np.median(np.diff(times)))
  return {
    'devices': float(jax.device_count()),
    'first step with compilation, s': compiled,
    'step, s': seconds,
    PROCESSOR_TIME: float(np.median(np.diff(busy))),
    'frames/s': config.data.batch_size * config.data.window / seconds,
    'waiting for data, %': 100 * waited / (times[-1] - times[0]),
    'GFLOP a step, direct convolutions': per_step / 1e9,
    'effective GFLOP/s': per_step / seconds / 1e9,
    'matmul, GFLOP/s': peak / 1e9,
    'effective rate / matmul rate': per_step / seconds / peak,
  }


def operations(config: Any, state: Any) -> float:
  """Multiplications and additions of a step, forward and backward.

  A pass forward counts as in `generate_benchmark.operations`, a pass back twice that: the gradients of the
  inputs and of the weights. With a discriminator D that is one pass of G and six of D (real and generated clips,
  there and back) to update D; then three of G, and of D one forward and one back to its inputs.
  """
  frames = config.data.batch_size * config.data.window
  generator = generate_benchmark.operations(config, state.g_params) * frames
  if config.discriminator is None:
    return 3 * generator
  discriminator, cells = 0, config.data.image_size**2
  for name, layer in state.d_params.items():
    for kernel in (leaf for path, leaf in jax.tree_util.tree_leaves_with_path(layer) if 'kernel' in path[-1].key):
      if name.startswith('conv'):
        discriminator += 2 * kernel.size * cells / 4 ** (int(name.removeprefix('conv')) + 1)
      elif not name.startswith('landmark_dense'):  # those run once a clip
        discriminator += 2 * kernel.size
  return 4 * generator + 8 * discriminator * frames


def noise(config: Any) -> Iterator[dict[str, np.ndarray]]:
  """One batch of noise, again and again."""
  generator = np.random.default_rng(0)
  clips = parallel.per_process(config.data.batch_size)
  frames, size = config.data.window, config.data.image_size
  rest = generator.normal(scale=0.3, size=(clips, features.LANDMARK_SIZE)).astype(np.float32)
  moved = rest[:, None] + generator.normal(scale=0.02, size=(clips, frames, features.LANDMARK_SIZE))
  batch = {
    features.MFCC: np.zeros((clips, frames, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS), np.float32),
    features.REST_LANDMARKS: rest,
    features.EXAMPLE_LANDMARKS: rest,
    features.LANDMARKS: moved.astype(np.float32),
    features.MASK: np.ones(clips, np.float32),
    features.EXAMPLE_IMAGE: generator.integers(0, 256, (clips, size, size, 3), np.uint8),
    features.VIDEO: generator.integers(0, 256, (clips, frames, size, size, 3), np.uint8),
  }
  while True:
    yield batch
