"""Plans are arithmetic on what the compiler says; the compiler itself is asked in a slow test."""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pool_tasks
import pytest
import synthetic

from atvg_jax.train import feed, plan
from data_pipelines import features
from data_pipelines.errors import InputError

_PROGRAM = """
  %psum.7 = f32[8,1024]{1,0:T(8,128)S(1)} all-reduce(%fusion.9), channel_id=1, to_apply=%region_0.0
  %all = (f32[512]{0}, bf16[2,3]{1,0}) all-reduce-start(%a, %b), channel_id=2
  ROOT %done = (f32[512]{0}, bf16[2,3]{1,0}) all-reduce-done(%all)
  %fusion = f32[100]{0} fusion(%all-reduce.3), kind=kLoop
"""


def test_collectives_are_summed_by_their_results():
  assert plan.collective_bytes(_PROGRAM) == 8 * 1024 * 4 + 512 * 4 + 6 * 2


def _program(clips, memory, **fields):
  values = {
    'arguments': memory,
    'temporaries': 0,
    'code': 0,
    'operations': 197e12,
    'accessed': 819e9,
    'collective': 0.0,
    'seconds': 1.0,
  } | fields
  return plan.Program(clips, **values)


def test_the_largest_batch_lies_on_the_line_and_is_searched_to_the_last_clip():
  assert plan.largest_batch(_program(8, 80), _program(4, 60), 105) == 13
  asked = []
  assert plan.search_largest(lambda count: asked.append(count) or count <= 37, 8, 13) == 37
  assert len(asked) < 10


def test_the_roofline_is_the_longest_of_three_times():
  where = plan.Slice.__new__(plan.Slice)
  where.name, where.chip, where.devices = 'v5e:2x2', plan.CHIPS['v5e'], [None] * 4
  assert where.times(_program(1, 1)) == pytest.approx({'compute': 1, 'memory': 1, 'network': 0})
  slow = _program(4, 2**30, operations=2 * 197e12, collective=200e9)
  assert where.times(slow)['network'] == pytest.approx(1.5)  # each of four chips sends 3/4 of the sum twice
  text = plan.report(where, slow, window=16)
  assert 'bound by compute: at most 128 frames/s' in text and '1.00 GiB of 15.75 GiB' in text


def test_the_shapes_are_those_of_batches():
  for name in ('at_grid', 'vg_grid'):
    config = synthetic.config(name)
    batch = synthetic.batch(0, config)
    del batch[features.CLIP_ID]
    assert {key: (array.shape, array.dtype) for key, array in batch.items()} == {
      key: (spec.shape, spec.dtype) for key, spec in feed.batch_shapes(config).items()
    }


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')  # of ml_collections
@pytest.mark.parametrize(
  'argv, sentence',
  [
    (['--config=configs/at_grid.py'], 'needs --topology'),
    (['--config=configs/at_grid.py', '--topology=v5e'], 'v5e:4x4'),
    (['--config=configs/at_grid.py', '--topology=h100:2x2'], 'h100:2x2'),
    (['--topology=v5e:2x2'], 'needs --config'),
  ],
)
def test_a_bad_plan_is_one_sentence(argv, sentence):
  with pytest.raises(InputError, match=sentence):
    plan.run(argv)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason='needs the extra tpu')
def test_the_command_plans_with_a_process_for_each_program():
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'atvg_jax.cli',
      'plan',
      '--config=configs/at_grid.py:smoke',
      '--topology=v5e:2x2',
      '--clips=2',
    ],
    cwd=pathlib.Path(__file__).resolve().parents[2],
    check=True,
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert '2 clips of 5 frames a device, 8 on 4 devices' in done.stdout
  assert 'by a straight line through 2 and 4' in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason='needs the extra tpu')
def test_the_published_vg_step_fits_into_a_v5e_chip():
  """Eight clips of 16 frames a chip; minutes of compiling, in a process of its own: libtpu stays loaded."""
  code = (
    'import json, jax; jax.config.update("jax_platforms", "cpu")\n'
    'from atvg_jax.train import plan; from configs import vg_grid\n'
    'program = plan.Slice("v5e:2x2").compile(vg_grid.get_config().lock(), 8)\n'
    'print(json.dumps(program._asdict()))'
  )
  root = pathlib.Path(__file__).resolve().parents[2]
  done = subprocess.run(
    [sys.executable, '-c', code],
    env=os.environ | {'PYTHONPATH': str(root)},
    check=True,
    capture_output=True,
    text=True,
    timeout=3600,
  )
  program = json.loads(done.stdout.splitlines()[-1])
  assert program['arguments'] + program['temporaries'] + program['code'] < 16e9
  assert program['operations'] > 1e12 and program['collective'] > 0.3e9  # gradients of 80 M parameters in float32


def test_a_compiler_that_crashes_is_told_in_a_sentence(monkeypatch, tmp_path):
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  monkeypatch.setattr(importlib.metadata, 'version', lambda name: '1.2.3')
  where = plan.Slice.__new__(plan.Slice)
  where.name = 'v5e:2x2'
  monkeypatch.setattr(plan, '_compile', pool_tasks.seconds)
  assert plan.compile_apart(where, {}, 8) == 8 and not list(tmp_path.iterdir())
  monkeypatch.setattr(plan, '_compile', pool_tasks.crash)
  with pytest.raises(InputError, match='libtpu 1.2.3 crashed at 8 clips a device on v5e:2x2') as caught:
    plan.compile_apart(where, {}, 8)
  (log,) = tmp_path.iterdir()
  assert str(log) in str(caught.value) and 'overflow' in log.read_text()
