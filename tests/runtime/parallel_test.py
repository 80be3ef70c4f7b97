"""The same global batch gives the same training, however many devices share it."""

import jax
import numpy as np
import pytest
from parallel_workers import compare, finish, start

from atvg_jax.runtime import parallel
from data_pipelines.errors import InputError


@pytest.mark.slow  # over a minute of compiling; AT-net's is in multiprocess_test
def test_on_eight_devices_vg_net_trains_as_on_one(tmp_path):
  files = [tmp_path / f'{devices}.npz' for devices in (1, 8)]
  finish(*[start('vg', file.stem, str(file)) for file in files])
  compare(*files, 2e-5)  # sums in another order: 1.04e-5 in JAX 0.12


@pytest.mark.slow  # the same
def test_vg_net_trains_by_shard_map_as_by_pmap_to_the_bit(tmp_path):
  finish(start('vg', '8', str(tmp_path / '{mapping}.npz'), '--mappings', 'pmap,shard_map'))
  compare(tmp_path / 'pmap.npz', tmp_path / 'shard_map.npz', 0.0)


@pytest.mark.parametrize('mapping', ['pmap', 'shard_map'])
def test_every_device_gets_its_part_by_either_mapping(mapping, monkeypatch):
  monkeypatch.setenv(parallel.MAPPING, mapping)
  clips = np.arange(4 * jax.local_device_count(), dtype=np.float32).reshape(-1, 2)
  total = parallel.pmap_eval_step(lambda factor, batch: jax.lax.psum(factor * batch['x'].sum(axis=0), parallel.AXIS))
  made = total(np.float32(2), parallel.shard_batch({'x': clips}))
  np.testing.assert_array_equal(np.asarray(made), 2 * clips.sum(axis=0))


def test_an_unknown_mapping_is_refused(monkeypatch):
  monkeypatch.setenv(parallel.MAPPING, 'vmap')
  with pytest.raises(InputError, match='ATVG_MAPPING=vmap .* none of pmap, shard_map'):
    parallel.pmap_eval_step(lambda state, batch: batch)


def test_batches_are_cut_into_one_part_a_device():
  batch = {'x': np.arange(12, dtype=np.float32).reshape(4, 3)}
  placed = parallel.shard_batch(batch)['x']
  assert placed.shape == (jax.local_device_count(), 4 // jax.local_device_count(), 3)
  np.testing.assert_array_equal(np.asarray(placed).reshape(4, 3), batch['x'])


@pytest.mark.parametrize(
  'environment, several',
  [
    ({}, False),
    ({'JAX_COORDINATOR_ADDRESS': 'host:1234'}, True),
    ({'TPU_WORKER_HOSTNAMES': 'localhost'}, False),
    ({'TPU_WORKER_HOSTNAMES': 't0,t1'}, True),
    ({'SLURM_NTASKS': '4', 'SLURM_JOB_ID': '1'}, False),  # the batch script itself, before srun
    ({'SLURM_NTASKS': '4', 'SLURM_STEP_NODELIST': 'n[0-3]'}, True),
    ({'SLURM_NTASKS': '1', 'SLURM_STEP_NODELIST': 'n0'}, False),
  ],
)
def test_company_is_seen_in_the_environment(environment, several):
  assert parallel.is_distributed(environment) == several


def test_half_an_address_is_refused(monkeypatch):
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', 'localhost:1')
  monkeypatch.delenv('JAX_NUM_PROCESSES', raising=False)
  with pytest.raises(InputError, match='set all three'):
    parallel.initialize()


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: 3)
  with pytest.raises(InputError, match='multiple of 3'):
    parallel.per_process(16)
  with pytest.raises(InputError, match=r'in 4 parts \(accumulate\): use a multiple of 12'):
    parallel.per_process(18, 4)


def test_host_copies_outlive_the_state():
  tree = parallel.replicate({'x': np.ones(3, np.float32)})
  copy = parallel.to_host(tree)['x']
  jax.block_until_ready(jax.jit(lambda tree: {'x': tree['x'] + 1}, donate_argnums=0)(tree))
  np.testing.assert_array_equal(copy, 1)


def test_the_compilation_cache_is_the_users_unless_told_otherwise(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
  previous = jax.config.jax_compilation_cache_dir
  seconds = jax.config.jax_persistent_cache_min_compile_time_secs
  try:
    jax.config.update('jax_compilation_cache_dir', None)
    parallel.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == '/somewhere/atvg_jax'
    jax.config.update('jax_compilation_cache_dir', '/elsewhere')
    parallel.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == '/elsewhere'
  finally:
    jax.config.update('jax_compilation_cache_dir', previous)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', seconds)
