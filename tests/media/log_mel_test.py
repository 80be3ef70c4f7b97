"""Log-mel rows are those of transformers' Whisper, by NumPy and by JAX alike."""

import golden_recipe as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from demo_samples import demo_speech

from data_pipelines.media import log_mel


@pytest.mark.parametrize('xp', [np, jnp])
def test_log_mel_equals_transformers(xp):
  with np.load(golden.path('speech_encoder.npz'), allow_pickle=False) as file:
    np.testing.assert_allclose(log_mel.log_mel(demo_speech(), xp)[::10], file['log_mel'], atol=1e-4)


def test_batches_under_jit():
  samples = (0.1 * np.random.default_rng(0).standard_normal((2, 3, 1_000))).astype(np.float32)
  rows = jax.jit(lambda samples: log_mel.log_mel(samples, jnp))(samples)
  assert rows.shape == (2, 3, 6, 80) and rows.dtype == np.float32
  np.testing.assert_allclose(rows, log_mel.log_mel(samples), atol=1e-4)
  np.testing.assert_allclose(rows[1, 2], log_mel.log_mel(samples[1, 2]), atol=1e-4)


def test_silence_is_the_floor_and_loudness_is_kept():
  np.testing.assert_allclose(log_mel.log_mel(np.zeros(1_600, np.float32)), np.full((10, 80), -0.75), atol=1e-6)
  sound = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
  np.testing.assert_allclose(log_mel.log_mel(sound) - log_mel.log_mel(0.1 * sound), 0.5, atol=1e-4)  # 20 dB


def test_a_moment_is_heard_alike_whatever_follows():
  sound = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
  sound[8_000:] *= 10
  np.testing.assert_allclose(log_mel.log_mel(sound[:8_000])[:48], log_mel.log_mel(sound)[:48], atol=1e-6)
