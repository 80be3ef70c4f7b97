"""Truth against truth is perfect, padding counts nothing, and the table says what was measured."""

import json

import numpy as np
import pytest

from atvg_jax import demo, evaluate
from atvg_jax.generator import Generator, find_face
from data_pipelines import faces, features, media
from data_pipelines.errors import InputError
import random_nets

_FRAMES = 6  # of each clip; the batch is padded to 8


@pytest.fixture(scope='module')
def portrait():
  return find_face(media.read_image(demo.portrait()))


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
      features.LANDMARKS: landmarks, features.VIDEO: video,
      features.MFCC: rng.normal(size=(2, length, 28, 12)).astype(np.float32),
      features.MASK: np.array([1, 0], np.float32),
      features.FRAME_MASK: (np.arange(length) < _FRAMES).astype(np.float32) * np.ones((2, 1), np.float32),
      features.CLIP_ID: np.array([b'first', b'first'])}


@pytest.fixture(scope='module')
def scores(batch, tmp_path_factory):
  generator = Generator.from_pretrained(*random_nets.save(tmp_path_factory.mktemp('nets')))
  clips = [{key: value[clip:clip + 1] for key, value in batch.items()} for clip in range(2)]
  return evaluate.evaluate(generator, iter(clips))


def test_truth_against_truth_is_perfect_and_padding_counts_nothing(scores):
  assert [clip['clip_id'] for clip in scores] == ['first']
  real, still = scores[0]['real'], scores[0]['still']
  for row in (real, still):  # this face stands still: its example frame is the truth
    assert row['psnr'] == row['psnr_mouth'] == 100
    assert row['ssim'] == pytest.approx(1, abs=1e-5) and row['ssim_mouth'] == pytest.approx(1, abs=1e-5)
  assert real['lmd'] < 3
  assert still['opening_r'] == pytest.approx(0, abs=1e-5)


def test_random_nets_are_worse_than_the_still_frame(scores):
  for row in ('true landmarks', 'sound'):
    assert scores[0][row]['psnr'] < 30 and scores[0][row]['ssim'] < 0.9


def test_landmark_scores(portrait, batch):
  true = batch[features.LANDMARKS][0]
  assert evaluate.landmark_scores(true, true) == {
      'lmd': 0.0, 'opening_r': pytest.approx(1, abs=1e-5), 'opening_range': pytest.approx(1)}
  moved = faces.normalise(faces.denormalise(true) + [3, 4])  # every point by five pixels
  assert evaluate.landmark_scores(moved, true) == {
      'lmd': pytest.approx(5, rel=1e-4), 'opening_r': pytest.approx(1, abs=1e-3),
      'opening_range': pytest.approx(1, abs=1e-3)}
  unseen = evaluate.landmark_scores(None, true)
  assert np.isnan(unseen['lmd']) and unseen['opening_r'] == 0
  closing = true[:1] + (true - true[:1]) / 2
  assert evaluate.landmark_scores(closing, true)['opening_range'] == pytest.approx(0.5, abs=1e-3)
  assert np.isnan(evaluate.landmark_scores(true, true[:1].repeat(8, axis=0))['opening_r'])


def test_redetection_agrees_with_the_picture_s_own_landmarks(portrait):
  found = evaluate.redetect(faces.FaceLandmarker(), np.stack([portrait.crop] * 2))
  distance = np.linalg.norm(faces.denormalise(found[0]) - faces.denormalise(portrait.landmarks), axis=-1)
  assert distance[features.MOUTH].mean() < 1
  assert evaluate.redetect(faces.FaceLandmarker(), np.zeros((2, 128, 128, 3), np.uint8)) is None


def test_the_table_and_the_files(scores, tmp_path, monkeypatch):
  results = {'split': 'validation', 'data': {'here': evaluate.summary(scores)}}
  text = evaluate.markdown(results)
  assert '| still | 100.00 | 1.0000 |' in text and 'here' in text and '1 clips' not in text
  unseen = [{**scores[0], 'sound': {**scores[0]['sound'], 'lmd': float('nan')}}]
  assert evaluate.summary(unseen)['rows']['sound']['lmd'] is None
  monkeypatch.setattr(evaluate, 'load_nets', lambda nets: (random_nets.bundle('at'), random_nets.bundle('vg')))
  monkeypatch.setattr(evaluate, '_clips', lambda *_: iter(()))
  monkeypatch.setattr(evaluate, 'evaluate', lambda *_: unseen)
  out = tmp_path / 'out'
  assert '—' in evaluate.run(['here'], 'validation', out=str(out))
  assert json.loads((out / 'evaluation.json').read_text())['data']['here']['clips'] == 1
  assert sorted(path.name for path in out.iterdir()) == ['evaluation.json', 'evaluation.md']
  with pytest.raises(InputError, match='is a file'):
    evaluate.run(['here'], 'validation', out=str(out / 'evaluation.md'))


def test_the_example_frame_is_not_scored():
  video = np.zeros((4, 2, 2, 3), np.uint8)
  video[1:] = 7
  np.testing.assert_array_equal(evaluate._other_frames(video, video[0]), [False, True, True, True])
  np.testing.assert_array_equal(evaluate._other_frames(video[1:], video[1]), [True, True, True])


def test_an_empty_split_is_told(tmp_path):
  with pytest.raises(InputError, match='no clip'):
    evaluate.evaluate(None, iter(()))
