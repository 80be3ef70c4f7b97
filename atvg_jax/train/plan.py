"""`atvg plan`: the memory and the roofline of a training step on a TPU slice, without the TPU.

The real step is compiled for the slice's topology by the compiler of the extra `tpu`. Memory, bytes accessed and
collectives are those of the compiled program, operations those of the jaxpr.
"""

import importlib.metadata
import math
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from atvg_jax import landmarks as lm
from atvg_jax.runtime import flops, parallel, rng
from atvg_jax.runtime.parallel import AXIS
from atvg_jax.train import command_flags, feed
from atvg_jax.train.tasks import make_task
from data_pipelines import features
from data_pipelines.errors import InputError, extra_command

_GIB = 2**30


class Chip(NamedTuple):
  """One chip: peak bfloat16 operations/s, memory that a program can have [bytes], memory and network bandwidth [B/s].

  float32 products run at the same rate: by default they are rounded to bfloat16 on their way into the matrix units.
  """

  peak: float
  memory: float
  bandwidth: float
  network: float


# Peaks, bandwidths and links (all of them, one way) are those of cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}; memory is
# what the compiler lets a program use of the chip's 32, 16, 95 and 32 GiB.
CHIPS = {
  'v4': Chip(275e12, 30.5 * _GIB, 1228e9, 300e9),
  'v5e': Chip(197e12, 15.75 * _GIB, 819e9, 200e9),
  'v5p': Chip(459e12, 95.74 * _GIB, 2765e9, 600e9),
  'v6e': Chip(918e12, 31.25 * _GIB, 1640e9, 400e9),
}


class Program(NamedTuple):
  """A compiled step of one device.

  Attributes:
    clips: of a device.
    arguments: bytes of state and batch.
    temporaries: bytes.
    code: bytes.
    operations: floating-point operations.
    accessed: bytes read and written.
    collective: bytes of collectives' results.
    seconds: that compiling took.
  """

  clips: int
  arguments: int
  temporaries: int
  code: int
  operations: float
  accessed: float
  collective: float
  seconds: float

  @property
  def memory(self) -> int:
    """Bytes that it needs at once. The new state takes the place of the old one, which is donated."""
    return self.arguments + self.temporaries + self.code


class Slice:
  """A TPU slice to compile for; none is needed."""

  def __init__(self, topology: str):
    """Describes a slice.

    Args:
      topology: chip and shape, such as 'v5e:4x4'.

    Raises:
      InputError: where there is no such slice, or no compiler for TPUs.
    """
    kind, _, shape = topology.partition(':')
    if kind not in CHIPS or not re.fullmatch(r'\d+(x\d+)+', shape):
      raise InputError(f'--topology={topology} is no slice: use a chip ({", ".join(CHIPS)}) and a shape, as v5e:4x4')
    # The compiler would ask a TPU for these settings, and there is none. The last lets two processes use the compiler,
    # as `compile_apart` does.
    for name, value in (
      ('TPU_SKIP_MDS_QUERY', '1'),
      ('TPU_ACCELERATOR_TYPE', 'v5litepod-4'),
      ('TPU_WORKER_HOSTNAMES', 'localhost'),
      ('ALLOW_MULTIPLE_LIBTPU_LOAD', '1'),
    ):
      os.environ.setdefault(name, value)
    from jax.experimental import topologies

    try:
      self.devices = topologies.get_topology_desc(platform='tpu', topology_name=topology).devices
    except Exception as error:  # of many kinds, where libtpu is missing or refuses
      reason = str(error).strip().splitlines()[0]
      raise InputError(
        f'no compiler for --topology={topology} ({reason}): is the extra installed ({extra_command("tpu")}), and is '
        'that a slice that can be had?'
      ) from error
    self.name = topology
    # On v4, each of a chip's two cores is a device here.
    share = math.prod(map(int, shape.split('x'))) / len(self.devices)
    self.chip = Chip(*(share * value for value in CHIPS[kind]))

  def compile(self, config: Any, clips: int) -> Program | None:
    """Compiles the config's training step for so many clips a device → None where it does not fit into memory."""
    task = make_task(config, _any_basis(config))
    state = jax.eval_shape(task.init, rng.stream_key(config.seed, 'init'))
    batch = feed.batch_shapes(config, clips)
    operations = flops.count(task.train_step, state, batch, axis_sizes=((AXIS, len(self.devices)),), platform='tpu')
    sharded = {name: jax.ShapeDtypeStruct((len(self.devices), *spec.shape), spec.dtype) for name, spec in batch.items()}
    return self.compiled(parallel.pmap_train_step(task.train_step, self.devices), (state, sharded), clips, operations)

  def compiled(self, function: Any, arguments: Sequence[Any], clips: int, operations: float) -> Program | None:
    """What a program needs; None where it does not fit into memory.

    Args:
      function: with `lower`, as of `jax.jit` or `jax.pmap`, for the devices of the slice.
      arguments: their shapes.
      clips: of a device.
      operations: of a device.
    """
    start = time.perf_counter()
    try:
      compiled = function.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' in str(error):
        return None
      raise
    memory: Any = compiled.memory_analysis()
    costs: Any = compiled.cost_analysis()
    return Program(
      clips,
      memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes,
      memory.temp_size_in_bytes,
      memory.generated_code_size_in_bytes,
      operations,
      costs['bytes accessed'],
      collective_bytes(compiled.as_text() or ''),
      time.perf_counter() - start,
    )

  def times(self, program: Program) -> dict[str, float]:
    """Seconds of a step by each of three limits alone; the roofline is the longest."""
    share = 2 * (len(self.devices) - 1) / len(self.devices)  # of an all-reduce's bytes pass each device's links
    return {
      'compute': program.operations / self.chip.peak,
      'memory': program.accessed / self.chip.bandwidth,
      'network': share * program.collective / self.chip.network,
    }


def compile_apart(where: Slice, config: Any, clips: int) -> Program | None:
  """`Slice.compile` in a process of its own; see `apart`."""
  return apart(_compile, where, config, clips)


def apart(compile_there: Callable[[str, Any, int], Program | None], where: Slice, config: Any, clips: int) -> Any:
  """`compile_there(topology, config, clips)` in a process of its own, which a crash of the compiler ends instead.

  Raises:
    InputError: the compiler crashed; names its log file.
  """
  handle, log = tempfile.mkstemp(prefix='atvg_plan_', suffix='.log')
  os.close(handle)
  with futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), _write_errors_to, (log,)) as pool:
    try:
      program = pool.submit(compile_there, where.name, config, clips).result()
    except futures.process.BrokenProcessPool as error:
      raise InputError(
        f'the compiler of libtpu {importlib.metadata.version("libtpu")} crashed at {clips} clips a device '
        f'on {where.name} (its log is {log}): try other --clips, --config.dtype=bfloat16 or '
        'another version of libtpu'
      ) from error
  os.remove(log)
  return program


def _write_errors_to(path: str) -> None:
  with open(path, 'a', encoding='utf-8') as file:
    os.dup2(file.fileno(), 2)


def _compile(topology: str, config: Any, clips: int) -> Program | None:
  jax.config.update('jax_platforms', 'cpu')
  return Slice(topology).compile(config, clips)


def _any_basis(config: Any) -> lm.LandmarkBasis:
  """A basis of the right size; its values do not change the program's cost."""
  count = config.landmarks.num_components
  point = np.zeros(features.LANDMARK_SIZE, np.float32)
  return lm.LandmarkBasis(
    point,
    np.zeros((count, features.LANDMARK_SIZE), np.float32),
    np.float32(1),
    point,
    np.float32(0),
    np.zeros(count, np.float32),
  )


def collective_bytes(text: str) -> float:
  """Bytes of the results of a compiled program's collectives, by its HLO text."""
  names = r'(?:all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?'
  found = re.findall(rf'= (.+?) {names}\(', text)
  return float(
    sum(
      _bytes(dtype) * math.prod(map(int, filter(None, shape.split(','))))
      for result in found
      for dtype, shape in re.findall(r'\b([a-z]+\d+)\[([\d,]*)\]', result)
    )
  )


def _bytes(dtype: str) -> int:
  """Of a number of a type of HLO, such as 'bf16' or 's4'."""
  return max(1, int(re.sub(r'\D', '', dtype)) // 8)


def largest_batch(first: Program, second: Program, memory: float) -> int:
  """Clips a device that fit into a memory [bytes], by the straight line through two programs' memory."""
  a_clip = (first.memory - second.memory) / (first.clips - second.clips)
  return first.clips + math.floor((memory - first.memory) / a_clip)


def search_largest(fits: Callable[[int], bool], low: int, high: int) -> int:
  """The largest number for which `fits` is true; it is for `low`, and `high` is a first guess."""
  while fits(high):
    low, high = high, 2 * high
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
  return low


def report(where: Slice, program: Program, window: int) -> str:
  """A text of a compiled step's needs and limits, a line each; `window` are the frames of a clip."""
  times = where.times(program)
  step = max(times.values())
  binds = max(times, key=times.__getitem__)
  count, memory = len(where.devices), where.chip.memory
  rows = [
    ('batch', f'{program.clips} clips of {window} frames a device, {program.clips * count} on {count} devices'),
    ('memory', f'{program.memory / _GIB:.2f} GiB of {memory / _GIB:.2f} GiB a device'),
    ('  arguments', f'{program.arguments / _GIB:.2f} GiB (state and batch)'),
    ('  temporaries', f'{program.temporaries / _GIB:.2f} GiB'),
    ('  code', f'{program.code / _GIB:.2f} GiB'),
    ('operations', f'{program.operations / 1e12:.2f} TFLOP a device: {times["compute"] * 1e3:.2f} ms at peak'),
    ('memory traffic', f'{program.accessed / 1e9:.2f} GB a device: {times["memory"] * 1e3:.2f} ms'),
    ('collectives', f'{program.collective / 1e9:.3f} GB: {times["network"] * 1e3:.2f} ms'),
    (
      'roofline',
      f'{step * 1e3:.2f} ms a step, bound by {binds}: at most {program.clips * count * window / step:,.0f} frames/s',
    ),
    ('compiled in', f'{program.seconds:.0f} s'),
  ]
  return '\n'.join(f'{name:<16}{text}' for name, text in rows)


def run(argv: list[str]) -> None:
  """The command `atvg plan`."""

  def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
      'topology', None, 'the slice, such as v5e:2x2, v5e:4x4, v6e:2x4 or v5p:2x2x2', flag_values=values
    )
    flags.DEFINE_integer('clips', None, 'clips a device (default: data.batch_size shared out)', flag_values=values)
    flags.DEFINE_boolean(
      'largest', True, 'whether to estimate the largest batch that fits, from a second compilation', flag_values=values
    )
    flags.DEFINE_boolean('search', False, 'find the largest batch by compiling, in minutes each', flag_values=values)

  values = command_flags.parse_flags('plan', argv, define, {'topology': 'v5e:4x4'})
  jax.config.update('jax_platforms', 'cpu')  # no accelerator of this machine is needed
  config, where = values.config, Slice(values.topology)
  clips = values.clips or max(1, config.data.batch_size // len(where.devices))
  print(f'{where.name}: compiling the step of {clips} clips a device takes minutes', flush=True)
  program = _first_that_fits(where, config, clips)
  print(report(where, program, config.data.window), flush=True)
  if values.largest or values.search:
    _print_largest(where, config, program, search=values.search)


def _first_that_fits(where: Slice, config: Any, clips: int) -> Program:
  """The step with so many clips a device, or half as many, until it fits; raises InputError where one clip does not."""
  program = compile_apart(where, config, clips)
  while program is None:
    print(f'{clips} clips a device do not fit into {where.chip.memory / _GIB:.2f} GiB', flush=True)
    if clips == 1:
      raise InputError(
        f'not even one clip fits on {where.name}: use --config.remat=True, --config.dtype=bfloat16 or a '
        'shorter data.window'
      )
    clips //= 2
    program = compile_apart(where, config, clips)
  return program


def _print_largest(where: Slice, config: Any, program: Program, *, search: bool) -> None:
  """Prints the largest batch, by a second compilation and, with `search`, by as many as that takes."""
  clips = program.clips
  # Twice the clips: with fewer than the first number, memory may not be filled by the clips.
  other = compile_apart(where, config, 2 * clips)
  if other is None:
    low, guess = clips, 2 * clips - 1
    print(f'largest batch   less than {2 * clips} clips a device', flush=True)
  else:
    low, guess = 2 * clips, largest_batch(program, other, where.chip.memory)
    print(f'largest batch   {guess} clips a device, by a straight line through {clips} and {low}', flush=True)
  if search:
    found = search_largest(lambda count: compile_apart(where, config, count) is not None, low, max(guess, low + 1))
    print(f'largest batch   {found} clips a device, compiled')
