"""Padding counts nothing, every protocol takes its examples from where it says, and folders are compared by name."""

import json

import drawn_clips
import numpy as np
import pytest
import random_nets

from atvg_jax.evaluate import evaluate, video_pairs
from atvg_jax.evaluate.metric_networks import networks
from atvg_jax.generate import demo
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.portrait import find_face
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader

_FRAMES = 6  # of each clip; the batch is padded to 8


@pytest.fixture(scope='module')
def portrait():
  return find_face(video_reader.read_image(demo.portrait()))


@pytest.fixture(scope='module')
def batch(portrait):
  """Two clips of a still face; the second one is there to fill a batch."""
  rng = np.random.default_rng(0)
  length = 8
  landmarks = np.tile(portrait.landmarks, (2, length, 1))
  for _, lower in features.INNER_LIP_PAIRS:
    landmarks[:, :, 2 * lower + 1] += np.linspace(0, 0.1, length)
  video = np.tile(portrait.crop, (2, length, 1, 1, 1))
  video[:, _FRAMES:] = 0  # must not count
  return {
    features.EXAMPLE_IMAGE: np.stack([portrait.crop] * 2),
    features.EXAMPLE_LANDMARKS: np.stack([portrait.landmarks] * 2),
    features.LANDMARKS: landmarks,
    features.VIDEO: video,
    features.MFCC: rng.normal(size=(2, length, 28, 12)).astype(np.float32),
    features.MASK: np.array([1, 0], np.float32),
    features.FRAME_MASK: (np.arange(length) < _FRAMES).astype(np.float32) * np.ones((2, 1), np.float32),
    features.CLIP_ID: np.array([b'first', b'first']),
  }


@pytest.fixture(scope='module')
def generator(tmp_path_factory):
  return Generator.from_pretrained(*random_nets.save(tmp_path_factory.mktemp('nets')))


@pytest.fixture(scope='module')
def scored(batch, generator):
  clips = [{key: value[clip : clip + 1] for key, value in batch.items()} for clip in range(2)]
  with evaluate.Evaluation(generator, batch_size=1) as evaluation:
    return list(evaluation.score(iter(clips), {'first': 's1'}))


def test_padding_counts_nothing(scored):
  assert [(clip.scores['clip_id'], clip.scores['speaker']) for clip in scored] == [('first', 's1')]
  assert all(video.shape == (_FRAMES, 128, 128, 3) for video in scored[0].videos.values())
  rows = scored[0].scores['rows']
  for row in (rows['real'], rows['baseline']):  # this face stands still: its example frame is the truth
    assert row['psnr'] == row['psnr_mouth'] == 100
    assert row['ssim'] == pytest.approx(1, abs=1e-5) and row['ssim_mouth'] == pytest.approx(1, abs=1e-5)
  assert rows['real']['lmd'] < 3 and rows['real']['blendshapes'] == rows['real']['blendshapes_face'] == 0
  assert scored[0].scores['mouth'] == 'shut'
  assert rows['baseline']['opening_r'] == pytest.approx(0, abs=1e-5)


def test_random_nets_are_worse_than_the_still_frame(scored):
  for row in ('true landmarks', 'sound'):
    assert scored[0].scores['rows'][row]['psnr'] < 30 and scored[0].scores['rows'][row]['ssim'] < 0.9


def test_without_true_frames_nothing_is_compared_with_them(batch, generator):
  clip = {key: value[:1] for key, value in batch.items()}
  with evaluate.Evaluation(generator, 'cross-speaker', batch_size=1) as evaluation:
    (scored,) = evaluation.score(iter([clip]), {'first': 's1'})
  assert 'psnr' not in scored.scores['rows']['sound'] and 'lmd' not in scored.scores['rows']['true landmarks']
  assert {'opening_r', 'jitter', 'identity_drift'} <= set(scored.scores['rows']['sound'])
  assert 'psnr' in scored.scores['rows']['real']


class _SoundLength(networks.MetricNetworks):
  """Scores that say how much sound they were given."""

  needs_sound = True

  def clip_scores(self, videos, example, samples, landmarks):
    assert set(landmarks) == set(videos)
    return {
      row: {'lse_c': len(samples) / len(video), 'lse_d': float(np.abs(samples).max())} for row, video in videos.items()
    }

  def set_scores(self):
    return {'sound': 7.0}


@pytest.mark.parametrize('protocol', ['same-clip', 'published'])
def test_a_run_writes_tables_and_videos(generator, tmp_path, monkeypatch, protocol):
  monkeypatch.setattr(evaluate, 'load_nets', lambda nets: (random_nets.bundle('at'), random_nets.bundle('vg')))
  data, out = drawn_clips.converted('lrw_ar'), tmp_path / 'out'
  text = evaluate.run(
    [str(data)],
    'validation',
    protocol=protocol,
    batch_size=1,
    max_clips=1,
    out=str(out),
    metric_networks=_SoundLength(),
  )
  assert 'true landmarks' in text and ('published "PSNR"' in text) == (protocol == 'published')
  results = json.loads((out / 'evaluation.json').read_text())
  assert results['protocol'] == protocol
  (clip,) = results['data'][str(data)]['per_clip']
  assert clip['speaker'] == 'c18' and (out / clip['video']).is_file()
  assert clip['rows']['sound']['lse_c'] == 640 and 0.1 < clip['rows']['baseline']['lse_d'] <= 1
  rows = results['data'][str(data)]['rows']
  assert rows['sound']['fid'] == {'mean': 7, 'low': None, 'high': None, 'clips': 1} and 'fid' not in rows['baseline']
  assert all(f'| {heading} ' in text for heading in ('LSE-C', 'LSE-D', 'FID'))
  assert clip['video'] in (out / 'evaluation.html').read_text()
  assert (out / 'evaluation.md').read_text() == text
  assert len((out / 'evaluation.csv').read_text().splitlines()) == 5


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A folder of folders: 'real', and the same video two frames late, and brighter."""
  folder = tmp_path_factory.mktemp('systems')
  pictures, sound = drawn_clips.frames(12), drawn_clips.sound(12)
  for name, frames in (
    ('real', pictures),
    ('late', pictures[:1] * 2 + pictures[:-2]),
    ('bright', [np.clip(picture.astype(int) + 20, 0, 255).astype(np.uint8) for picture in pictures]),
  ):
    drawn_clips.write(folder / name / 'a.mp4', frames, sound)
  return folder


def test_several_systems_stand_in_one_table_with_their_differences(folders, tmp_path):
  systems = {'perfect': str(folders / 'real'), 'late': str(folders / 'late'), 'bright': str(folders / 'bright')}
  text = video_pairs.run(str(folders / 'real'), against=systems, out=str(tmp_path))
  (found,) = json.loads((tmp_path / 'evaluation.json').read_text())['data'].values()
  assert list(found['rows']) == ['baseline', *systems, 'real'] and found['from'] == 'perfect'
  assert list(found['differences']) == ['late', 'bright']
  late, bright = ({name: score['mean'] for name, score in row.items()} for row in found['differences'].values())
  perfect = found['rows']['perfect']
  assert perfect['psnr']['mean'] == 100 and perfect['blendshapes']['mean'] == 0 and perfect['lag']['mean'] == 0
  assert late['lag'] == 2 and late['opening_r'] < -0.3 and late['blendshapes'] > 1 and abs(late['color_shift']) < 1
  assert bright['psnr'] < -50 and bright['color_shift'] > 10 and bright['lag'] == 0
  assert bright['blendshapes'] < late['blendshapes'] / 2
  assert 'Differences from perfect, clip by clip\n' in text and 'no intervals' in text
  assert max(map(len, text.splitlines())) <= 120
  assert 'Differences from perfect' in (tmp_path / 'evaluation.html').read_text()


def test_folders_of_videos(folders, tmp_path):
  def rows(folder):
    video_pairs.run(str(folders / 'real'), str(folders / folder), out=str(tmp_path))
    return json.loads((tmp_path / 'evaluation.json').read_text())['data'][str(folders / folder)]['rows']

  perfect, late, bright = rows('real')['generated'], rows('late')['generated'], rows('bright')['generated']
  assert perfect['psnr']['mean'] == 100 and perfect['opening_r']['mean'] > 0.9 and perfect['lag']['mean'] == 0
  assert late['lag']['mean'] == 2 and late['opening_r']['mean'] < perfect['opening_r']['mean'] - 0.3
  assert bright['psnr']['mean'] < 30 and bright['opening_r']['mean'] > 0.9
  assert bright['color_shift']['mean'] > 10 > perfect['color_shift']['mean']


def test_bad_input_is_told(tmp_path):
  with pytest.raises(InputError, match='no protocol'):
    evaluate.run(['here'], 'validation', protocol='easy')
  (tmp_path / 'file').touch()
  with pytest.raises(InputError, match='is a file'):
    evaluate.run(['here'], 'validation', out=str(tmp_path / 'file'))
  with pytest.raises(InputError, match='no folder of videos'):
    video_pairs.run(str(tmp_path / 'none'), str(tmp_path))
  for text, words in (('videos', 'NAME=FOLDER'), ('real=videos', "a row 'real' already"), ('=x', 'NAME=FOLDER')):
    with pytest.raises(InputError, match=words):
      video_pairs.parse_systems([text])
  with pytest.raises(InputError, match="a row 'a' already"):
    video_pairs.parse_systems(['a=x', 'a=y'])
  assert video_pairs.parse_systems(['a = x=1', 'b=y']) == {'a': 'x=1', 'b': 'y'}
  (tmp_path / 'a').mkdir()
  with pytest.raises(InputError, match='nothing to compare'):
    video_pairs.run(str(tmp_path / 'a'), str(tmp_path))
  (tmp_path / 'a' / 'file').touch()
  with pytest.raises(InputError, match='file is empty|cannot be|no '):
    video_pairs.run(str(tmp_path / 'a'), str(tmp_path))
