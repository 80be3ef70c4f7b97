"""The benchmarks of generation and training run on tiny nets and count what they should."""

import sys
import time
import types

import jax
import pytest
import random_nets
import synthetic

from atvg_jax import benchmarks
from atvg_jax.benchmarks import generate_benchmark, torch_benchmark, train_steps
from atvg_jax.train import tasks
from data_pipelines.errors import InputError


def _shapes(config):
  task = tasks.make_task(config, None)
  return jax.eval_shape(task.init, jax.random.key(0))


def test_published_size_is_8_gflop_a_frame_and_7_without_memory():
  config = synthetic.config('vg_grid', '', data__image_size=128).copy_and_resolve_references().unlock()
  state = _shapes(config)
  assert generate_benchmark.operations(config, state.g_params) / 1e9 == pytest.approx(8.0, abs=0.05)
  config.model.recurrence = 'batch'
  assert generate_benchmark.operations(config, state.g_params) / 1e9 == pytest.approx(7.1, abs=0.05)


def test_a_step_counts_its_passes():
  config = synthetic.config('vg_grid', '', data__image_size=128, data__batch_size=2)
  state = _shapes(config)
  frame = generate_benchmark.operations(config, state.g_params)
  passes = train_steps.operations(config, state) / 32 - 4 * frame  # what is D's
  assert passes / 8 / 1e9 == pytest.approx(0.51, abs=0.02)  # 3x3x64x128 and so on at 64² to 8² cells, and the head


def test_drawing_is_measured():
  table = generate_benchmark.measure(random_nets.bundle('vg'), window=2, windows=2)
  assert table['frames/s'] > 0
  assert table['effective rate / matmul rate'] == pytest.approx(table['effective GFLOP/s'] / table['matmul, GFLOP/s'])


def test_training_is_measured():
  table = train_steps.measure(synthetic.config('release_vg', data__dirs=()), 1)
  assert table['frames/s'] == pytest.approx(10 / table['step, s'])
  assert 0 <= table['waiting for data, %'] <= 100


def test_two_sides_are_measured_in_turn():
  played = []

  def side(name, seconds):
    def play():
      played.append(name)
      time.sleep(seconds)

    return play

  table = torch_benchmark.compare(side('theirs', 0.06), side('ours', 0.02), 2)
  assert played == ['theirs', 'ours'] * 3  # the first pair warms up
  assert table['PyTorch, s'] >= 0.06 and table['atvg_jax, s'] >= 0.02
  ratios = [table[f'PyTorch / atvg_jax, {name}'] for name in ('least', 'median of pairs', 'most')]
  assert ratios == sorted(ratios) and ratios[0] > 1


def test_what_pytorch_is_compared_by_is_told_where_it_is_missing(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'torch', None)  # as if it were not installed
  with pytest.raises(InputError, match=r'pip install -e "\.\[torch\]"'):
    benchmarks.run(['torch'])
  monkeypatch.setitem(sys.modules, 'torch', types.ModuleType('torch'))
  monkeypatch.setattr(torch_benchmark, '_NETS', tmp_path / 'torch_nets.py')
  with pytest.raises(InputError, match='only a checkout'):
    benchmarks.run(['torch'])


@pytest.mark.slow  # a minute of compiling, and 8 GB
def test_the_published_step_is_quicker_than_pytorchs(capsys):
  pytest.importorskip('torch')
  benchmarks.run(['torch', '--pairs', '1'])
  table = {name.strip(): float(value) for name, _, value in map(_cut, capsys.readouterr().out.splitlines())}
  for part in ('training step', 'window of 32 frames'):
    theirs, ours = (table[f'{part}: {name}, s'] for name in ('PyTorch', 'atvg_jax'))
    assert table[f'{part}: PyTorch / atvg_jax, median of pairs'] == pytest.approx(theirs / ours, abs=0.1)
    assert theirs > ours


def _cut(line):
  return line.rpartition('  ')


@pytest.mark.parametrize(
  'argv',
  [
    ['torch', '--pairs', '0'],
    ['generate', '--window', '0'],
    ['train', '--steps', '0'],
    ['train', '--config', 'none'],
    ['train', '--config', 'at_grid'],
    ['speed'],
  ],
)
def test_bad_options_are_sentences(argv):
  with pytest.raises(InputError):
    benchmarks.run(argv)
