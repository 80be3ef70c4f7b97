"""Data parallelism: one device's program on many devices. The only module that uses `pmap`, meshes and processes.

Every process (host) drives its local devices. A batch is cut into equal parts, one for each device; the train state is
replicated. A step function is written for one device and the axis `AXIS`.

By default `jax.pmap` maps it over the devices. ATVG_MAPPING=shard_map in the environment takes `jax.jit` of
`jax.shard_map` instead, with equal bits: on the day that JAX drops `pmap`, this default changes and nothing else.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax, stages
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from atvg_jax.runtime import flops
from data_pipelines.errors import InputError

AXIS = 'batch'  # of the devices, in step functions
MAPPING = 'ATVG_MAPPING'  # environment variable: one of _MAPPINGS
_MAPPINGS = ('pmap', 'shard_map')


def initialize(*, distributed: bool | None = None) -> None:
  """Joins the other processes, and turns on the compilation cache.

  Args:
    distributed: whether this process is one of several; None decides by `is_distributed`. Address, count and index
      come from the environment: JAX knows TPU pods (and TPUs in Kubernetes), Slurm and Open MPI; elsewhere (a
      Kubernetes JobSet of GPUs) set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

  Raises:
    InputError: if the other processes cannot be found by the environment.
  """
  use_compilation_cache()
  if distributed is None:
    distributed = is_distributed(os.environ)
  if not distributed or jax.distributed.is_initialized():
    return
  names = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')
  address, count, index = (os.environ.get(name, '') for name in names)
  if address and not (count.isdigit() and index.isdigit()):
    raise InputError('JAX_COORDINATOR_ADDRESS is set, but JAX_NUM_PROCESSES or JAX_PROCESS_ID is not: set all three')
  try:
    if address:
      jax.distributed.initialize(address, int(count), int(index))
    else:
      jax.distributed.initialize()
  except (ValueError, RuntimeError) as error:
    raise InputError(
      f'the other processes cannot be found ({str(error).splitlines()[0]}): start on a TPU pod or by '
      f'srun, or set {", ".join(names)}'
    ) from error
  if jax.process_count() > 1:
    # The first sum over all devices opens the processes' connections, and on CPUs who waits there gives up after half a
    # minute. So they meet now, and not in the first step, which one may have compiled much sooner than another.
    meet = _mapped(lambda x: lax.psum(x, AXIS), in_axes=(0,))
    jax.block_until_ready(meet(np.ones(jax.local_device_count(), np.float32)))


def place_among_processes() -> tuple[int, int]:
  """Which process this is, counted from 1, and of how many; all must call it.

  They part again at once: whoever works alone should not end when another process does, as JAX has it.

  Raises:
    InputError: if the other processes cannot be found by the environment.
  """
  initialize(distributed=True)
  place = jax.process_index() + 1, jax.process_count()
  jax.distributed.shutdown()
  return place


def is_distributed(environment: Mapping[str, str]) -> bool:
  """Whether an environment is that of one of several processes of a run.

  It is where JAX_COORDINATOR_ADDRESS is set, on a TPU pod of several hosts, and in a Slurm job of several tasks.
  """
  return (
    'JAX_COORDINATOR_ADDRESS' in environment
    or len(environment.get('TPU_WORKER_HOSTNAMES', '').split(',')) > 1
    or (int(environment.get('SLURM_NTASKS', '1')) > 1 and 'SLURM_STEP_NODELIST' in environment)
  )


def use_compilation_cache() -> None:
  """Has JAX keep compiled programs in ~/.cache/atvg_jax, or in JAX_COMPILATION_CACHE_DIR where that is set."""
  if not setting('jax_compilation_cache_dir'):
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    jax.config.update('jax_compilation_cache_dir', os.path.join(base, 'atvg_jax'))
  # All of them: whether a program is kept must not depend on how busy the machine was when it was compiled.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)


def setting(name: str) -> Any:
  """The value of one of JAX's settings, which its own type annotations do not list."""
  return getattr(jax.config, name)


def per_process(batch_size: int, parts: int = 1) -> int:
  """This process' share of a global batch [clips].

  Raises:
    InputError: where the batch cannot be cut into `parts` equal parts on every device.
  """
  if batch_size % (jax.device_count() * parts):
    accumulate = f', each in {parts} parts (accumulate)' if parts > 1 else ''
    raise InputError(
      f'a batch_size of {batch_size} cannot be divided among {jax.device_count()} devices{accumulate}: '
      f'use a multiple of {jax.device_count() * parts}'
    )
  return batch_size // jax.process_count()


@functools.cache
def _local_mesh() -> Mesh:
  return Mesh(np.array(jax.local_devices()), (AXIS,))


def replicate(tree: Any) -> Any:
  """The tree's arrays on every local device."""
  return jax.device_put(tree, NamedSharding(_local_mesh(), PartitionSpec()))


def shard_batch(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
  """This process' batch [B, ...] → [local devices, B / local devices, ...], each part on its device."""
  parts = jax.local_device_count()
  cut = {name: array.reshape((parts, array.shape[0] // parts, *array.shape[1:])) for name, array in batch.items()}
  return jax.device_put(cut, NamedSharding(_local_mesh(), PartitionSpec(AXIS)))


def pmap_train_step(step: Callable[..., Any], devices: Sequence[Any] | None = None) -> stages.Wrapped:
  """(state, sharded batch) → (state, metrics), both replicated. The state passed in is donated.

  Args:
    step: written for one device and `AXIS`.
    devices: by default all devices of all processes.
  """
  return _mapped(step, in_axes=(None, 0), donate_argnums=(0,), devices=devices)


def pmap_eval_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """(state, sharded batch) → replicated sums and counts."""
  return _mapped(step, in_axes=(None, 0))


def _mapped(
  function: Callable[..., Any],
  *,
  in_axes: tuple[int | None, ...],
  donate_argnums: tuple[int, ...] = (),
  devices: Sequence[Any] | None = None,
) -> stages.Wrapped:
  """A function of one device and `AXIS` on all devices, by the mapping that the environment names.

  Args:
    function: takes one device's part, and returns the same on all of them.
    in_axes: for each argument, 0: a leading axis of devices; None: the same on all of them.
    donate_argnums: arguments whose memory is given away.
    devices: by default all devices of all processes.

  Raises:
    InputError: the environment names no mapping.
  """
  mapping = os.environ.get(MAPPING, _MAPPINGS[0])
  if mapping not in _MAPPINGS:
    raise InputError(f'{MAPPING}={mapping} in the environment is none of {", ".join(_MAPPINGS)}')
  if mapping == 'pmap':
    return jax.pmap(
      function, axis_name=AXIS, in_axes=in_axes, out_axes=None, donate_argnums=donate_argnums, devices=devices
    )
  mesh = Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))
  specs = [PartitionSpec() if axis is None else PartitionSpec(AXIS) for axis in (*in_axes, None)]

  def part(*arguments: Any) -> Any:
    # A device's part has a leading axis of length 1, which `pmap` takes away.
    cut = [tree if axis is None else jax.tree.map(lambda x: x[0], tree) for tree, axis in zip(arguments, in_axes)]
    return function(*cut)

  placed = [NamedSharding(mesh, spec) for spec in specs]
  program = jax.jit(
    # As in `pmap`, nothing checks that results without an axis are equal on all devices: see `assert_replicated`.
    jax.shard_map(part, mesh=mesh, in_specs=tuple(specs[:-1]), out_specs=specs[-1], check_vma=False),
    in_shardings=tuple(placed[:-1]),
    out_shardings=placed[-1],
    donate_argnums=donate_argnums,
  )
  return program if devices is not None or jax.process_count() == 1 else _of_local_arrays(program, mesh, specs)


def _of_local_arrays(program: stages.Wrapped, mesh: Mesh, specs: Sequence[PartitionSpec]) -> Any:
  """A program of arrays on all processes' devices for arrays on this process', which is what `pmap` takes and gives."""

  def run(*arguments: Any) -> Any:
    joined = [
      multihost_utils.host_local_array_to_global_array(tree, mesh, spec) for tree, spec in zip(arguments, specs)
    ]
    return multihost_utils.global_array_to_host_local_array(program(*joined), mesh, specs[-1])

  return run


def operations(step: Callable[..., Any], state: Any, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> float:
  """Floating-point operations of one device in a step on a global batch of these shapes, see `flops.count`."""
  part = {
    name: jax.ShapeDtypeStruct((spec.shape[0] // jax.device_count(), *spec.shape[1:]), spec.dtype)
    for name, spec in shapes.items()
  }
  return flops.count(step, state, part, axis_sizes=((AXIS, jax.device_count()),))


def cut_lanes(tree: Any) -> Any:
  """Arrays [local devices x B, ...] on the local devices, each with its B rows."""
  return jax.device_put(tree, NamedSharding(_local_mesh(), PartitionSpec(AXIS)))


def on_lanes(
  function: Callable[..., Any], num_lanes: int, donate: Sequence[int] = (), devices: Sequence[Any] | None = None
) -> stages.Wrapped:
  """One device's program for all local devices.

  Args:
    function: (parameters, `num_lanes` trees of arrays [B, ...]) → trees of arrays [B, ...].
    num_lanes: of trees.
    donate: positions of trees whose memory the results take.
    devices: by default the local ones.

  Returns:
    (replicated parameters, trees of `cut_lanes`) → the function's results, likewise cut.
  """
  cut = PartitionSpec(AXIS)
  spread = jax.shard_map(
    function,
    mesh=_local_mesh() if devices is None else Mesh(np.array(devices), (AXIS,)),
    in_specs=(PartitionSpec(), *(cut,) * num_lanes),
    out_specs=cut,
    check_vma=False,
  )
  return jax.jit(spread, donate_argnums=tuple(donate))


def to_host(tree: Any) -> Any:
  """Copies of a replicated tree's arrays in NumPy, which stay valid when the tree is donated."""
  return jax.tree.map(lambda array: np.array(array.addressable_data(0)), tree)


def is_main_process() -> bool:
  """Whether this process writes logs and pictures."""
  return jax.process_index() == 0


def any_process(flag: bool) -> bool:
  """Whether the flag is true on any process; all processes must call it."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.array(flag)).any())


def watches_preemption() -> bool:
  """Whether JAX's preemption service listens for SIGTERM: it does in runs of several processes."""
  return jax.process_count() > 1


def preempted(step: int) -> bool:
  """Whether a process is being preempted and all stop after this step; all processes must call it after every step."""
  return multihost_utils.reached_preemption_sync_point(step)


def assert_replicated(tree: Any) -> None:
  """Raises AssertionError naming the first array that differs between local devices or processes.

  `pmap` does not check that outputs with `out_axes=None` are equal on all devices; a forgotten `pmean` shows here.
  """
  for path, array in jax.tree_util.tree_leaves_with_path(tree):
    copies = [np.asarray(shard.data) for shard in array.addressable_shards]
    name = jax.tree_util.keystr(path)
    if any(not np.array_equal(copies[0], copy, equal_nan=True) for copy in copies[1:]):
      raise AssertionError(f'{name} differs between local devices')
    if jax.process_count() > 1:
      multihost_utils.assert_equal(copies[0], f'{name} differs between processes')
