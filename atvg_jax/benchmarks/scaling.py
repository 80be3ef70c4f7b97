"""Training on more and more simulated devices: what cutting up the batch and summing over devices cost.

Simulated devices share the cores of this machine, so none of this is a speed-up: with the same work in all, the
processor time of a step would stay the same if devices cost nothing. Other work on the machine lengthens the clock's
time, and hardly the processor's.
"""

import argparse
import concurrent.futures
import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import jax

from atvg_jax.benchmarks import generate_benchmark, train_steps
from atvg_jax.runtime import parallel
from data_pipelines.errors import InputError


class Cost(NamedTuple):
  """Of a step: seconds of all cores together, and what the process had in memory at most, in MB."""

  seconds: float
  memory: float


def parse(text: str) -> list[int]:
  """'1,2,4,8' → numbers of devices; raises InputError."""
  try:
    counts = [int(part) for part in text.split(',')]
  except ValueError:
    counts = []
  if not counts or min(counts) < 1 or len(set(counts)) < len(counts):
    raise InputError(f'--scaling={text} is not a list of numbers of devices: give one such as 1,2,4,8')
  return counts


def run(arguments: argparse.Namespace) -> None:
  """Measures and prints both tables, a row as soon as it is known.

  Raises:
    InputError: bad options, or a process died.
  """
  counts = parse(arguments.scaling)
  clips = arguments.batch_size or max(counts)
  uneven = [count for count in counts if clips % count]
  if uneven:
    raise InputError(
      f'--batch-size={clips} cannot be divided among {uneven[0]} devices: use a multiple of all of '
      f'--scaling={arguments.scaling}'
    )
  measured = functools.cache(functools.partial(_in_own_process, arguments))  # the last row of both tables is one
  print(f'the same batch of all devices together: {clips} clip{"s"[: clips > 1]}', flush=True)
  tabulate([(count, clips) for count in counts], measured)
  each = clips // max(counts)
  print(f'the same batch a device: {each} clip{"s"[: each > 1]}', flush=True)
  tabulate([(count, count * each) for count in counts], measured)


def tabulate(settings: list[tuple[int, int]], measured: Callable[[int, int], Cost]) -> None:
  """Prints a row for each (devices, clips of a step), compared clip by clip with the first."""
  print('| devices | clips a step | processor time of a step, s | of a clip, to the first row | memory at most, MB |')
  print('|---|---|---|---|---|')
  first = None
  for devices, clips in settings:
    cost = measured(devices, clips)
    first = first or cost.seconds / clips
    print(
      f'| {devices} | {clips} | {cost.seconds:.3f} | {cost.seconds / clips / first:.2f} | {cost.memory:,.0f} |',
      flush=True,
    )


def _in_own_process(arguments: argparse.Namespace, devices: int, clips: int) -> Cost:
  """JAX counts its devices once, when it starts."""
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    try:
      return pool.submit(_measure, arguments, devices, clips).result()
    except BrokenProcessPool as error:
      raise InputError(f'the process with {devices} devices and {clips} clips died: is there memory for it?') from error


def _measure(arguments: argparse.Namespace, devices: int, clips: int) -> Cost:
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', devices)
  parallel.use_compilation_cache()
  arguments.batch_size = clips
  table = train_steps.measure(train_steps.make_config(arguments), arguments.steps)
  return Cost(table[train_steps.PROCESSOR_TIME], generate_benchmark.peak_memory())
