"""The loop: what it writes, that a run goes on as if it had never stopped, and what stops it."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
import synthetic

from atvg_jax.checkpoints import orbax_checkpoints, weights
from atvg_jax.train import loop
from atvg_jax.train.step_log import NonFiniteLossError
from data_pipelines import features
from data_pipelines.errors import InputError


def _curve(workdir):
  """metrics.jsonl without the clock's part."""
  with open(workdir / 'metrics.jsonl', encoding='utf-8') as file:
    return [{name: value for name, value in json.loads(line).items() if not name.startswith('time/')} for line in file]


def _assert_same(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def _config():
  """VG-net against a discriminator; one for all runs that may have the same, whose step is compiled once."""
  return synthetic.config('vg_grid', data__window=3, ema_decay=0.9, best_metric='-eval_fake/pixel_l1')


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory):
  """A run that nothing disturbs: (config, workdir, state, summary)."""
  config = _config()
  workdir = tmp_path_factory.mktemp('whole')
  return config, workdir, *loop.train(config, str(workdir), **synthetic.arguments(config))


def test_a_run_writes_its_config_numbers_pictures_and_checkpoints(whole_run):
  config, workdir, state, summary = whole_run
  assert summary['step'] == int(state.step) == config.num_steps
  assert not summary['interrupted']
  assert summary['steps_per_second'] > 0 and 0 <= summary['data_wait_share'] <= 1
  with open(workdir / 'config.json', encoding='utf-8') as file:
    assert json.load(file)['data']['window'] == 3
  names = {name for row in _curve(workdir) for name in row}
  assert {
    'train/g_pixel_loss',
    'train/d_real_loss',
    'train/g_grad_norm',
    'train/learning_rate',
    'eval_fake/ssim_mouth',
    'eval_fake/ssim_mouth_still',
  } <= names
  assert os.listdir(workdir / 'tensorboard')
  assert sorted(os.listdir(workdir / 'pictures')) == [
    f'fake_{step:07d}.{kind}' for step in (4, 8) for kind in ('gif', 'png')
  ]
  assert 0 < summary['share_of_matmul_peak'] < 1.5
  assert sorted(os.listdir(workdir / 'checkpoints')) == ['4', '8']
  moved = jax.tree.map(lambda ema, params: float(abs(ema - params).max()), state.g_ema_params, state.g_params)
  assert max(jax.tree.leaves(moved)) > 0


def test_the_best_generator_is_kept_and_can_be_used(whole_run):
  _, workdir, state, summary = whole_run
  scores = {row['step']: row['eval_fake/pixel_l1'] for row in _curve(workdir) if 'eval_fake/pixel_l1' in row}
  assert summary['best_step'] == min(scores, key=scores.get)
  assert summary['best_eval_fake/pixel_l1'] == min(scores.values())
  bundle = weights.load(str(workdir / 'best'))
  assert bundle.provenance['step'] == summary['best_step'] and bundle.config['data']['window'] == 3
  newest = weights.load(str(workdir))
  assert newest.provenance['step'] == 8
  _assert_same(newest.params, state.g_ema_params)


def test_a_run_without_anything_held_out_is_refused_before_its_first_step(tmp_path):
  (tmp_path / 'data').mkdir()
  (tmp_path / 'data' / 'dataset_info.json').write_text('{"splits": [{"name": "train"}]}')
  (tmp_path / 'data' / 'grid-train.tfrecord-00000-of-00001').touch()
  config = synthetic.config('vg_grid', data__dirs=(str(tmp_path / 'data'),))
  with pytest.raises(
    InputError, match="has no split 'validation': it has train. A run is scored on clips that are held"
  ):
    loop.train(config, str(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()


def test_what_fails_in_an_evaluation_costs_no_step(tmp_path):
  config = _config()
  arguments = synthetic.arguments(config)

  def failing():
    raise InputError('a record is torn')

  with pytest.raises(InputError, match='torn'):
    loop.train(config, str(tmp_path), **arguments | {'eval_sets': {'fake': failing}})
  assert os.listdir(tmp_path / 'checkpoints') == [str(config.eval_every)]


def test_a_run_that_was_killed_between_saving_and_scoring_scores_that_step(whole_run, tmp_path):
  config, whole_workdir, whole_state, whole_summary = whole_run
  arguments = synthetic.arguments(config)

  def killed():
    raise InputError('killed here')

  with pytest.raises(InputError, match='killed'):
    loop.train(config, str(tmp_path), **arguments | {'eval_sets': {'fake': killed}})
  state, summary = loop.train(config, str(tmp_path), **arguments)
  _assert_same(state, whole_state)
  assert _curve(tmp_path) == _curve(whole_workdir)
  assert [summary[name] for name in ('best_step', 'best_eval_fake/pixel_l1')] == [
    whole_summary[name] for name in ('best_step', 'best_eval_fake/pixel_l1')
  ]


def test_weights_to_start_from_are_kept_where_no_step_is_better(whole_run, tmp_path):
  config, workdir, *_ = whole_run
  config = config.copy_and_resolve_references().unlock()
  config.update(init_from=str(workdir), best_metric='-eval_fake/pixel_l1', num_steps=4)
  config.optimizer.learning_rate = 1.0  # ruins them
  _, summary = loop.train(config.lock(), str(tmp_path), **synthetic.arguments(config))
  assert summary['best_step'] == 0
  assert _curve(tmp_path)[0]['step'] == 0
  _assert_same(weights.load(str(tmp_path / 'best')).params, weights.load(str(workdir)).params)


def test_a_run_that_was_asked_to_stop_goes_on_bit_for_bit(whole_run, tmp_path):
  config, whole_workdir, whole_state, _ = whole_run
  arguments = synthetic.arguments(config)

  def stopping(start_step):
    for step, batch in enumerate(synthetic.batches(config, start_step), start_step):
      if step == 5:
        os.kill(os.getpid(), signal.SIGTERM)
      yield batch

  state, summary = loop.train(config, str(tmp_path), **arguments | {'batches': stopping})
  assert summary['interrupted'] and summary['step'] == int(state.step) < config.num_steps
  # What a kill would have left behind after the checkpoint: a row of a later step, and half a row.
  with open(tmp_path / 'metrics.jsonl', 'a', encoding='utf-8') as file:
    file.write(json.dumps({'step': 100, 'train/g_loss': 1.0}) + '\n{"step": 101, "tr')
  state, summary = loop.train(config, str(tmp_path), **arguments)
  assert not summary['interrupted']
  _assert_same(state, whole_state)
  assert [row for row in _curve(tmp_path) if 'eval_fake/psnr' in row] == [
    row for row in _curve(whole_workdir) if 'eval_fake/psnr' in row
  ]
  assert _curve(tmp_path)[-1] == _curve(whole_workdir)[-1]


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # of Orbax' reading threads
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_taken(whole_run, tmp_path, caplog):
  config, whole_workdir, whole_state, _ = whole_run
  shutil.copytree(whole_workdir, tmp_path, dirs_exist_ok=True)
  newest = tmp_path / 'checkpoints' / '8'
  for folder, _, names in os.walk(newest):
    for name in names:
      if os.path.basename(folder) == 'd':
        with open(os.path.join(folder, name), 'r+b') as file:
          file.truncate(10)
  state, _ = loop.train(config, str(tmp_path), **synthetic.arguments(config))
  assert 'checkpoint 8' in caplog.text and 'damaged' in caplog.text
  assert os.listdir(tmp_path / 'damaged_checkpoints') == ['8']
  assert sorted(os.listdir(tmp_path / 'checkpoints')) == ['4', '8']
  _assert_same(state, whole_state)
  assert _curve(tmp_path) == _curve(whole_workdir)


def test_a_finished_run_has_nothing_left_to_do(whole_run):
  config, workdir, whole_state, _ = whole_run
  state, summary = loop.train(config, str(workdir), **synthetic.arguments(config))
  _assert_same(state, whole_state)
  assert summary['step'] == config.num_steps


def _poisoned(config, start_step):
  """Batches of which the third has a landmark that is no number."""
  for step, batch in enumerate(synthetic.batches(config, start_step), start_step):
    if step == 2:
      batch[features.LANDMARKS][0, 0, 100] = np.nan
    yield batch


def test_a_number_that_is_not_finite_stops_the_run_by_name(tmp_path):
  config = synthetic.config('at_grid', checkpoint_every=1, log_every=4)
  with pytest.raises(NonFiniteLossError, match=r'g_coefficient_loss is nan at step 3 \(clips 2-0, 2-1\)') as caught:
    loop.train(config, str(tmp_path), **synthetic.arguments(config) | {'batches': lambda step: _poisoned(config, step)})
  assert 'the last good checkpoint is of step 2' in str(caught.value)
  step, generator = orbax_checkpoints.restore_generator(str(tmp_path))
  assert step == 2
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(generator))


def test_a_step_that_is_not_finite_can_be_left_out(tmp_path):
  config = synthetic.config('at_grid', log_every=4, skip_nonfinite=True)
  state, summary = loop.train(
    config, str(tmp_path), **synthetic.arguments(config) | {'batches': lambda step: _poisoned(config, step)}
  )
  assert summary['skipped_steps'] == 1 and summary['step'] == int(state.step) == config.num_steps
  assert [row['train/skipped_steps'] for row in _curve(tmp_path) if 'train/skipped_steps' in row] == [1, 0]
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
  assert int(state.g_opt_state[1][0].count) == config.num_steps - 1


def test_a_best_metric_that_is_none_is_told(tmp_path):
  config = synthetic.config('at_grid', best_metric='eval_fake/ldm')
  with pytest.raises(InputError, match='eval_fake/lmd'):
    loop.train(config, str(tmp_path), **synthetic.arguments(config))


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')  # of ml_collections
@pytest.mark.parametrize('flags, status', [([], None), (['--interrupted_status=75'], 75)])
def test_an_interrupted_run_ends_with_the_status_asked_for(flags, status, monkeypatch, tmp_path):
  monkeypatch.setattr(loop, 'train', lambda config, workdir: (None, {'step': 3, 'interrupted': True}))
  monkeypatch.setattr(loop.command_logging, 'set_up', lambda: None)
  argv = ['--config=configs/at_grid.py:smoke', f'--workdir={tmp_path}', *flags]
  if status is None:
    loop.run(argv)
  else:
    with pytest.raises(SystemExit) as caught:
      loop.run(argv)
    assert caught.value.code == status


def test_an_error_in_the_feed_reaches_the_caller(tmp_path):
  config = synthetic.config('at_grid')

  def broken(start_step):
    yield synthetic.batch(start_step, config)
    raise InputError('the shard is torn')

  with pytest.raises(InputError, match='the shard is torn'):
    loop.train(config, str(tmp_path), **synthetic.arguments(config) | {'batches': broken})


def test_a_workdir_of_another_net_is_refused(whole_run):
  _, workdir, _, _ = whole_run
  with pytest.raises(InputError, match='model.norm'):
    loop.train(synthetic.config('vg_grid', **{'model__norm': 'group'}), str(workdir))


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')  # of ml_collections
@pytest.mark.parametrize(
  'argv, sentence',
  [
    ([], 'needs --config'),
    (['--config=configs/at_grid.py'], 'needs --workdir'),
    (['--config=configs/no_such.py', '--workdir={}'], 'no_such'),
    (['--config=vg_gird', '--workdir={}'], 'did you mean vg_grid?'),
    (['--config=common', '--workdir={}'], 'the packaged ones are ablations, at_grid'),
    (['--config=at_grid', '--workdir={}', '--config.data.dirs=no/such,nor/this'], 'no/such'),
    (['--config=configs/at_grid.py:smoek', '--workdir={}'], 'smoek'),
    (['--config=configs/at_grid.py', '--config.data.batchsize=3', '--workdir={}'], 'batchsize'),
    (['--config=configs/at_grid.py', '--config.num_steps=many', '--workdir={}'], 'many'),
    (['--config=configs/at_grid.py', '--wrokdir={}'], 'wrokdir'),
    (['--config=configs/at_grid.py', '--workdir={}', 'extra'], "'extra'"),
    (['--config=configs/at_grid.py', '--workdir={}', "--config.data.dirs=('no/such/folder',)"], 'no/such/folder'),
  ],
)
def test_a_bad_command_line_is_one_sentence(argv, sentence, tmp_path):
  with pytest.raises(InputError) as caught:
    loop.run([flag.replace('{}', str(tmp_path / 'run')) for flag in argv])
  assert sentence in str(caught.value) and '\n' not in str(caught.value)
  assert not (tmp_path / 'run' / 'checkpoints' / '0').exists()
