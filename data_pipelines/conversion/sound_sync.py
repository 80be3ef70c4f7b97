"""How late a source's sound comes after the lips: the opening of the mouth against the loudness of the sound.

One clip of a second says next to nothing; the correlations of many clips of one source, pooled, have a clear peak.
What is kept of a clip is a row of sums, so that any number of clips is pooled in little memory.
"""

from typing import NamedTuple

import numpy as np

from data_pipelines import features
from data_pipelines.faces import face_alignment

STEP = 0.01  # seconds between two lags, and between two values of the loudness
LAGS = np.arange(-30, 31)  # in steps: the sound comes so much later than the lips
ROW_SIZE = len(LAGS) + 2  # covariance at every lag, variance of the mouth, variance of the sound

# Vowels are loud here when the mouth is wide open; below, the voice is loud through nearly closed lips too.
_BAND = (1000.0, 3000.0)  # Hz
_WINDOW = 400  # samples: 25 ms
_FFT = 512
_FLOOR = 1e-4  # of the energy in the band, before the logarithm: noise of the room
_SMOOTHING = 5  # steps
# A mouth is still opening when the sound is already loud: the correlation peaks before its time. Measured on GRID,
# whose sound is known to be 0 to 20 ms late (taken as 10) and whose peak lies at -18 ms.
_ANTICIPATION = 0.028  # seconds
_DRAWS = 200  # of the bootstrap

FEWEST = 10  # clips: with fewer, the uncertainty cannot be estimated
UNCLEAR = 40.0  # ms: offsets with a larger uncertainty are called unclear
TOLERANCE = 40.0  # ms, one frame: what counts as in step


class Estimate(NamedTuple):
  """Of one source: `offset_ms` is positive where the sound is late; None where there is nothing to correlate."""

  offset_ms: float | None
  uncertainty_ms: float | None  # standard deviation over resampled blocks of clips
  correlation: float | None  # at the peak
  clips: int

  @property
  def verdict(self) -> str:
    """'unclear', 'in step', 'sound late' or 'sound early'."""
    if self.offset_ms is None or self.clips < FEWEST or (self.uncertainty_ms or 0) > UNCLEAR:
      return 'unclear'
    if abs(self.offset_ms) <= TOLERANCE:
      return 'in step'
    return 'sound late' if self.offset_ms > 0 else 'sound early'


def loudness(samples: np.ndarray) -> np.ndarray:
  """float32 [n] at 16 kHz → [n // 160]: log energy between 1 and 3 kHz, 25 ms around the middle of every 10 ms."""
  hop = round(STEP * features.SAMPLE_RATE)
  count = len(samples) // hop
  left = (_WINDOW - hop) // 2
  padded = np.pad(np.asarray(samples, np.float32), (left, _WINDOW))
  windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[: count * hop : hop]
  power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW).astype(np.float32), _FFT)) ** 2
  frequency = np.fft.rfftfreq(_FFT, 1 / features.SAMPLE_RATE)
  energy = power[:, (frequency >= _BAND[0]) & (frequency < _BAND[1])].sum(axis=1)
  reach = _SMOOTHING // 2
  smooth = np.convolve(np.pad(np.log(energy + _FLOOR), reach, mode='edge'), np.ones(_SMOOTHING) / _SMOOTHING, 'valid')
  return smooth[:count]


def row(landmarks: np.ndarray, samples: np.ndarray) -> np.ndarray:
  """The sums of one clip.

  Args:
    landmarks: [T, 136].
    samples: float [640 T] at 16 kHz, in [-1, 1].

  Returns:
    float64 [63]: covariance at each of `LAGS`, variance of mouth and of sound, times the clip's length in steps.
  """
  sound = loudness(samples)
  times = (np.arange(len(sound)) + 0.5) * STEP
  mouth = np.interp(times, (np.arange(len(landmarks)) + 0.5) / features.FPS, face_alignment.mouth_opening(landmarks))
  mouth, sound = mouth - mouth.mean(), sound - sound.mean()
  length = len(sound)
  sums = np.zeros(ROW_SIZE)
  for i, lag in enumerate(LAGS.tolist()):
    if abs(lag) < length:
      pairs = mouth[max(0, -lag) : length - max(0, lag)] * sound[max(0, lag) : length - max(0, -lag)]
      sums[i] = pairs.mean() * length  # fewer pairs at larger lags must not look like less correlation
  sums[-2:] = (mouth**2).sum(), (sound**2).sum()
  return sums


class Pool:
  """The clips of one source, in blocks from which the uncertainty is estimated."""

  _BLOCKS = 40

  def __init__(self):
    self.clips = 0
    self._sums = np.zeros((self._BLOCKS, ROW_SIZE))

  def add(self, sums: np.ndarray) -> None:
    """Takes in a clip's `row`."""
    self._sums[self.clips % self._BLOCKS] += sums
    self.clips += 1

  def curve(self) -> np.ndarray:
    """[61]: the pooled correlation at each of `LAGS`."""
    return _correlation(self._sums.sum(axis=0))

  def estimate(self) -> Estimate:
    """Where the curve peaks, to a fraction of a step, and how surely."""
    blocks = self._sums[: min(self.clips, self._BLOCKS)]
    total = blocks.sum(axis=0)
    if total[-2] <= 0 or total[-1] <= 0:
      return Estimate(None, None, None, self.clips)
    curve = _correlation(total)
    offset = round(_to_ms(_peak(curve)), 1)
    if len(blocks) < 2:
      return Estimate(offset, None, round(float(curve.max()), 3), self.clips)
    draws = np.random.default_rng(0).integers(len(blocks), size=(_DRAWS, len(blocks)))
    peaks = [_to_ms(_peak(_correlation(blocks[draw].sum(axis=0)))) for draw in draws]
    return Estimate(offset, round(float(np.std(peaks)), 1), round(float(curve.max()), 3), self.clips)


def _correlation(sums: np.ndarray) -> np.ndarray:
  return sums[:-2] / np.sqrt(np.maximum(sums[-2] * sums[-1], 1e-30))


def _to_ms(lag: float) -> float:
  return 1000 * (lag * STEP + _ANTICIPATION)


def _peak(curve: np.ndarray) -> float:
  """The lag of the highest point, by the parabola through it and its neighbours."""
  i = int(np.argmax(curve))
  if i in (0, len(curve) - 1):
    return float(LAGS[i])
  before, top, after = curve[i - 1 : i + 2]
  bend = before - 2 * top + after
  return float(LAGS[i] + (0.5 * (before - after) / bend if bend < 0 else 0.0))
