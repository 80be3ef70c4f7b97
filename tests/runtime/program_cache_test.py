"""A program is traced once for its code and its arguments, and never again; a damaged file is traced anew."""

import jax
import numpy as np
import pytest

from atvg_jax.runtime import program_cache


@pytest.fixture
def folder(tmp_path):
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'cache'))
  yield tmp_path / 'cache'
  jax.config.update('jax_compilation_cache_dir', before)


def _traced(*about, size=3):
  """How often a function is traced that is called twice."""
  calls = []

  def function(numbers, factor):
    calls.append(factor)
    return {'sum': (numbers['a'] + factor * numbers['b']).sum(axis=0), 'none': None}

  numbers = {'a': np.arange(2 * size, dtype=np.float32).reshape(2, size), 'b': np.ones((2, size), np.float32)}
  program = program_cache.Program(function, *about)
  answers = [program(numbers, np.float32(2)), program(numbers, np.float32(5))]
  np.testing.assert_array_equal(answers[0]['sum'], numbers['a'].sum(axis=0) + 4)
  np.testing.assert_array_equal(answers[1]['sum'], numbers['a'].sum(axis=0) + 10)
  assert answers[0]['none'] is None and len(program.loaded) == 1
  return len(calls)


def test_what_was_traced_is_found_again(folder):
  assert _traced('net') == 1
  assert len(list(folder.glob('program-*'))) == 1
  assert _traced('net') == 0


@pytest.mark.parametrize('change', ['about', 'shapes', 'code', 'precision'])
def test_what_is_another_program_is_traced(folder, monkeypatch, change):
  _traced('net')
  if change == 'code':
    monkeypatch.setattr(program_cache, '_code', lambda: 'changed')
  with jax.default_matmul_precision('highest' if change == 'precision' else None):
    again = _traced('other' if change == 'about' else 'net', size=4 if change == 'shapes' else 3)
  assert again == 1 and len(list(folder.glob('program-*'))) == 2


@pytest.mark.parametrize(
  'damage', [lambda content: content[:-9], lambda content: b'', lambda content: content[:-1] + b'?']
)
def test_half_a_file_is_made_anew(folder, damage):
  _traced('net')
  (path,) = folder.glob('program-*')
  whole = path.read_bytes()
  path.write_bytes(damage(whole))
  assert _traced('net') == 1
  assert _traced('net') == 0 and not list(folder.glob('*.partial'))


def test_without_a_folder_nothing_is_kept(folder):
  folder.write_text('a file where the folder should be')
  assert [_traced('net') for _ in range(2)] == [1, 1]
  jax.config.update('jax_compilation_cache_dir', None)
  assert [_traced('net') for _ in range(2)] == [1, 1]


def test_what_has_no_text_runs_all_the_same(folder):
  program = program_cache.Program(lambda x: jax.pure_callback(lambda x: x + 1, x, x, vmap_method='sequential'))
  assert program(np.float32(1)) == 2
  assert not list(folder.glob('program-*'))


def test_the_code_that_counts_is_both_packages(monkeypatch, tmp_path):
  for package in ('atvg_jax', 'data_pipelines'):
    (tmp_path / package).mkdir()
    (tmp_path / package / 'net.py').write_text('x = 1')
  monkeypatch.setattr(program_cache.importlib.resources, 'files', lambda package: tmp_path / package)
  digests = [program_cache._code.__wrapped__()]
  for package, content in (('data_pipelines', 'x = 2'), ('atvg_jax', 'x = 3')):
    (tmp_path / package / 'net.py').write_text(content)
    digests.append(program_cache._code.__wrapped__())
  (tmp_path / 'atvg_jax' / 'net.npz').write_text('weights are arguments')
  assert len(set(digests)) == 3 and program_cache._code.__wrapped__() == digests[-1]
