"""Facts of a record are what they are called."""

import numpy as np

from data_pipelines import features
from data_pipelines.conversion import record_facts, sound_sync


def test_facts():
  landmarks = np.zeros((20, features.NUM_LANDMARKS, 2), np.float32)
  landmarks[:, features.LEFT_EYE, 0] = 0.5  # eye distance
  landmarks[::2, 65:68, 1] = 0.1  # opens and closes every frame by a fifth of it
  time = np.arange(20 * 640) / 16_000
  sound = np.round(32767 * 0.1 * np.sin(2 * np.pi * 200 * time)).astype(np.int16)
  fields = {features.LANDMARKS: landmarks.reshape(20, -1), features.AUDIO: sound}
  facts = record_facts.measure(fields)
  assert facts['sound_level'] == -23.0  # of a sine: 20 log10(0.1 / sqrt 2)
  np.testing.assert_allclose(facts['mouth_motion'], 0.2, atol=1e-3)
  assert len(facts['sync']) == sound_sync.ROW_SIZE
  silent = record_facts.measure(fields | {features.AUDIO: np.zeros_like(sound)})
  assert silent['sound_level'] == -100.0
