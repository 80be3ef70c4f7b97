"""The offset between mouth and sound is found as it was put in, and nothing is said of noise."""

import numpy as np
import pytest

from data_pipelines import features
from data_pipelines.conversion import sound_sync

_CALIBRATION = 1000 * sound_sync._ANTICIPATION


def _clip(seed: int, late: float, num_frames: int = 30) -> tuple[np.ndarray, np.ndarray]:
  """Landmarks whose lips part to a random tune, and a noise as loud as that, `late` seconds after."""
  rng = np.random.default_rng(seed)
  times = np.arange(-1, num_frames / features.FPS + 1, 0.02)
  tune = np.convolve(rng.normal(size=len(times)), np.hanning(9) / 4, 'same') + 1.5
  landmarks = np.zeros((num_frames, features.NUM_LANDMARKS, 2), np.float32)
  landmarks[:, features.LEFT_EYE, 0] = 0.6
  frames = (np.arange(num_frames) + 0.5) / features.FPS
  landmarks[:, 65:68, 1] = 0.1 * np.interp(frames, times, tune)[:, None]
  moments = np.arange(num_frames * features.SAMPLES_PER_FRAME) / features.SAMPLE_RATE
  loud = np.maximum(np.interp(moments - late, times, tune), 0)
  return landmarks.reshape(num_frames, -1), 0.1 * loud * rng.normal(size=len(moments))


def _pool(late: float, clips: int = 40) -> sound_sync.Pool:
  pool = sound_sync.Pool()
  for seed in range(clips):
    pool.add(sound_sync.row(*_clip(seed, late)))
  return pool


@pytest.mark.parametrize('late', [-0.1, 0.0, 0.07])
def test_the_offset_is_found(late):
  estimate = _pool(late).estimate()
  np.testing.assert_allclose(estimate.offset_ms, 1000 * late + _CALIBRATION, atol=6)
  assert estimate.uncertainty_ms < 6 and estimate.correlation > 0.6 and estimate.clips == 40
  assert estimate.verdict == ('sound early' if late < -0.08 else 'sound late' if late > 0.02 else 'in step')


def test_noise_is_unclear_and_so_is_nothing():
  pool = sound_sync.Pool()
  for seed in range(40):
    pool.add(sound_sync.row(_clip(seed, 0)[0], _clip(100 + seed, 0)[1]))
  assert pool.estimate().verdict == 'unclear'
  assert sound_sync.Pool().estimate() == (None, None, None, 0)
  one = sound_sync.Pool()
  one.add(sound_sync.row(*_clip(0, 0)))
  assert one.estimate().verdict == 'unclear'
  still = sound_sync.Pool()
  still.add(sound_sync.row(np.zeros((16, 136), np.float32), np.zeros(16 * 640)))
  assert still.estimate().offset_ms is None


def test_loudness_follows_the_sound_in_its_band():
  time = np.arange(16_000) / 16_000
  for frequency, louder in ((2000, True), (300, False)):
    tone = np.where(time < 0.5, 0, 0.1 * np.sin(2 * np.pi * frequency * time))
    values = sound_sync.loudness(tone)
    assert values.shape == (100,)
    assert (values[60:90].mean() - values[10:40].mean() > 5) == louder
  # The step in the middle of the sound is in the middle of the values.
  values = sound_sync.loudness(np.where(time < 0.5, 0, 0.1 * np.sin(2 * np.pi * 2000 * time)))
  half = (values.min() + values.max()) / 2
  assert abs(int(np.argmax(values > half)) - 50) <= 2
