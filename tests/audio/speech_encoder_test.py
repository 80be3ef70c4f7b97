"""The speech encoder answers as transformers' Whisper does with the same tensors."""

import hashlib

import golden_recipe as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from demo_samples import demo_speech

from atvg_jax.audio import speech_encoder
from atvg_jax.tools import cut_speech_encoder
from data_pipelines.media import log_mel


@pytest.fixture(scope='module')
def params():
  return speech_encoder.pretrained()


@pytest.fixture(scope='module')
def heard():
  return log_mel.log_mel(demo_speech())[None]


def _encode(params, rows, first=0):
  return np.asarray(speech_encoder.SpeechEncoder().apply({'params': params}, rows, first))


def test_equals_transformers(params, heard):
  with np.load(golden.path('speech_encoder.npz'), allow_pickle=False) as file:
    packaged, original = file['packaged'], file['original']
  answer = _encode(params, heard)[0, ::10]
  np.testing.assert_allclose(answer, packaged, atol=5e-3)
  # What the packaged file's int8 costs.
  assert np.sqrt(np.mean((answer - original) ** 2)) < 0.04 * original.std()


def test_has_the_parameters_of_the_module(params, heard):
  shapes = jax.eval_shape(speech_encoder.SpeechEncoder().init, jax.random.key(0), heard)['params']
  assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(lambda leaf: leaf.shape, params)


def test_places(params, heard):
  rows = np.concatenate([heard, heard])
  both = _encode(params, rows, jnp.array([0, 300]))
  np.testing.assert_allclose(both[0], _encode(params, heard)[0], atol=1e-4)
  assert np.abs(both[1] - both[0]).max() > 0.1


def test_two_rows_a_frame(params, heard):
  frames = speech_encoder.frame_features(_encode(params, heard))
  assert frames.shape == (1, 50, 768)


def test_origin_is_told():
  text = speech_encoder.asset('speech_encoder.md').read_text()
  assert hashlib.sha256(speech_encoder.asset('speech_encoder.npz').read_bytes()).hexdigest() in text
  licence = speech_encoder.asset('LICENSE.whisper').read_text()
  assert 'MIT License' in licence and 'OpenAI' in licence


def test_int8_and_back(tmp_path):
  rng = np.random.default_rng(0)
  arrays = {
    'dense/kernel': rng.standard_normal((7, 5)).astype(np.float32) * np.logspace(-3, 0, 5, dtype=np.float32),
    'dense/bias': rng.standard_normal(5).astype(np.float32),
  }
  np.savez(tmp_path / 'small.npz', **cut_speech_encoder.quantised(arrays))
  back = speech_encoder.pretrained(tmp_path / 'small.npz')['dense']
  np.testing.assert_allclose(
    back['kernel'] / np.abs(arrays['dense/kernel']).max(axis=0),
    arrays['dense/kernel'] / np.abs(arrays['dense/kernel']).max(axis=0),
    atol=0.5 / 127 + 1e-6,
  )
  np.testing.assert_allclose(back['bias'], arrays['dense/bias'], rtol=1e-3)


def test_something_else_is_no_model():
  with pytest.raises(ValueError, match='CTranslate2'):
    cut_speech_encoder.read_ctranslate2(b'\x06\0\0\0\x0c\0WhisperSpec\0')
  with pytest.raises(ValueError, match='version 5'):
    cut_speech_encoder.read_ctranslate2(b'\x05\0\0\0\x0c\0WhisperSpec\0')
