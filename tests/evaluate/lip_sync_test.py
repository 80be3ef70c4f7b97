"""The embedding of lips and sound: its curve peaks where they belong together, and it can be learnt."""

import jax
import numpy as np
import pytest
from demo_samples import demo_speech

from atvg_jax.audio import speech_encoder
from atvg_jax.checkpoints import weights
from atvg_jax.evaluate.metric_networks import lip_sync, lip_sync_training, networks
from atvg_jax.generate import demo
from atvg_jax.generate.generator import Generator
from data_pipelines import features
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_reader


def _unit(values):
  return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.mark.parametrize('late', [-5, -2, 0, 3])
def test_the_curve_peaks_at_the_shift(late):
  sound = _unit(np.random.default_rng(0).normal(size=(40, 16)))
  curve = np.asarray(lip_sync.similarities(np.roll(sound, late, axis=0)[5:-5], sound[5:-5]))
  assert curve.max() == pytest.approx(1, abs=1e-5) and round(lip_sync.lag(curve)) == late


def test_the_lag_lies_between_frames():
  shifts = np.arange(-lip_sync.MAX_LAG, lip_sync.MAX_LAG + 1)
  assert lip_sync.lag(-((shifts + 1.3) ** 2)) == pytest.approx(1.3)
  assert lip_sync.lag(-((shifts - 5.0) ** 2)) == -5


@pytest.mark.parametrize('tower, size', [(lip_sync.LIPS, 50), (lip_sync.SOUND, 768)])
def test_an_embedding_sees_so_many_frames_and_no_more(tower, size):
  x = np.random.default_rng(0).normal(size=(1, 30, size)).astype(np.float32)
  params = tower.init(jax.random.key(0), x)
  changed = x.copy()
  changed[:, 15, :10] += 1
  embedded, other = tower.apply(params, x), tower.apply(params, changed)
  assert embedded.shape == (1, 30 - 2 * lip_sync.REACH, 64)
  np.testing.assert_allclose(np.linalg.norm(embedded, axis=-1), 1, rtol=1e-5)
  moved = np.flatnonzero(np.abs(embedded - other).max(axis=(0, 2)) > 1e-6) + lip_sync.REACH
  assert moved.min() >= 15 - lip_sync.REACH and moved.max() <= 15 + lip_sync.REACH


def test_where_the_face_is_does_not_matter():
  landmarks = face_alignment.normalise(face_alignment.TEMPLATE)[None] + np.zeros((30, 1), np.float32)
  landmarks = landmarks + np.random.default_rng(0).normal(0, 0.01, landmarks.shape).astype(np.float32)
  np.testing.assert_allclose(lip_sync.lips_input(landmarks + 0.1), lip_sync.lips_input(landmarks), atol=1e-5)


def _clips(count, seed):
  """Clips whose sound is what the mouth does, in 768 numbers."""
  rng = np.random.default_rng(seed)
  mix = np.random.default_rng(7).normal(size=(3, 768))
  clips = []
  for number in range(count):
    motion = np.cumsum(rng.normal(size=(40, 3)), axis=0)
    motion -= motion.mean(axis=0)
    points = np.tile(face_alignment.TEMPLATE, (40, 1, 1))
    points[:, 48:68, 1] += motion[:, :1]
    points[:, 48:58, 0] += motion[:, 1:2]
    points[:, 6:11, 1] += motion[:, 2:]
    clips.append(
      lip_sync_training.Clip('ab'[number % 2], face_alignment.normalise(points), (motion @ mix).astype(np.float16), 0.0)
    )
  return clips


def test_it_learns_and_is_validated_on_others(tmp_path):
  params = lip_sync_training.train(_clips(20, 0), steps=40)
  found = lip_sync_training.validate(params, _clips(12, 1))
  assert found.clips == found.clips_in_step == 12
  assert found.in_step > 0.8 and found.near > 0.9 and found.auc > 0.9 and found.in_step_of_those == found.in_step
  late = [clip._replace(sound=np.roll(clip.sound, 2, axis=0), offset_ms=80.0) for clip in _clips(12, 1)]
  found = lip_sync_training.validate(params, late)
  assert found.in_step < 0.2 and found.clips_in_step == 0 and np.isnan(found.in_step_of_those)
  lip_sync_training.save(tmp_path / 'net.npz', params)
  saved = speech_encoder.pretrained(tmp_path / 'net.npz')
  jax.tree.map(lambda kept, array: np.testing.assert_allclose(kept, array, atol=1e-3, rtol=1e-3), saved, params)


@pytest.fixture(scope='module')
def spoken():
  """Landmarks [T, 136] that AT-net gives to the packaged recording, and that."""
  generator = Generator(*weights.load_nets(['speech']))
  samples = demo_speech()
  portrait = generator.find_face(video_reader.read_image(demo.portrait()))
  return np.concatenate(list(generator.speech_landmarks(portrait, samples))), samples


@pytest.mark.parametrize('name', lip_sync.WEIGHTS)
def test_a_face_that_speaks_is_in_step_and_a_late_one_is_not(spoken, name):
  landmarks, samples = spoken
  embedding = lip_sync.LipSync(name)
  heard = embedding.hear(samples, len(landmarks))
  itself = embedding(landmarks, heard)
  # Its card: clips that are in step are found at most a frame off.
  assert itself['sync'] > 0.5 and abs(itself['sync_lag']) < 1
  late = embedding(np.concatenate([landmarks[:1]] * 3 + [landmarks[:-3]]), heard)
  assert late['sync'] < itself['sync'] - 0.3
  assert late['sync_lag'] - itself['sync_lag'] == pytest.approx(3, abs=0.3)
  backwards = embedding(landmarks[::-1], heard)
  assert backwards['sync'] < 0.3
  still = embedding(np.repeat(landmarks[:1], len(landmarks), axis=0), heard)
  assert still['sync'] < 0.5 and np.isnan(still['sync_lag'])
  # The face elsewhere, and nothing to score.
  assert embedding(landmarks + 0.05, heard)['sync'] == pytest.approx(itself['sync'], abs=1e-3)
  for nothing in (embedding(None, heard), embedding(landmarks, None), embedding(landmarks[:20], heard[:10])):
    assert np.isnan(nothing['sync']) and np.isnan(nothing['sync_lag'])


def test_it_is_a_column_on_request(spoken):
  landmarks, samples = spoken
  metric_networks = networks.MetricNetworks(sync='all')
  assert metric_networks.needs_sound
  videos = {row: np.zeros((50, 8, 8, 3), np.uint8) for row in ('sound', 'real')}
  found = {'sound': landmarks[:50], 'real': None}
  scores = metric_networks.clip_scores(videos, videos['real'][0], samples[: 50 * features.SAMPLES_PER_FRAME], found)
  assert scores['sound']['sync'] > 0.4 and np.isnan(scores['real']['sync'])
  assert np.isnan(metric_networks.clip_scores(videos, videos['real'][0], None, found)['sound']['sync'])
