"""The published VG-net against PyTorch: a training step of two clips of 16 frames, and drawing, in turn."""

import argparse
import importlib
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from atvg_jax.benchmarks import generate_benchmark, train_steps
from atvg_jax.generate import streaming
from atvg_jax.runtime import parallel, rng
from atvg_jax.train import tasks
from configs import vg_grid
from data_pipelines import features
from data_pipelines.errors import InputError, extra_command

_NETS = pathlib.Path(__file__).resolve().parents[2] / 'tests' / 'torch_nets.py'
_CLIPS, _FRAMES = 2, 16  # of the step whose answers tests/golden holds

# Does the work once, and returns when it is done.
Side = Callable[[], Any]


def run(argv: list[str]) -> None:
  """Runs both sides in turn, and prints a table.

  Raises:
    InputError: bad options, PyTorch is not installed, or this is no checkout: the other side is among the tests.
  """
  parser = argparse.ArgumentParser(prog='atvg benchmark torch', description=__doc__)
  parser.add_argument('--part', choices=('train', 'generate'), help='only this one (default: both)')
  parser.add_argument('--pairs', type=int, default=5, help='how often each side is measured (default: 5)')
  parser.add_argument(
    '--recurrence',
    choices=('batch', 'time'),
    default='batch',
    help='what the GRU of both sides runs over: the batch as published, or time as in the paper (default: batch)',
  )
  arguments = parser.parse_args(argv)
  if arguments.pairs < 1:
    raise InputError('--pairs must be 1 or more')
  theirs = _torch_nets()
  parallel.use_compilation_cache()
  table: dict[str, float] = {'pairs': arguments.pairs, 'threads': theirs.torch.get_num_threads()}
  if arguments.part != 'generate':
    config = step_config(arguments.recurrence)
    game = theirs.Game(dropout=config.model.get('dropout_rate', 0.5), recurrence=arguments.recurrence)
    table |= _named('training step', compare(game, training_step(config), arguments.pairs))
    del game
  if arguments.part != 'train':
    drawing = theirs.drawing(streaming.WINDOW, arguments.recurrence)
    ours = drawing_window(streaming.WINDOW, arguments.recurrence)
    table |= _named(f'window of {streaming.WINDOW} frames', compare(drawing, ours, arguments.pairs))
  for name, value in table.items():
    print(f'{name:<64}{value:,.2f}')


def compare(theirs: Side, ours: Side, pairs: int) -> dict[str, float]:
  """Runs both in turn, after once each to warm up → name: seconds by the clock, and PyTorch's for each of ours."""
  times: dict[str, list[float]] = {'PyTorch, s': [], 'atvg_jax, s': []}
  for pair in range(pairs + 1):
    for side, taken in zip((theirs, ours), times.values(), strict=True):
      time.sleep(0.05)  # until the other library's threads have given up to wait for work
      begun = time.perf_counter()
      side()
      if pair:
        taken.append(time.perf_counter() - begun)
  ratios = np.divide(times['PyTorch, s'], times['atvg_jax, s'])
  return {
    **{name: float(np.median(taken)) for name, taken in times.items()},
    'PyTorch / atvg_jax, median of pairs': float(np.median(ratios)),
    'PyTorch / atvg_jax, least': float(ratios.min()),
    'PyTorch / atvg_jax, most': float(ratios.max()),
  }


def step_config(recurrence: str) -> Any:
  """The config of the published step: vg_grid's, for two clips of 16 frames."""
  config = vg_grid.get_config().copy_and_resolve_references().unlock()
  config.data.dirs = config.data.weights = ()
  config.data.batch_size, config.data.window = _CLIPS, _FRAMES
  config.model.recurrence = recurrence
  return config


def training_step(config: Any) -> Side:
  """Our step on noise, both updates; each call goes on from the last."""
  task = tasks.make_task(config, None)
  states = [parallel.replicate(jax.jit(task.init)(rng.stream_key(config.seed, 'init')))]
  step = parallel.pmap_train_step(task.train_step)
  batch = parallel.shard_batch(next(train_steps.noise(config)))

  def play() -> None:
    states[0], metrics = step(states[0], batch)
    jax.block_until_ready((states[0], metrics))

  return play


def drawing_window(frames: int, recurrence: str) -> Side:
  """Our drawing of a clip of so many frames by random weights of the published widths, its start included."""
  bundle = generate_benchmark.random_bundle(recurrence=recurrence)
  stream = streaming.VgStream(bundle)
  inputs = np.random.default_rng(0)
  image = inputs.integers(0, 256, (1, features.IMAGE_SIZE, features.IMAGE_SIZE, 3), np.uint8)
  rest = inputs.standard_normal((1, features.LANDMARK_SIZE), np.float32)
  landmarks = inputs.standard_normal((1, frames, features.LANDMARK_SIZE), np.float32)
  return lambda: list(stream(image, rest, [landmarks]))


def _named(part: str, table: Mapping[str, float]) -> dict[str, float]:
  return {f'{part}: {name}': value for name, value in table.items()}


def _torch_nets() -> Any:
  """The tests' module with the published nets in PyTorch, on as many threads as this process has cores."""
  try:
    import torch
  except ImportError as error:
    raise InputError(f'this compares with PyTorch: {extra_command("torch")}') from error
  if not _NETS.is_file():
    raise InputError(f'the PyTorch side is tests/{_NETS.name}, which only a checkout of the repository has')
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  sys.path.append(str(_NETS.parent))
  return importlib.import_module(_NETS.stem)
