"""Training of VG-net: frames a second, and the share of the machine's matrix-product rate."""

import argparse

import jax

from atvg_jax.benchmarks import scaling, train_steps
from atvg_jax.runtime import parallel
from data_pipelines.errors import InputError


def run(argv: list[str]) -> None:
  """Runs some steps on noise, or on converted clips, and prints a table.

  Raises:
    InputError: bad options or data.
  """
  parser = argparse.ArgumentParser(prog='atvg benchmark train', description=__doc__)
  parser.add_argument(
    '--config',
    default='vg_grid',
    help='name of a config of VG-net in configs/ (default: vg_grid, '
    'which has the published widths and the discriminator); vg_grid:smoke is tiny',
  )
  parser.add_argument('--data', nargs='+', metavar='DIR', help='folders that prepare wrote (default: noise)')
  parser.add_argument('--batch-size', type=int, help='clips of a step')
  parser.add_argument('--window', type=int, help='frames of a clip')
  parser.add_argument('--dtype', choices=('float32', 'bfloat16'))
  parser.add_argument('--steps', type=int, default=3, help='steps to measure, after one that compiles (default: 3)')
  devices = parser.add_mutually_exclusive_group()
  devices.add_argument('--devices', type=int, help='simulate so many devices on CPUs')
  devices.add_argument('--scaling', metavar='N,N,...', help='compare such numbers of simulated devices')
  arguments = parser.parse_args(argv)
  if arguments.steps < 1:
    raise InputError('--steps must be 1 or more')
  if arguments.scaling:
    scaling.run(arguments)
    return
  if arguments.devices:
    jax.config.update('jax_num_cpu_devices', arguments.devices)
  parallel.use_compilation_cache()
  for name, value in train_steps.measure(train_steps.make_config(arguments), arguments.steps).items():
    print(f'{name:<44}{value:,.3f}')
