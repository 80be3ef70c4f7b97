"""Lags are told where they can be, and not where they cannot."""

import numpy as np
import pytest

from data_pipelines.conversion import lip_sync

_SECONDS = 32


def talk(seed: int, seconds: int = _SECONDS) -> tuple[np.ndarray, np.ndarray]:
  """An opening of the mouth that wanders [25 n], and a voice that follows it, with its margins.

  The wider the mouth, the louder and the brighter the noise.
  """
  rng = np.random.default_rng(seed)
  num_frames = 25 * seconds + 2 * lip_sync.MARGIN
  steps = np.convolve(rng.normal(size=num_frames), np.hanning(9), 'same')
  opening = 0.1 + 0.03 * steps / steps.std()
  # The mouth is 20 ms behind what is heard, as in real speech.
  times = np.arange(640 * num_frames) / 16_000 + 0.02
  loudness = np.interp(times, (np.arange(num_frames) + 0.5) / 25, opening)
  noise = rng.normal(size=len(times))
  dull = np.convolve(noise, np.ones(8) / 8, 'same')
  sound = 0.05 * dull + 2 * np.clip(loudness - 0.05, 0, None) * 0.3 * (noise - dull)
  return opening[lip_sync.MARGIN : -lip_sync.MARGIN], sound.astype(np.float32)


@pytest.mark.parametrize('late', [0.0, 0.2, -0.12, 0.4])
def test_the_lag_is_found(late):
  opening, sound = talk(0)
  found = lip_sync.estimate([(opening, np.roll(sound, round(late * 16_000)))])
  assert found == pytest.approx(late, abs=0.03)


def test_many_short_pieces_do_as_well_as_a_long_one():
  pieces = [(opening, np.roll(sound, 1600)) for opening, sound in (talk(seed, 2) for seed in range(15))]
  assert lip_sync.estimate(pieces) == pytest.approx(0.1, abs=0.03)


def test_nothing_is_told_of_little_or_of_another_voice():
  opening, sound = talk(0)
  assert lip_sync.estimate([(opening, talk(1)[1])]) is None
  assert lip_sync.estimate([(opening, np.zeros_like(sound))]) is None
  assert lip_sync.estimate([(opening, sound[: len(sound) // 2])]) is None  # ends too early
  assert lip_sync.estimate([talk(0, 10)]) is None
  assert lip_sync.estimate([]) is None
  assert lip_sync.estimate([(np.full_like(opening, 0.1), sound)]) is None
