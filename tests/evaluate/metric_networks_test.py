"""SyncNet, FID's Inception and LPIPS against PyTorch's outputs for the same weights, and scores of known cases."""

import json
import pickle

import golden_recipe as golden
import jax
import numpy as np
import pytest

from atvg_jax.evaluate.metric_networks import fid, layers, lpips, networks, sync_net
from data_pipelines.errors import InputError


@pytest.fixture(scope='module')
def answers():
  with np.load(golden.path(f'metric_networks_{golden.SEED}.npz'), allow_pickle=False) as file:
    return dict(file)


def _weights(name):
  return {
    key: golden.weight(key, tuple(shape)) for key, shape in golden.read_json('metric_networks.json')[name].items()
  }


@pytest.fixture(scope='module')
def sync_weights():
  return _weights('syncnet')


def test_sync_net_is_the_published_one(answers, sync_weights):
  weights = layers.StateDict(sync_weights, 'here')
  frames = golden.inputs('sync/frames', (2, 3, 5, 224, 224), 60).transpose(0, 2, 3, 4, 1)
  rows = golden.inputs('sync/rows', (2, 1, 13, 20), 10)[:, 0].transpose(0, 2, 1)
  golden.assert_close(sync_net.lip_features(weights, frames), answers['sync/seen'])
  golden.assert_close(sync_net.sound_features(weights, rows), answers['sync/heard'])


@pytest.mark.slow
def test_inception_is_that_of_the_fid(answers):
  golden.assert_close(fid.Inception(_weights('inception'))(golden.pictures('judges', 4)[:2]), answers['inception'])


def _lpips_weights():
  convs, inputs, weights = {}, 3, {}
  for number, (place, (features, kernel, _, _)) in enumerate(zip((0, 3, 6, 8, 10), lpips._CONVS, strict=True)):
    kernel = golden.weight(f'{place}.weight', (features, inputs, kernel, kernel)).transpose(2, 3, 1, 0)
    convs[f'Conv_{number}'] = {'kernel': kernel, 'bias': golden.weight(f'{place}.bias', (features,))}
    importance = np.abs(golden.weight(f'lin{number}', (features,)))
    weights[f'NetLinLayer_{number}'] = {'Conv_0': {'kernel': importance[None, None, :, None]}}
    inputs = features
  return weights | {'AlexNet_0': convs}


def test_lpips_is_the_published_one(answers):
  pictures = golden.pictures('judges', 4)
  found = lpips.distance(_lpips_weights(), pictures[:2], pictures[2:])
  np.testing.assert_allclose(found, answers['lpips'], rtol=1e-4)
  assert (np.asarray(lpips.distance(_lpips_weights(), pictures[:2], pictures[:2])) == 0).all()


def test_lips_go_with_the_sound_at_the_shift_where_they_are_near():
  seen = np.random.default_rng(0).normal(size=(60, 1024)).astype(np.float32)
  together = sync_net.scores(seen, seen)
  assert together['lse_d'] < 1e-3 and together['lse_c'] > 20
  late = sync_net.scores(np.roll(seen, 3, axis=0), seen)  # found again where it went: only the three at the end are not
  assert late['lse_d'] == pytest.approx(3 / 60 * np.sqrt(2 * 1024), rel=0.5)
  strangers = sync_net.scores(seen, np.random.default_rng(1).normal(size=(60, 1024)))
  assert strangers['lse_d'] > 30 and strangers['lse_c'] < 3


def test_sync_net_scores_a_video(sync_weights):
  score = sync_net.SyncNet(sync_weights)
  frames = golden.pictures('video', 8)
  sound = np.random.default_rng(0).normal(size=8 * 640).astype(np.float32) * 0.1
  assert np.isfinite(list(score(frames, sound).values())).all()
  assert (
    np.isnan(list(score(frames[:5], sound).values())).all() and np.isnan(list(score(frames, sound[:0]).values())).all()
  )


def test_weights_of_another_network_are_refused(sync_weights):
  with pytest.raises(InputError, match='it.model has no netcnnlip.0.weight'):
    sync_net.SyncNet({}, 'it.model')
  broken = sync_weights | {'netfcaud.0.bias': np.zeros(3, np.float32)}
  with pytest.raises(InputError, match=r'netfcaud.0.bias has the shape \[3\], not \[512\]'):
    sync_net.SyncNet(broken)
  with pytest.raises(InputError, match='another network'):
    fid.Inception(sync_weights)


def test_the_frechet_distance_of_normal_clouds(monkeypatch):
  monkeypatch.setattr(fid, 'FEATURES', 3)
  rng = np.random.default_rng(0)
  cloud = rng.normal(size=(4000, 3))

  def moments(features):
    found = fid.Moments()
    for part in np.array_split(features, 7):
      found.add(part)
    return found

  assert fid.distance(moments(cloud), moments(cloud)) == pytest.approx(0, abs=1e-6)
  assert fid.distance(moments(cloud + np.array([3, 0, 4])), moments(cloud)) == pytest.approx(25, rel=1e-6)
  # Of C and 4 C: tr(C + 4 C - 2 · 2 C) = tr(C).
  centred = cloud - cloud.mean(axis=0)
  assert fid.distance(moments(2 * centred), moments(centred)) == pytest.approx(np.trace(np.cov(centred.T)), rel=1e-6)
  assert np.isnan(fid.distance(moments(cloud[:1]), moments(cloud)))


class _Code:
  def __reduce__(self):
    return print, ('this was run',)


def test_a_pickle_cannot_run_code(tmp_path, capsys, monkeypatch):
  import hashlib

  for content, message in (
    (_Code(), 'builtins.print is no part'),
    ({'a': json.JSONDecoder}, 'json.decoder.JSONDecoder'),
  ):
    path = tmp_path / 'weights.ckpt'
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match='was not opened'):
      lpips._read(str(path))
    with pytest.raises(pickle.UnpicklingError, match=message):
      lpips._read(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
  assert 'this was run' not in capsys.readouterr().out
  arrays = {'kernel': {'values': np.arange(6, dtype=np.float32).reshape(2, 3)}}
  path.write_bytes(pickle.dumps(arrays, protocol=4).replace(b'numpy._core.multiarray', b'numpy.core.multiarray'))
  with pytest.raises(InputError, match='pip install'):
    lpips._read(str(tmp_path / 'none'))
  monkeypatch.setattr(lpips.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(InputError, match='lpips'):
    lpips.Lpips()


def test_equal_videos_are_perfect_to_the_metric_networks(monkeypatch):
  distance = jax.jit(lpips.distance)
  monkeypatch.setattr(
    networks.lpips, 'Lpips', lambda: lambda ours, true: np.asarray(distance(_lpips_weights(), ours, true))
  )
  metric_networks = networks.MetricNetworks(use_lpips=True)
  true = golden.pictures('video', 11)
  scores = metric_networks.clip_scores(
    {'other': true[::-1], 'real': true}, true[0], None, dict.fromkeys(('other', 'real'))
  )
  assert scores['real'] == {'lpips': pytest.approx(0, abs=1e-9)} and scores['other']['lpips'] > 0.01
  assert metric_networks.set_scores() == {} and not metric_networks.needs_sound
