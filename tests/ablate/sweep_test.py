"""The rows of the ablation table: all different, all trainable; a table that grows row by row and survives a kill."""

import csv
import json
import os

import drawn_clips
import jax
import numpy as np
import pytest
import synthetic
from PIL import Image

from atvg_jax.ablate import row_scores, sweep, sweep_report
from atvg_jax.checkpoints import run_config
from atvg_jax.models import fast_vg, make_net
from atvg_jax.runtime import parallel, rng
from atvg_jax.train import command_logging, feed, loop
from atvg_jax.train.tasks import make_task
from configs import ablations, at_union, vg_union
from data_pipelines import features, work_shards
from data_pipelines.errors import InputError

_ROWS = {}
ablations.sweep(lambda row, title, task, fields, against='': _ROWS.update({row: (title, task, fields)}))


def _state(config):
  """Task, state and a batch."""
  task = make_task(config, synthetic.basis(config.landmarks.num_components))
  batch = synthetic.batch(0, config)
  del batch[features.CLIP_ID]
  return task, jax.jit(task.init)(rng.stream_key(config.seed, 'init')), batch


@pytest.mark.parametrize('arg', ['', 'smoke', 'published'])
def test_all_rows_are_different_and_differ_in_what_they_say(arg):
  configs = {row: ablations.get_config(f'{row},{arg}' if arg else row).lock() for row in _ROWS}
  plain = [json.dumps(run_config.plain(config), sort_keys=True) for config in configs.values()]
  assert len(set(plain)) == len({title for title, _, _ in _ROWS.values()}) == len(_ROWS) >= 16
  for row, config in configs.items():
    again = run_config.tupled(json.loads(json.dumps(run_config.plain(config))))
    assert make_net(again) == make_net(config)
    full = configs['full' if config.task == 'vg' else 'at_net']
    assert run_config.plain(config.data) == run_config.plain(full.data), row
    assert config.num_steps == full.num_steps and config.optimizer == full.optimizer
  assert ablations.get_config(arg).lock() == configs['full']


def test_published_rows_are_the_published_training():
  for row, other in (('full', vg_union), ('at_net', at_union)):
    ours, theirs = ablations.get_config(f'{row},published'), other.get_config()
    for name in ('model', 'discriminator', 'loss', 'optimizer', 'landmarks'):
      assert ours[name] == theirs[name], name
    assert ours.data.batch_size == theirs.data.batch_size and ours.data.window == theirs.data.window


@pytest.mark.slow
@pytest.mark.parametrize('row', sorted(_ROWS))
def test_every_row_trains(row):
  config = synthetic.config('ablations', f'{row},smoke', data__window=2)
  task, state, batch = _state(config)
  step, state, batch = parallel.pmap_train_step(task.train_step), parallel.replicate(state), parallel.shard_batch(batch)
  for _ in range(2):
    state, metrics = step(state, batch)
  assert all(np.isfinite(float(value)) for value in metrics.values())


@pytest.mark.parametrize('row', _ROWS)
def test_every_row_s_step_can_be_traced(row):
  config = synthetic.config('ablations', f'{row},smoke', data__window=3)
  task = make_task(config, synthetic.basis(config.landmarks.num_components))
  state = jax.eval_shape(task.init, rng.stream_key(0, 'init'))
  assert parallel.operations(task.train_step, state, feed.batch_shapes(config)) > 0


@pytest.mark.parametrize('row', ['direct', 'frame_discriminator'])
def test_the_forms_that_no_other_training_has_learn(row):
  config = synthetic.config('ablations', f'{row},smoke', data__window=2, optimizer__warmup_steps=0)
  task, state, batch = _state(config)
  before = jax.tree.map(np.asarray, (state.g_params, state.d_params))
  step, state, batch = parallel.pmap_train_step(task.train_step), parallel.replicate(state), parallel.shard_batch(batch)
  for _ in range(2):
    state, metrics = step(state, batch)
  assert all(np.isfinite(float(value)) for value in metrics.values())
  assert ('g_adversarial_loss' in metrics) == row.endswith('discriminator')
  assert not any('landmark' in name for name in metrics)
  moved = jax.tree.map(
    lambda old, new: float(np.abs(old - np.asarray(new)).max()) > 0, before, (state.g_params, state.d_params)
  )
  assert np.mean(jax.tree.leaves(moved)) > 0.8


def test_the_direct_net_hears_and_sees_no_landmarks():
  config = synthetic.config('ablations', 'direct,smoke', data__window=2)
  task, state, batch = _state(config)
  sample = jax.jit(task.sample_step)
  video = sample(state, batch)['video']
  with row_scores.net_predictor(config, state, None) as predict:
    (answered,) = predict({name: values[:1] for name, values in batch.items()})
  np.testing.assert_allclose(answered, np.clip((np.asarray(video[0]) + 1) * 127.5, 0, 255), atol=0.6)
  assert answered.dtype == np.uint8
  blind = batch | {name: batch[name] + 1 for name in (features.LANDMARKS, features.EXAMPLE_LANDMARKS)}
  np.testing.assert_array_equal(sample(state, blind)['video'], video)
  assert np.abs(sample(state, batch | {features.MFCC: batch[features.MFCC] + 1})['video'] - video).max() > 1e-5
  with pytest.raises(InputError, match='without landmarks'):
    fast_vg.prepare(make_net(config), {'params': state.g_params})


def test_the_baseline_draws_frames_by_itself():
  config = synthetic.config('ablations', 'baseline,smoke', data__window=2)
  task, state, batch = _state(config)
  made = jax.jit(task.sample_step)(state, batch)
  np.testing.assert_allclose(made['video'], made['color'], atol=1e-6, rtol=0)  # to a rounding of JAX 0.12
  assert (made['attention'] == 1).all()
  net, variables = make_net(config), {'params': state.g_params, 'batch_stats': state.g_batch_stats}
  prepared = fast_vg.prepare(net, variables)
  image = batch[features.EXAMPLE_IMAGE].astype(np.float32) / 127.5 - 1
  still = fast_vg.start(net, prepared, image, batch[features.EXAMPLE_LANDMARKS])
  drawn = fast_vg.draw(net, prepared, still, batch[features.LANDMARKS], fast_vg.zero_carry(net, len(image), 32, 32))
  fresh = net.apply(variables, image, batch[features.EXAMPLE_LANDMARKS], batch[features.LANDMARKS], train=False)
  np.testing.assert_allclose(drawn['video'], fresh['video'], atol=1e-4)


@pytest.mark.parametrize('row', ['full', 'recurrence_batch'])
def test_a_row_is_drawn_in_lanes_as_it_was_trained(row):
  # Frames that are no multiple of the lanes' window.
  config = synthetic.config('ablations', f'{row},smoke', data__window=20, data__batch_size=1, data__image_size=128)
  task, state, batch = _state(config)
  one = {name: values[:1] for name, values in batch.items()}
  video = np.asarray(jax.jit(task.sample_step)(state, one)['video'])
  with row_scores.net_predictor(config, state, None) as predict:
    drawn = predict(one)
  assert drawn.dtype == np.uint8 and drawn.shape == video.shape
  assert np.abs(drawn - np.clip((video + 1) * 127.5, 0, 255)).max() <= 1 < drawn.std()


def _argv(workdir, *more, data=None):
  data = data or drawn_clips.converted('lrw_ar')
  return [
    '--config=configs/ablations.py:smoke',
    f'--workdir={workdir}',
    f"--config.data.dirs=('{data}',)",
    '--config.data.weights=()',
    '--config.num_steps=2',
    '--config.log_every=1',
    '--config.eval_every=1',
    '--clips=1',
    *more,
  ]


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')  # of ml_collections
@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_rows_end_one_by_one_and_a_kill_loses_none(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(command_logging, 'set_up', lambda: None)
  trained, real = [], loop.train

  def killed_at(number):
    def instead(config, workdir):
      trained.append(os.path.relpath(workdir, tmp_path))
      if len(trained) == number:
        raise KeyboardInterrupt
      return real(config, workdir)

    return instead

  argv = _argv(tmp_path, '--rows=at_single,at_net', '--seeds=1,2')
  monkeypatch.setattr(loop, 'train', killed_at(2))
  with pytest.raises(KeyboardInterrupt):
    sweep.run(argv)
  finished = tmp_path / 'at_single' / 'seed1' / 'result.json'
  before = finished.stat().st_mtime_ns, finished.read_bytes()
  with open(tmp_path / 'table.json', encoding='utf-8') as file:
    rows = {row['row']: row for row in json.load(file)['rows']}
  assert set(rows) == {'at_single', 'rest'} and rows['at_single']['seeds'] == [1]

  monkeypatch.setattr(loop, 'train', killed_at(None))
  capsys.readouterr()
  sweep.run(argv)
  said = capsys.readouterr().out
  assert (finished.stat().st_mtime_ns, finished.read_bytes()) == before
  assert trained == [f'at_single/seed{seed}' for seed in (1, 2, 2)] + [f'at_net/seed{seed}' for seed in (1, 2)]
  assert '1 of 4 trainings are finished' in said and '[1/3] at_single, seed 2' in said and 'min left' in said
  for title in ('AT-single: frame-wise | 2 | 2 |', 'AT-net | 2 | 2 |', 'mouth at rest | — | — |'):
    assert f'| {title}' in said, title
  assert (tmp_path / 'table.md').read_text() in said and '±' in said
  with open(tmp_path / 'table.csv', encoding='utf-8') as file:
    lines = list(csv.DictReader(file))
  assert [(line['row'], line['seed']) for line in lines] == [
    ('at_single', '1'),
    ('at_single', '2'),
    ('at_net', '1'),
    ('at_net', '2'),
    ('rest', ''),
  ]
  assert all(float(line['lmd']) > 0 for line in lines)
  assert np.asarray(Image.open(tmp_path / 'contact_sheet.png')).shape[0] == 3 * 128
  assert Image.open(tmp_path / 'curves.png').size[0] > 300

  # Another row of the same table is one of another config only if it was trained by that.
  with pytest.raises(InputError, match='config.num_steps'):
    sweep.run([*argv, '--config.num_steps=3'])
  sweep.run(['--config=configs/ablations.py', f'--workdir={tmp_path}', '--list'])
  assert 'finished: seeds 1,2' in capsys.readouterr().out
  sweep.run(['--config=configs/ablations.py', f'--workdir={tmp_path}', '--table'])
  assert '±' in capsys.readouterr().out


def test_the_table_is_of_means_and_spreads(tmp_path):
  common = {'row': 'full', 'title': 'the full model', 'task': 'vg', 'steps': 7, 'clips': {'grid': 3}}
  results = [
    {
      **common,
      'seed': seed,
      'seconds_a_step': 0.1 * seed,
      'scores': {'grid': {'psnr': psnr, 'ssim': 0.5, 'opening_r': 0.25}},
    }
    for seed, psnr in ((1, 20.0), (2, 22.0))
  ]
  results.append(
    {
      'row': 'example_frame',
      'title': 'the example frame',
      'task': 'vg',
      'seed': None,
      'clips': {'grid': 3},
      'scores': {'grid': {'psnr': 25.0, 'ssim': 0.75}},
    }
  )
  full, still = sweep_report.summary(results)
  assert full['data']['grid']['psnr'] == {'mean': 21.0, 'std': pytest.approx(2**0.5), 'seeds': 2}
  assert full['seeds'] == [1, 2] and still['seeds'] == [] and still['data']['grid']['psnr']['std'] is None
  text = sweep_report.markdown(results)
  assert '| the full model | 2 | 7 | 0.15 | 21.00 ± 1.41 | 0.5000 ± 0.0000 | 0.250 ± 0.000 |' in text
  assert '| the example frame | — | — | — | 25.00 | 0.7500 | — |' in text
  lines = list(csv.reader(sweep_report.table_csv(results).splitlines()))
  assert lines[1] == ['full', 'the full model', 'vg', '1', '7', '0.1', 'grid', '3', '20.0', '0.5', '0.25']
  assert lines[3][-1] == ''


def test_neighbours_are_compared_on_the_same_clips_and_seeds():
  random = np.random.default_rng(0)
  clips = [f'clip{number}' for number in range(30)]
  # Clips differ by far more than the rows do: only pairs show it. The other column's differences have both signs.
  level = dict(zip(clips, random.normal(25, 5, len(clips))))

  def result(row, seed, gain, names):
    of_clip = {
      name: {'psnr_mouth': level[name] + gain, 'opening_r': gain * (-1) ** number} for number, name in enumerate(names)
    }
    return {'row': row, 'title': f'+ {row}', 'task': 'vg', 'seed': seed, 'by_clip': {'grid': of_clip}}

  results = [result('baseline', seed, 0.0, clips) for seed in (1, 2, 3)]
  results += [result('mmcrnn', 1, 0.4, clips), result('mmcrnn', 2, 0.6, clips[:20])]
  results.append({'row': 'attention', 'title': '', 'task': 'vg', 'seed': 1})  # no clips' scores were kept
  against = {'mmcrnn': 'baseline', 'attention': 'mmcrnn', 'full': 'attention'}
  (pair,) = sweep_report.differences(results, against)
  assert (pair['row'], pair['against'], pair['seeds']) == ('mmcrnn', 'baseline', [1, 2])
  better, same = (pair['data']['grid'][name] for name in ('psnr_mouth', 'opening_r'))
  assert better['clips'] == 20 and better['mean'] == pytest.approx(0.5)
  assert 0.39 < better['low'] < 0.45 and 0.55 < better['high'] < 0.61  # as far as the seeds differ
  assert same['low'] < 0 < same['high']
  text = sweep_report._differences_text(results, against)
  assert '| + mmcrnn − baseline | 2 | +0.50 (+0.40 to +0.60)* |' in text


def test_a_perfect_video_and_a_still_one_have_their_scores():
  config = ablations.get_config('full,smoke')
  config.data.dirs = (str(drawn_clips.converted('lrw_ar')),)
  config.evaluation.window = 12
  answers = row_scores.references('vg')
  (real,), (still,) = (
    row_scores.score(config, answers[name][1], 1).scores.values() for name in ('real', 'example_frame')
  )
  assert real['psnr'] == 100 and real['lmd'] < 3 and real['opening_r'] > 0.9
  assert still['psnr'] < 60 and still['opening_range'] < 0.1 and still['jitter'] < real['jitter'] + 1e-6
  scored = row_scores.score(config, answers['real'][1], 1)
  assert scored.strip.shape == (128, 3 * 128, 3) and [len(clips) for clips in scored.by_clip.values()] == [1]
  # The mouth is shut in the first moment and open in the last.
  assert np.abs(scored.strip[:, :128].astype(int) - scored.strip[:, 256:]).max() > 50


def test_hosts_share_the_rows():
  rows = [sweep.Row(name, title, task) for name, (title, task, _) in _ROWS.items()]
  shares = [work_shards.parse(f'{i}/3').of(rows) for i in (1, 2, 3)]
  assert sorted(row.name for share in shares for row in share) == sorted(_ROWS)


def test_at_nets_predict_what_their_basis_has():
  for row, (_, task, _) in _ROWS.items():
    if task == 'at':
      for arg in ('', ',smoke', ',published'):
        config = ablations.get_config(row + arg).lock()
        assert make_net(config).num_coefficients == config.landmarks.num_components, row


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')  # of ml_collections
@pytest.mark.parametrize(
  'argv, sentence',
  [
    (['--rows=full,fulll'], "no row 'fulll'"),
    (['--seeds=one'], '--seeds=one'),
    (['--seeds='], '--seeds='),
    (['--shard=3/2'], '--shard=3/2'),
    (['--clips=0'], '--clips=0'),
    (['--rows=at_net', '--config.loss.pixel=1'], 'config.loss.pixel is no field of the row at_net'),
    (['--rows=at_net', "--config.data.dirs=('no/such/folder',)"], 'no/such/folder'),
    (['--table'], 'no table yet'),
    (['--config.nothing=1'], 'nothing'),
    (['--config=configs/vg_grid.py', '--list'], 'no sweep'),
    (['--config=configs/ablations.py:smoek'], 'smoek'),
    (['--config=configs/ablations.py:full,smoke'], 'full,smoke'),
  ],
)
def test_bad_input_is_one_sentence(argv, sentence, tmp_path, monkeypatch):
  monkeypatch.setattr(command_logging, 'set_up', lambda: None)
  config = [] if argv[0].startswith('--config=') else ['--config=configs/ablations.py:smoke']
  argv = [f'--workdir={tmp_path / "run"}', *config, *argv]
  with pytest.raises(InputError) as caught:
    sweep.run(argv)
  assert sentence in str(caught.value) and '\n' not in str(caught.value)
  assert not (tmp_path / 'run').exists()


def test_what_is_no_result_is_told(tmp_path):
  assert row_scores.load(str(tmp_path)) is None
  (tmp_path / 'result.json').write_text('{"row": "full"')
  with pytest.raises(InputError, match='delete it'):
    row_scores.load(str(tmp_path))


def test_references_of_earlier_workdirs_load(tmp_path):
  folder = tmp_path / 'references' / 'vg_still'
  folder.mkdir(parents=True)
  old = {'row': 'still', 'title': 'still: the example frame', 'task': 'vg', 'seed': None, 'clips': {}, 'scores': {}}
  (folder / 'result.json').write_text(json.dumps(old))
  (found,) = sweep.results([sweep.Row('full', 'the full model', 'vg')], str(tmp_path))
  assert found['row'] == 'example_frame' and found['title'] == 'the example frame, repeated'
  assert found['folder'] == str(tmp_path / 'references' / 'vg_example_frame')
