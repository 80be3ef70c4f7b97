"""Noise is as loud as it says, a moved crop moves with its truth, a stopped run goes on, tables hold the scores."""

import json
import types
from concurrent import futures

import drawn_clips
import numpy as np
import pytest
import random_nets
from demo_samples import demo_speech
from PIL import Image

from atvg_jax.evaluate import clip_scores, head_turn, robustness, robustness_report, sound_changes
from atvg_jax.evaluate.robustness_points import BASELINE, REAL, SOUND, Point, Store
from data_pipelines import features, input_pipeline
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio

pytestmark = pytest.mark.usefixtures('optimised')


@pytest.fixture(scope='module')
def batch():
  folders = [str(drawn_clips.converted(name)) for name in ('lrw_ar', 'grid')]
  batches = input_pipeline.eval_batches(
    folders[:1], split='validation', batch_size=1, with_audio=True, voices_from=folders
  )
  return next(input_pipeline.iterate(batches))


@pytest.mark.parametrize('snr', [20, 0, -5])
def test_noise_is_so_many_decibels_quieter(snr):
  rng = np.random.default_rng(0)
  speech, noise = 0.1 * rng.normal(size=4000), 3 * rng.normal(size=4000)
  added = sound_changes.with_noise(speech, noise, snr) - speech
  assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.01)
  assert np.corrcoef(added, noise)[0, 1] == pytest.approx(1, abs=1e-6)
  np.testing.assert_array_equal(sound_changes.with_noise(speech, np.zeros(4000), snr), speech.astype(np.float32))


def test_babble_has_every_voice_equally_loud():
  rng = np.random.default_rng(0)
  voices = (np.array([[3000], [30], [300]]) * rng.normal(size=(3, 20000))).astype(np.int16)
  mixed = sound_changes.babble(voices)
  assert [np.corrcoef(mixed, voice)[0, 1] for voice in voices] == pytest.approx([3**-0.5] * 3, abs=0.03)
  assert np.isfinite(sound_changes.babble(np.zeros((3, 10), np.int16))).all()


def test_noise_is_heard_and_no_noise_is_the_record(batch):
  length = batch[features.FRAME_MASK].sum(axis=1).astype(int)
  (clip,) = length
  rows = audio.frame_rows(batch[features.AUDIO][0, : clip * 640] / np.float32(32767), clip)
  np.testing.assert_allclose(audio.windows(rows), batch[features.MFCC][0, :clip], atol=1e-3)
  clean = batch[features.MFCC][0, :clip]
  for experiment in ('white noise', 'babble'):
    quiet, loud = (robustness._mfcc_windows(batch, Point(experiment, snr), length)[0, :clip] for snr in (60, -5))
    assert np.abs(loud - clean).mean() > 2 * np.abs(quiet - clean).mean() > 0
  again = robustness._mfcc_windows(batch, Point('white noise', -5), length)[0, :clip]
  np.testing.assert_array_equal(again, robustness._mfcc_windows(batch, Point('white noise', -5), length)[0, :clip])


@pytest.mark.parametrize(
  'experiment, mild, strong',
  [('music', 20, 0), ('room tone', -60, -30), ('mp3', 64, 16), ('sampling rate', 15_000, 8_000)],
)
def test_worse_sound_is_the_clip_and_worse(experiment, mild, strong):
  length = 50
  clean = demo_speech()[16_000:][: 640 * length]
  batch = {features.AUDIO: np.round(32767 * clean).astype(np.int16)[None], features.CLIP_ID: np.array([b'a'])}
  heard = [sound_changes.samples(batch, 0, Point(experiment, level), length) for level in (mild, strong)]
  errors = [np.abs(sound - clean).mean() for sound in heard]
  assert errors[1] > 1.5 * errors[0] > 0
  assert np.corrcoef(heard[0], clean)[0, 1] > 0.9
  if experiment == 'room tone':
    assert 20 * np.log10(np.sqrt(np.mean((heard[1] - clean) ** 2))) == pytest.approx(strong, abs=0.1)


def test_a_moved_crop_moves_with_its_truth(batch):
  posed, moved = robustness._inputs(batch, SOUND), robustness._inputs(batch, Point('crop shift', 4))
  shift = (moved.landmarks - posed.landmarks).reshape(-1, 68, 2) * 64
  (x, y) = np.rint(shift[0, 0]).astype(int)
  assert sorted((abs(x), abs(y))) == [0, 4]
  np.testing.assert_allclose(shift, np.broadcast_to([x, y], shift.shape), atol=1e-4)
  inner = slice(8, -8)
  for ours, plain in ((moved.video, posed.video), (moved.image, posed.image)):
    back = np.roll(ours, (-y, -x), axis=(-3, -2))
    np.testing.assert_array_equal(back[..., inner, inner, :], plain[..., inner, inner, :])


def test_a_head_is_turned_and_its_mouth_still_speaks(batch):
  (length,) = batch[features.FRAME_MASK].sum(axis=1).astype(int)
  frames, landmarker = batch[features.VIDEO][0, :length], clip_scores.landmarker()
  opening = face_alignment.mouth_opening(batch[features.LANDMARKS][0, :length])
  for degrees in (-30, 30):
    turned, landmarks = head_turn.turn_crops(landmarker, frames, degrees)
    assert np.median(clip_scores.track(landmarker, turned).yaw) == pytest.approx(degrees, abs=10)
    assert np.corrcoef(face_alignment.mouth_opening(landmarks), opening)[0, 1] > 0.95
    found = clip_scores.redetect(landmarker, turned)
    assert np.abs(found - landmarks)[:, 96:].mean() < 0.5 / 64  # the mouth's, to half a pixel


def test_no_turn_is_the_frame_itself(batch):
  frames = batch[features.VIDEO][0, :1]
  track = clip_scores.landmarker().track(frames, with_mesh=True)
  difference = head_turn.turn(frames, track.mesh, 0).astype(int) - frames
  assert np.abs(difference).max() <= 1
  assert np.abs(head_turn.turn(frames, track.mesh, 30).astype(int) - frames).mean() > 5


def test_a_turned_clip_without_a_face_is_lost(batch, monkeypatch):
  blank = batch | {features.VIDEO: np.full_like(batch[features.VIDEO], 128)}
  point = Point('turned head', 30)
  monkeypatch.setattr(robustness, '_video', lambda evaluation, batch, inputs, point, lengths: inputs.video)
  with futures.ThreadPoolExecutor(1) as threads:
    evaluation = types.SimpleNamespace(threads=threads)
    inputs, blank_inputs = (robustness.inputs_of(evaluation, clips) for clips in (batch, blank))
    turned = inputs(point)
    assert inputs(Point('turned head landmarks', 30)) is turned is not inputs(Point('turned head', 15))
    assert not turned.lost and all((ours != batch[key]).any() for ours, key in zip(turned, _INPUTS, strict=False))
    assert blank_inputs(point).lost == {0}
    pairs = (batch, inputs), (blank, blank_inputs)
    ((seen,), (lost,)) = (robustness.submit_point(evaluation, clips, of(point), point) for clips, of in pairs)
    seen, lost = seen.result(), lost.result()
  assert seen['scores']['psnr'] == 100 and seen['scores']['opening_r'] > 0.9
  assert lost['scores']['opening_r'] == 0
  assert np.isnan([lost['scores'][name] for name in ('psnr', 'ssim_lips', 'lmd')]).all()


def test_an_unknown_experiment_is_refused(tmp_path):
  with pytest.raises(InputError, match="there is no 'noise', choose of 'landmark noise'"):
    robustness.run([str(tmp_path)], 'validation', out=str(tmp_path / 'out'), experiments=['babble', 'noise'])


_INPUTS = features.EXAMPLE_IMAGE, features.EXAMPLE_LANDMARKS, features.VIDEO, features.LANDMARKS
_FEW = {
  'landmark noise': (Point('landmark noise', 0.0), Point('landmark noise', 0.1)),
  'babble': (Point('babble', -5),),
  'crop shift': (Point('crop shift', 4),),
  'turned head': (Point('turned head', 30),),
}


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
  monkeypatch.setattr(robustness, 'load_nets', lambda weights: (random_nets.bundle('at'), random_nets.bundle('vg')))
  monkeypatch.setattr(robustness, 'EXPERIMENTS', _FEW)
  folders = [str(drawn_clips.converted(name)) for name in ('lrw_ar', 'grid')]
  out, scored = tmp_path / 'out', []
  submit_point = robustness.submit_point

  def count(*arguments):
    if len(scored) == 3:
      raise KeyboardInterrupt
    scored.append(arguments[3])
    return submit_point(*arguments)

  def run():
    return robustness.run(folders, 'validation', out=str(out), max_clips=1)

  monkeypatch.setattr(robustness, 'submit_point', count)
  with pytest.raises(KeyboardInterrupt):
    run()
  assert not (out / 'robustness.md').exists()
  kept = out / 'points' / 'lrw_ar.jsonl'
  with kept.open('a') as file:
    file.write('{"clip_id": "torn')
  monkeypatch.setattr(
    robustness, 'submit_point', lambda *arguments: scored.append(arguments[3]) or submit_point(*arguments)
  )
  text = run()
  assert [point.name for point in scored[:9]] == [
    'baseline',
    'real',
    'sound',
    'sound',  # drawn, but not scored yet when the run was stopped
    'landmark noise 0',
    'landmark noise 0.1',
    'babble -5',
    'crop shift 4',
    'turned head 30',
  ]
  assert len(scored) == 17  # each other once, in spite of the stop
  monkeypatch.setattr(robustness, 'submit_point', None)
  assert run() == text

  results = json.loads((out / 'robustness.json').read_text())
  rows = results['data_sets']['lrw_ar']['rows']
  assert rows['real']['psnr']['mean'] == 100 and rows['real']['opening_r']['mean'] > 0.9
  assert rows['landmark noise 0.1']['ssim']['mean'] != rows['landmark noise 0']['ssim']['mean']
  assert list(results['data_sets']['lrw_ar']['speaker']) == ['c18'] and len(results['data_sets']['grid']['yaw']) == 1
  assert '## lrw_ar, 1 clip\n' in text and '| baseline ' in text
  assert len((out / 'robustness.csv').read_text().splitlines()) == 1 + 2 * 8
  for name in ('landmark_noise', 'babble', 'crop_shift', 'turned_head', 'view_angle', 'speakers'):
    assert np.asarray(Image.open(out / f'{name}.png')).std() > 10
    assert f'src="{name}.png"' in (out / 'robustness.html').read_text()
  assert not (out / 'white_noise.png').exists() and 'No curve of babble' not in text
  # Other weights are other scores.
  monkeypatch.setattr(
    robustness,
    'load_nets',
    lambda nets: (
      random_nets.bundle('at')._replace(config=random_nets.bundle('at').config | {'generation': {'exaggeration': 2}}),
      random_nets.bundle('vg'),
    ),
  )
  with pytest.raises(InputError, match='other weights'):
    run()


def test_what_is_kept_is_checked(tmp_path):
  path = tmp_path / 'points' / 'a.jsonl'
  store = Store(str(path), {'weights': 'x'})
  store.add([{'clip_id': 'c', 'point': REAL.name, 'scores': {'lmd': float('nan'), 'psnr': 3.0}, 'facts': {'yaw': 1.0}}])
  store = Store(str(path), {'weights': 'x'})
  assert store.has('c', REAL) and not store.has('c', BASELINE) and store.facts('c') == {'yaw': 1.0}
  assert np.isnan(store.scores('c', REAL)['lmd']) and store.scores('c', REAL)['psnr'] == 3
  with pytest.raises(InputError, match='other weights or other data'):
    Store(str(path), {'weights': 'y'})
  path.write_text('{"weights": "x"}\nnonsense\n')
  with pytest.raises(InputError, match='is damaged'):
    Store(str(path), {'weights': 'x'})
  with pytest.raises(InputError, match='one name'):
    robustness.run(['a/x', 'b/x'], 'validation', out=str(tmp_path))


def test_clips_are_put_into_bins_of_their_angle():
  rng = np.random.default_rng(0)
  names = ('baseline', 'real', 'sound', 'landmark noise 0')
  clips = [
    {
      'clip_id': str(i),
      'speaker': 'a',
      'yaw': yaw,
      'face_shape': 1.0,
      'mouth_width': 1.0,
      'rows': {name: {'psnr': float(i), 'lmd': rng.random()} for name in names},
    }
    for i, yaw in enumerate((-6.0, -4.0, 0.0, 4.9, 31.0, float('nan')))
  ]
  bins = robustness_report.by_yaw(clips)
  assert {name: group['clips'] for name, group in bins.items()} == {
    '-10 to -5': 1,
    '-5 to 0': 1,
    '0 to 5': 2,
    '30 to 35': 1,
  }
  assert bins['0 to 5']['rows']['sound']['psnr']['mean'] == 2.5


def test_one_speaker_has_no_babble_and_few_clips_no_intervals_and_both_are_said(tmp_path):
  rows = {name: {'psnr': 20.0, 'lmd': 1.0} for name in ('baseline', 'real', 'sound', 'landmark noise 0')}
  clip = {'clip_id': 'a', 'speaker': '<s1>', 'yaw': 1.0, 'face_shape': 1.0, 'mouth_width': 1.0, 'rows': rows}
  experiments = {'landmark noise': (Point('landmark noise', 0.0),), 'babble': (Point('babble', 5),)}
  head = {'split': 'validation', 'weights': ['packaged']}
  text = robustness_report.write(str(tmp_path), head, {'grid': [clip]}, experiments)
  page = (tmp_path / 'robustness.html').read_text()
  for said in (text, page):
    assert 'No curve of babble: all clips are of one speaker' in said and 'n = 1: no intervals' in said
  assert not (tmp_path / 'babble.png').exists() and 'babble.png' not in page
  assert page.index('landmark_noise.png') < page.index('<td>20.00</td>') and '&lt;s1&gt;' in page
  assert {path.name for path in tmp_path.glob('*.png')} == {name.split('"')[0] for name in page.split('src="')[1:]}


def test_the_columns_told_exist():
  assert set(robustness_report._SHOWN) | set(robustness_report._PANELS) <= set(clip_scores.COLUMNS)
