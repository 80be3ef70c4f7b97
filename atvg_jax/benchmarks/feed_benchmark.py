"""Feeding: decoded frames a second on their way to the device, and whether memory stays flat."""

import argparse
import time
from collections.abc import Sequence

import numpy as np
import psutil

from atvg_jax.train import feed
from configs import common
from data_pipelines.errors import InputError

_SAMPLES = 100  # of memory, over the second half of the run


def run(argv: list[str]) -> None:
  """Reads shuffled training windows as VG-net's training does, for a while, and prints a table.

  Raises:
    InputError: bad options or data.
  """
  parser = argparse.ArgumentParser(prog='atvg benchmark feed', description=__doc__)
  parser.add_argument('--data', required=True, nargs='+', metavar='DIR', help='folders that prepare wrote')
  parser.add_argument('--window', type=int, default=16, help='frames of a window (default: 16)')
  parser.add_argument('--batch-size', type=int, default=10, help='windows of a batch (default: 10)')
  parser.add_argument('--augment', nargs='*', default=(), metavar='OP', help='augmentations, such as flip "color(0.1)"')
  parser.add_argument(
    '--seconds', type=float, default=20.0, help='how long to read; 3600 is the hour of a long training (default: 20)'
  )
  arguments = parser.parse_args(argv)
  if arguments.seconds <= 0:
    raise InputError(f'--seconds={arguments.seconds} leaves no time to measure: give more')
  for name, value in measure(
    arguments.data,
    window=arguments.window,
    batch_size=arguments.batch_size,
    augment=arguments.augment,
    seconds=arguments.seconds,
  ).items():
    print(f'{name:<34}{value:,.1f}')


def measure(
  dirs: Sequence[str], *, window: int, batch_size: int, seconds: float, augment: Sequence[str] = ()
) -> dict[str, float]:
  """Reads for `seconds` after a first batch; name with unit → number.

  Frames are those of the windows; the example frame that each window brings along is decoded too, and not counted.
  The slope of memory is a least-squares line through its second half, when all buffers are full.
  """
  config = common.base('vg')
  config.data.update(dirs=tuple(dirs), window=window, batch_size=batch_size, augment=tuple(augment))
  process = psutil.Process()
  begun = time.perf_counter()
  with feed.Feed(lambda: feed.train_batches(config, 0)) as batches:
    next(batches)
    started, busy = time.perf_counter(), sum(process.cpu_times()[:2])
    count = 0
    memory: list[tuple[float, float]] = []  # seconds, MB
    while (now := time.perf_counter() - started) < seconds:
      next(batches)
      count += 1
      if now > seconds / 2 and (not memory or now - memory[-1][0] > seconds / 2 / _SAMPLES):
        memory.append((now, process.memory_info().rss / 1e6))
    took = time.perf_counter() - started
    busy = sum(process.cpu_times()[:2]) - busy
  frames = count * batch_size * window
  times, sizes = np.array(memory).T
  slope = np.polyfit(times, sizes, 1)[0] * 60 if len(memory) > 1 else float('nan')
  return {
    'frames/s': frames / took,
    'batches/s': count / took,
    'frames': float(frames),
    'cores busy': busy / took,
    'seconds to the first batch': started - begun,
    'memory, MB': sizes.mean(),
    'memory growth, MB/minute': slope,
  }
