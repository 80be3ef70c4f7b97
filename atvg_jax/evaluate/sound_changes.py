"""What the points of the robustness curves do to a clip's sound."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from atvg_jax.evaluate.robustness_points import Point
from data_pipelines import features
from data_pipelines.augmentation import sounds

Batch = Mapping[str, np.ndarray]


def samples(batch: Batch, clip: int, point: Point, length: int) -> np.ndarray:
  """float32 [640 length]: a clip's sound at a point of one of `EXPERIMENTS`."""
  speech = features.sound_to_float(batch[features.AUDIO][clip, : length * features.SAMPLES_PER_FRAME])
  if point.experiment == 'babble':
    return with_noise(speech, babble(batch[features.VOICES][clip, :, : len(speech)]), point.amount)
  return _CHANGES[point.experiment](speech, point.amount, rng(batch[features.CLIP_ID][clip], point))


def rng(clip_id: bytes, point: Point) -> np.random.Generator:
  """The same for all levels of an experiment."""
  return np.random.default_rng((zlib.crc32(clip_id), zlib.crc32(point.experiment.encode())))


def babble(voices: np.ndarray) -> np.ndarray:
  """Voices [V, n] → [n]: their sum, each as loud as the others."""
  voices = voices.astype(np.float32)
  loudness = np.sqrt(np.mean(voices**2, axis=1, keepdims=True))
  return (voices / np.maximum(loudness, 1)).sum(axis=0)


def with_noise(speech: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
  """float32 [n]: speech [n] and noise [n] that is so many dB quieter, by their powers; silent noise is left out."""
  power, noise_power = (np.mean(np.square(sound, dtype=np.float64)) for sound in (speech, noise))
  gain = np.sqrt(power / noise_power * 10 ** (-snr / 10)) if noise_power > 0 else 0
  return (speech + gain * noise).astype(np.float32)


def _white_noise(speech: np.ndarray, snr: float, generator: np.random.Generator) -> np.ndarray:
  return with_noise(speech, generator.normal(size=len(speech)), snr)


def _music(speech: np.ndarray, snr: float, generator: np.random.Generator) -> np.ndarray:
  return with_noise(speech, sounds.music(generator, len(speech)), snr)


def _room_tone(speech: np.ndarray, level: float, generator: np.random.Generator) -> np.ndarray:
  tone = sounds.STEADY['room tone'](generator, len(speech))
  return (speech + tone / sounds.rms(tone) * sounds.gain(level)).astype(np.float32)


def _resampled(speech: np.ndarray, rate: float, generator: np.random.Generator) -> np.ndarray:
  del generator
  return sounds.resampled(speech, int(rate)).astype(np.float32)


def _mp3(speech: np.ndarray, kilobits: float, generator: np.random.Generator) -> np.ndarray:
  del generator
  return sounds.codec(speech, 'libmp3lame', int(1000 * kilobits)).astype(np.float32)


# By experiment: (speech float32 [n], level, generator) → float32 [n].
_CHANGES: Mapping[str, Callable[[np.ndarray, float, np.random.Generator], Any]] = {
  'white noise': _white_noise,
  'music': _music,
  'room tone': _room_tone,
  'sampling rate': _resampled,
  'mp3': _mp3,
}
EXPERIMENTS = ('babble', *_CHANGES)
