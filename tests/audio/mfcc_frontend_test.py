"""The MFCC in JAX are those of the golden file and of their twin, for batches, and have gradients."""

import golden_recipe as golden
import jax
import numpy as np
import pytest

from atvg_jax.audio import mfcc_frontend
from data_pipelines.media import audio


def test_mfcc_equals_python_speech_features():
  with np.load(golden.path('mfcc_audio_sample.npz'), allow_pickle=False) as file:
    np.testing.assert_allclose(mfcc_frontend.mfcc(file['samples']), file['mfcc'], atol=1e-3)


@pytest.mark.parametrize('length', [1, 400, 401, 8_000])
def test_mfcc_equals_its_twin(length):
  samples = (0.1 * np.random.default_rng(0).standard_normal((2, 3, length))).astype(np.float32)
  rows = np.asarray(mfcc_frontend.mfcc(samples))
  assert rows.dtype == np.float32
  expected = [audio.mfcc(one) for one in samples.reshape(6, length)]
  np.testing.assert_allclose(rows.reshape(6, *rows.shape[2:]), expected, atol=1e-3)


def test_silence_at_the_ends_and_alone():
  samples = np.zeros(8_000, np.float32)
  np.testing.assert_allclose(mfcc_frontend.mfcc(samples), audio.mfcc(samples), atol=1e-3)
  samples[2_000:6_000] = 0.3 * np.sin(0.1 * np.arange(4_000))
  np.testing.assert_allclose(mfcc_frontend.mfcc(samples)[:, 0], audio.mfcc(samples)[:, 0], atol=1e-3)


def test_cepstra_of_digital_silence_are_exactly_zero():
  """Rounding errors there differ by version and device, and a group norm of nothing else makes them large."""
  assert not np.any(mfcc_frontend.mfcc(np.zeros(4000))[..., 1:])


def test_gradients_are_those_of_differences():
  samples = (0.1 * np.random.default_rng(1).standard_normal(800)).astype(np.float32)
  loss = jax.jit(lambda samples: mfcc_frontend.mfcc(samples)[:, 1:].mean())
  gradient = jax.grad(loss)(samples)
  direction = np.sign(gradient)
  step = 1e-4 * direction
  difference = (loss(samples + step) - loss(samples - step)) / 2e-4
  np.testing.assert_allclose(gradient @ direction, difference, rtol=1e-2)
  assert not np.asarray(jax.grad(loss)(np.zeros(800, np.float32))).any()  # of silence: zeros, no NaN
