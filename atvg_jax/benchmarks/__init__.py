"""`atvg benchmark NAME`: speed and memory on this machine; each benchmark has options of its own."""

import importlib
from collections.abc import Sequence

from data_pipelines.errors import InputError

# Name → the module whose `run(argv)` measures and prints it.
BENCHMARKS = {
  'batch': 'atvg_jax.benchmarks.batch_benchmark',
  'device': 'atvg_jax.benchmarks.device_benchmark',
  'feed': 'atvg_jax.benchmarks.feed_benchmark',
  'generate': 'atvg_jax.benchmarks.generate_benchmark',
  'prepare': 'atvg_jax.benchmarks.prepare_benchmark',
  'torch': 'atvg_jax.benchmarks.torch_benchmark',
  'train': 'atvg_jax.benchmarks.train_benchmark',
}


def run(argv: Sequence[str]) -> None:
  """Runs the benchmark that `argv` begins with, the rest being its options.

  Raises:
    InputError: there is no such benchmark.
  """
  if argv and argv[0] in BENCHMARKS:
    importlib.import_module(BENCHMARKS[argv[0]]).run(list(argv[1:]))
  elif argv and argv[0] in ('-h', '--help'):
    print(f'usage: atvg benchmark {{{",".join(BENCHMARKS)}}} ...\n\n{__doc__}')
  else:
    raise InputError(
      f"'atvg benchmark' needs one of {', '.join(BENCHMARKS)}{f', not {argv[0]!r}' if argv else ''}: each takes --help."
    )
