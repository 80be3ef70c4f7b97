"""Channels become one, and none is lost because another says the opposite."""

import numpy as np
import pytest

from data_pipelines import features
from data_pipelines.media.downmix import Downmix

_PIECE = 341


def _speech(seconds=3.0, seed=0):
  rng = np.random.default_rng(seed)
  count = round(seconds * features.SAMPLE_RATE)
  loudness = np.repeat(rng.random(count // 1600 + 1) > 0.3, 1600)[:count]
  return (0.2 * rng.normal(size=count) * loudness).astype(np.float32)


def _mixed(channels):
  downmix, channels = Downmix(), np.asarray(channels, np.float32)
  return np.concatenate([downmix(channels[:, i : i + _PIECE]) for i in range(0, channels.shape[1], _PIECE)])


def _noise(samples, seed):
  return 1e-4 * np.random.default_rng(seed).normal(size=len(samples))


@pytest.mark.parametrize('weight', [1.0, 0.7])
def test_channels_out_of_phase_give_the_louder_one(weight):
  speech = _speech()
  first, second = speech + _noise(speech, 1), -weight * speech + _noise(speech, 2)
  np.testing.assert_allclose(_mixed([first, second]), first, atol=2e-3)
  np.testing.assert_allclose(_mixed([second, first]), first, atol=2e-3)


def test_speech_that_begins_late_is_not_lost():
  speech = np.concatenate([np.zeros(20_000, np.float32), _speech()])
  first, second = speech + _noise(speech, 1), -speech + _noise(speech, 2)
  assert abs(np.corrcoef(_mixed([first, second]), speech)[0, 1]) > 0.99  # of either sign


@pytest.mark.parametrize(
  'channels',
  [
    lambda speech: [speech, speech],
    lambda speech: [speech, 0 * speech],
    lambda speech: [speech, _speech(seed=5)],
    lambda speech: [speech, np.roll(speech, 300)],
    lambda speech: [0 * speech, 0 * speech, speech, 0 * speech, 0 * speech, 0 * speech],
    lambda speech: [speech],
  ],
)
def test_all_others_give_the_mean(channels):
  channels = np.asarray(channels(_speech()), np.float32)
  np.testing.assert_allclose(_mixed(channels), channels.mean(axis=0), atol=1e-6)


def test_what_is_no_number_disturbs_nothing_after_it():
  speech = _speech()
  channels = np.stack([speech, -speech])
  channels[:, 1000:1100] = np.nan
  np.testing.assert_allclose(_mixed(channels)[2000:], speech[2000:], atol=1e-6)
