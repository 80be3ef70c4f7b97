"""Channels of sound to one: their mean, or the louder one where they cancel each other."""

import numpy as np

from data_pipelines import features

# Independent channels leave sum(power) / channels² in their mean. Less than this share of it, and they are the same
# sound with opposite signs: a cable with two poles changed, or one channel turned round by mistake.
_CANCELLED = 0.1
_HALF_LIFE = 0.5 * features.SAMPLE_RATE  # samples: what is older counts less
_LOUDER = 2.0  # times the power of the channel that is taken, for another to be taken instead


class Downmix:
  """Takes pieces of sound in turn, and remembers how loud the channels were and how loud their mean was."""

  def __init__(self):
    self._power = np.zeros(0)
    self._mean_power = 0.0
    self._taken: int | None = None

  def __call__(self, samples: np.ndarray) -> np.ndarray:
    """float32 [C, n] → [n]."""
    mean = samples.mean(axis=0)
    if len(samples) == 1:
      return mean
    if len(self._power) != len(samples):
      self._power, self._mean_power, self._taken = np.zeros(len(samples)), 0.0, None
    kept = 0.5 ** (samples.shape[1] / _HALF_LIFE)
    self._power = kept * self._power + _power(samples)
    self._mean_power = kept * self._mean_power + float(_power(mean[None])[0])
    if self._mean_power >= _CANCELLED * self._power.sum() / len(samples) ** 2:
      self._taken = None
      return mean
    loudest = int(self._power.argmax())
    if self._taken is None or self._power[loudest] > _LOUDER * self._power[self._taken]:
      self._taken = loudest
    return samples[self._taken]


def _power(samples: np.ndarray) -> np.ndarray:
  """[C, n] → [C]; what is no number counts nothing."""
  return np.square(np.clip(np.nan_to_num(samples), -1, 1), dtype=np.float64).sum(axis=1)
