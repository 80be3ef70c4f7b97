"""Workers that fail, die or are many: every input has an outcome, and the others go on."""

import os

import pool_tasks
import pytest

from data_pipelines.conversion import worker_pool


@pytest.mark.parametrize('workers', [1, 2])
def test_every_input_has_one_outcome(tmp_path, workers):
  kinds = ['fine', 'raise', 'die', 'fine', 'die once', 'fine']
  tasks = [(kind, str(tmp_path / str(i))) for i, kind in enumerate(kinds)]
  outcomes = {outcome.index: outcome.error for outcome in worker_pool.run(pool_tasks.work, tasks, workers)}
  assert sorted(outcomes) == list(range(6))
  assert [outcomes[i] for i in (0, 3, 4, 5)] == [None] * 4
  assert outcomes[1].strip().endswith('ValueError: a bad clip')
  assert outcomes[2] == 'the worker process died (exit code 3)'
  assert [len((tmp_path / str(i)).read_text().split()) for i in (2, 4)] == [2, 2]  # each got a second try
  pids = {pid for path in tmp_path.iterdir() for pid in path.read_text().split()}
  assert not any(os.path.exists(f'/proc/{pid}') for pid in pids)


def test_no_input_starts_no_worker():
  assert list(worker_pool.run(pool_tasks.work, [], 2)) == []


def test_workers_import_neither_tensorflow_nor_jax_and_compute_on_one_thread(tmp_path):
  (outcome,) = worker_pool.run(pool_tasks.note_modules, [str(tmp_path / 'modules')], 1)
  assert outcome.error is None
  modules = (tmp_path / 'modules').read_text().splitlines()
  assert 'data_pipelines.faces.face_landmarker' in modules and 'threads 1' in modules
  assert not {'tensorflow', 'tensorflow_datasets', 'jax'} & set(modules)
