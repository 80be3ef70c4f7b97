"""Two processes train as one does, and eight devices as one; they go on where the other stopped, and stop together."""

import pathlib
import shutil
import socket
import subprocess

import numpy as np
import parallel_workers
import pytest

from atvg_jax.runtime import parallel

_MAPPINGS = ('pmap', 'shard_map')


def _free_port() -> str:
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return str(listener.getsockname()[1])


def _pair(folder: pathlib.Path, *arguments: str, last: tuple[str, ...] = ()) -> list[subprocess.Popen]:
  """Two processes of four devices each that share `folder`/shared; `last` are further arguments of the second."""
  common = ('--workdir', str(folder / 'shared'), '--count', '2', '--port', _free_port(), *arguments)
  return [
    parallel_workers.start(
      'at', '4', str(folder / f'{index}.npz'), '--index', str(index), *common, *(last if index else ())
    )
    for index in (0, 1)
  ]


def _one(folder: pathlib.Path, mapping: str = 'pmap') -> subprocess.Popen:
  """One process of eight devices, which ends in `folder`/one.npz."""
  return parallel_workers.start('at', '8', str(folder / 'one.npz'), '--mappings', mapping)


@pytest.fixture(scope='module')
def one(tmp_path_factory):
  """A folder with one.npz, of one process of eight devices."""
  folder = tmp_path_factory.mktemp('one')
  parallel_workers.finish(_one(folder))
  return folder


@pytest.fixture(scope='module')
def runs(one):
  """The same with pair/{0,1}.npz, of two processes of four devices."""
  (one / 'pair').mkdir()
  parallel_workers.finish(*_pair(one / 'pair'))
  return one


def test_eight_devices_and_one_train_alike(one, tmp_path):
  parallel_workers.finish(parallel_workers.start('at', '1', str(tmp_path / 'alone.npz')))
  parallel_workers.compare(one / 'one.npz', tmp_path / 'alone.npz')


def test_two_processes_and_one_train_alike(runs):
  parallel_workers.compare(runs / 'one.npz', runs / 'pair' / '0.npz')
  parallel_workers.compare(runs / 'pair' / '0.npz', runs / 'pair' / '1.npz', 0.0)
  assert sorted(path.name for path in (runs / 'pair' / 'shared' / 'checkpoints').iterdir()) == ['3', '5']
  assert [path.name for path in (runs / 'pair' / 'shared' / 'best').iterdir()] == ['5']


@pytest.mark.slow
def test_by_shard_map_they_train_as_by_pmap_to_the_bit(runs, tmp_path):
  (tmp_path / 'pair').mkdir()
  parallel_workers.finish(_one(tmp_path, 'shard_map'), *_pair(tmp_path / 'pair', '--mappings', 'shard_map'))
  for name in ('one.npz', 'pair/0.npz', 'pair/1.npz'):
    parallel_workers.compare(tmp_path / name, runs / name, 0.0)


def test_one_goes_on_where_two_stopped_and_two_where_one_did(runs, tmp_path):
  for source, name in ((runs / 'one', 'shared'), (runs / 'pair' / 'shared', 'two')):
    shutil.copytree(source, tmp_path / name)
    shutil.rmtree(tmp_path / name / 'checkpoints' / '5')
  parallel_workers.finish(parallel_workers.start('at', '8', str(tmp_path / 'two.npz')), *_pair(tmp_path))
  parallel_workers.compare(runs / 'one.npz', tmp_path / 'two.npz')
  parallel_workers.compare(runs / 'one.npz', tmp_path / '0.npz')


def test_a_notice_to_one_stops_both_after_the_same_step(tmp_path):
  steps = 10**6
  parallel_workers.finish(*_pair(tmp_path, '--steps', str(steps), last=('--terminate-at', '4')))
  with np.load(tmp_path / '0.npz') as first, np.load(tmp_path / '1.npz') as second:
    # The feed reads ahead: the notice comes while an earlier step is taken.
    assert first['interrupted'] and second['interrupted'] and 1 <= first['.step'] == second['.step'] < steps
    stopped = int(first['.step'])
  names = [int(path.name) for path in (tmp_path / 'shared' / 'checkpoints').iterdir()]
  assert max(names) == stopped


@pytest.mark.slow
@pytest.mark.parametrize('mapping', _MAPPINGS)
def test_one_that_comes_late_to_its_first_step_is_waited_for(mapping, monkeypatch):
  port = _free_port()
  monkeypatch.setenv(parallel.MAPPING, mapping)
  workers = [parallel_workers.start(str(i), port, program='late_worker.py') for i in (0, 1)]
  said = [worker.communicate(timeout=600)[0] for worker in workers]
  assert [worker.returncode for worker in workers] == [0, 0], said
  assert [text.split()[-1] for text in said] == ['6.0', '6.0']  # twice each of 1 and 2
