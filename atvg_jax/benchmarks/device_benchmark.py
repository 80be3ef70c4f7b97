"""An accelerator in one run: training, generation and batches at several sizes, and whether it draws what CPUs draw.

`--list` says what would be run, and `--smoke` runs a small one of each kind on any machine, processors too.
Each is a process of its own with a time limit, the most telling first; what no time is left for is left out and said.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from atvg_jax.checkpoints import weights
from atvg_jax.generate import streaming
from data_pipelines import features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment

_AT_MOST = {'float32': 2, 'bfloat16': 24}  # grey levels that an accelerator's frames may be off, by their largest


class Step(NamedTuple):
  """One command."""

  arguments: list[str]  # of `atvg benchmark`
  seconds: int  # at most


def smoke_steps() -> list[Step]:
  """One small command of each kind: whether the script works, before an accelerator's time is spent on it."""
  patience = 1800  # a busy machine is no reason to fail
  commands = (
    ['device', '--compare', '--smoke'],
    ['batch', '--clips', '2', '--seconds', '0.5', '--lanes', '1', '--dtype', 'float32', '--windows', '1'],
    ['train', '--config', 'release_vg:smoke', '--batch-size', '1', '--window', '2', '--steps', '1'],
    ['generate', '--dtype', 'float32', '--windows', '1'],
  )
  return [Step(command, patience) for command in commands]


def steps() -> list[Step]:
  """What is run, in this order."""

  def commands() -> Iterator[Step]:
    yield Step(['device', '--compare'], 120)
    for dtype in ('float32', 'bfloat16'):
      yield Step(['batch', '--clips', '64', '--lanes', '16', '--dtype', dtype], 120)
    for lanes in ('4', '64'):
      yield Step(['batch', '--clips', '64', '--lanes', lanes, '--dtype', 'bfloat16'], 120)
    for dtype in ('float32', 'bfloat16'):
      yield Step(['train', '--batch-size', '16', '--window', '16', '--steps', '10', '--dtype', dtype], 150)
    for size in ([], ['--published-size']):
      for dtype in ('float32', 'bfloat16'):
        for batch in ('1', '8', '32'):
          yield Step(['generate', *size, '--dtype', dtype, '--batch-size', batch, '--windows', '20'], 90)
    for batch in ('4', '64'):
      yield Step(['train', '--batch-size', batch, '--window', '16', '--steps', '10', '--dtype', 'bfloat16'], 150)

  return list(commands())


def run(argv: list[str]) -> None:
  """The command.

  Raises:
    InputError: bad options, there is no accelerator, it draws something else, or not all small steps were done.
  """
  parser = argparse.ArgumentParser(prog='atvg benchmark device', description=__doc__)
  parser.add_argument('--minutes', type=float, default=9.0, help='for all together (default: 9)')
  parser.add_argument('--out', metavar='FILE', help='the figures, as JSON lines')
  parser.add_argument('--list', action='store_true', help='print the commands only')
  parser.add_argument('--compare', action='store_true', help='only draw the same on accelerator and processor')
  parser.add_argument('--smoke', action='store_true', help='a small one of each kind instead, on any machine')
  arguments = parser.parse_args(argv)
  chosen = smoke_steps() if arguments.smoke else steps()
  if arguments.list:
    for step in chosen:
      print(f'atvg benchmark {" ".join(step.arguments)}  # {step.seconds} s at most')
    return
  if jax.default_backend() == 'cpu' and not arguments.smoke:
    raise InputError('JAX finds no accelerator on this machine: --list says what would be run on one')
  if arguments.compare:
    compare(('float32',) if arguments.smoke else tuple(_AT_MOST))  # half precision takes processors minutes
    return
  deadline = float('inf') if arguments.smoke else time.monotonic() + 60 * arguments.minutes
  results = []
  for step in chosen:
    left = deadline - time.monotonic()
    result = {'command': ' '.join(step.arguments), **(_run(step, left) if left > 20 else {'status': 'no time left'})}
    results.append(result)
    print(json.dumps(result), flush=True)
    if arguments.out:
      with atomic_write(arguments.out) as file:
        file.writelines(json.dumps(result) + '\n' for result in results)
  if arguments.smoke and any(result['status'] != 'done' for result in results):
    raise InputError('the benchmark does not work on this machine: the lines above say which step and why')


def _run(step: Step, left: float) -> dict[str, Any]:
  """What a step printed, in a process that cannot hold up the others."""
  command = [sys.executable, '-m', 'atvg_jax.cli', 'benchmark', *step.arguments]
  try:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=min(step.seconds, left))
  except subprocess.TimeoutExpired:
    return {'status': 'took too long'}
  if done.returncode:
    return {'status': 'failed', 'error': done.stderr[-500:]}
  rows = [line.rpartition('  ') for line in done.stdout.splitlines()]
  return {'status': 'done', 'figures': {name.strip(): value for name, _, value in rows if name}}


def compare(dtypes: Sequence[str]) -> None:
  """Draws a window of the packaged VG-net on both, and prints by how many grey levels the frames differ.

  Raises:
    InputError: by more than rounding explains.
  """
  bundle = weights.load_nets(None)[1]
  rng = np.random.default_rng(0)
  rest = face_alignment.normalise(face_alignment.TEMPLATE).astype(np.float32)
  image = rng.integers(0, 256, (1, features.IMAGE_SIZE, features.IMAGE_SIZE, 3), np.uint8)
  landmarks = rest + rng.normal(scale=0.05, size=(1, 8, len(rest))).astype(np.float32)
  with jax.default_device(jax.devices('cpu')[0]):
    true = next(streaming.VgStream(bundle, backend='cpu')(image, rest[None], [landmarks])).astype(int)
  for dtype in dtypes:
    with jax.default_matmul_precision('highest' if dtype == 'float32' else 'default'):
      ours = next(streaming.VgStream(bundle, dtype=dtype)(image, rest[None], [landmarks])).astype(int)
    difference = np.abs(ours - true)
    print(f'{dtype + ", largest difference in grey levels":<52}{difference.max():.2f}')
    print(f'{dtype + ", mean difference in grey levels":<52}{difference.mean():.4f}')
    if difference.max() > _AT_MOST[dtype]:
      raise InputError(f'{jax.devices()[0].device_kind} draws other frames in {dtype} than the processor')
