"""Augmentations of a training window's sound: noise, babble, shift; and the MFCC rows of what they make of it.

The stored rows are of the clean sound, so where one of these ops is chosen, the stored sound is cut out with its
window and its rows are computed anew. An op takes and returns `sound` float32 [L, 2], the samples and 1 where there
is any sound (0 beyond the clip's ends, which stay silent), the babble, and an `int32 [2]` seed.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_pipelines import features
from data_pipelines.media import audio

NUM_VOICES = 3  # of babble
_SILENT = 1e-12  # power: below it there is nothing to be so many dB louder than


@dataclasses.dataclass(frozen=True)
class Noise:
  """White noise, `snr` dB below the window's sound."""

  snr: float = 20.0

  def __call__(self, sound: tf.Tensor, babble: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws a number for every sample."""
    del babble
    return _add(sound, tf.random.stateless_normal(tf.shape(sound)[:1], seed), self.snr)


@dataclasses.dataclass(frozen=True)
class Babble:
  """Three voices out of other clips of the data sets, together `snr` dB below the window's sound."""

  snr: float = 15.0

  def __call__(self, sound: tf.Tensor, babble: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws where in the babble the window begins."""
    begin = tf.random.stateless_uniform([], seed, 0, tf.shape(babble)[0], dtype=tf.int32)
    places = (begin + tf.range(tf.shape(sound)[0])) % tf.shape(babble)[0]
    return _add(sound, tf.gather(babble, places), self.snr)


@dataclasses.dataclass(frozen=True)
class SoundShift:
  """Moves the sound against the picture by up to `milliseconds` either way, as bad recordings do."""

  milliseconds: float = 40.0

  @property
  def margin(self) -> int:
    """Samples by which it shortens the sound at each end."""
    return round(self.milliseconds * features.SAMPLE_RATE / 1000)

  def __call__(self, sound: tf.Tensor, babble: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws the shift; `sound` loses `margin` samples at each end."""
    del babble
    begin = tf.random.stateless_uniform([], seed, 0, 2 * self.margin + 1, dtype=tf.int32)
    return sound[begin : begin + tf.shape(sound)[0] - 2 * self.margin]


OPS = {'noise': Noise, 'babble': Babble, 'sound_shift': SoundShift}


def needs_babble(ops: Sequence[Any]) -> bool:
  """Whether any of these ops mixes in voices."""
  return any(isinstance(op, Babble) for op in ops)


def apply(
  ops: Sequence[tuple[int, Any]],
  samples: tf.Tensor,
  start: tf.Tensor,
  length: int,
  voices: Sequence[tf.Tensor],
  seed: tf.Tensor,
) -> tf.Tensor:
  """The MFCC rows of a window after its sound went through the ops.

  Args:
    ops: each with its number, from which its seed is made.
    samples: int16 or int64 [640 T'], the whole clip's.
    start: frame at which the window begins.
    length: frames T of the window.
    voices: other clips' samples; may be empty if no op wants babble.
    seed: int32 [2].

  Returns:
    float32 [4 T + 24, 12]: without ops those that are stored, to rounding.
  """
  margin = sum(getattr(op, 'margin', 0) for _, op in ops)
  rows = features.MFCC_ROWS_PER_FRAME * length + 2 * features.MFCC_CONTEXT
  # One sample more in front, for the first row's pre-emphasis.
  first = start * features.SAMPLES_PER_FRAME - features.MFCC_CONTEXT * features.MFCC_HOP - 1 - margin
  places = first + tf.range((rows - 1) * features.MFCC_HOP + audio.WINDOW + 1 + 2 * margin)
  inside = (places >= 0) & (places < tf.shape(samples)[0])
  values = tf.gather(samples, tf.clip_by_value(places, 0, tf.shape(samples)[0] - 1))
  inside = tf.cast(inside, tf.float32)
  sound = tf.stack([tf.cast(values, tf.float32) / features.PEAK * inside, inside], axis=1)
  babble = _mix(voices)
  for number, op in ops:
    sound = op(sound, babble, tf.random.experimental.stateless_fold_in(seed, number))
  return tf.ensure_shape(mfcc_rows(sound[:, 0]), [rows, features.MFCC_COEFFICIENTS])


def mfcc_rows(samples: tf.Tensor) -> tf.Tensor:
  """`audio.mfcc` without the energy: float32 [160 (R - 1) + 401] → [R, 12].

  The first sample serves the pre-emphasis only.
  """
  emphasised = samples[1:] - audio.PRE_EMPHASIS * samples[:-1]
  windows = tf.signal.frame(emphasised, audio.WINDOW, features.MFCC_HOP)
  power = tf.abs(tf.signal.rfft(windows, [audio.FFT])) ** 2 / audio.FFT  # [R, 257]
  triangles, cepstra = audio.cepstral_matrices()
  bands = power @ triangles
  bands = tf.where(bands == 0, np.float32(np.finfo(np.float64).eps), bands)
  return tf.math.log(bands) @ cepstra[:, 1:]


def _add(sound: tf.Tensor, other: tf.Tensor, snr: float) -> tf.Tensor:
  """`sound` [L, 2] with `other` [L] added, so many dB below it, where there is sound."""
  inside = sound[:, 1]
  count = tf.maximum(tf.reduce_sum(inside), 1)
  other = other * inside
  power, others = (tf.reduce_sum(value**2) / count for value in (sound[:, 0], other))
  gain = tf.where(others > _SILENT, tf.sqrt(power / tf.maximum(others, _SILENT) * 10 ** (-snr / 10)), 0.0)
  return tf.stack([sound[:, 0] + gain * other, inside], axis=1)


def _mix(voices: Sequence[tf.Tensor]) -> tf.Tensor:
  """Voices, each as loud as the others and repeated to the length of the longest, added: float32 [n]."""
  if not voices:
    return tf.zeros([1])
  length = functools.reduce(tf.maximum, [tf.shape(voice)[0] for voice in voices])
  total = tf.zeros([length])
  for voice in voices:
    voice = tf.cast(voice, tf.float32)
    voice = voice / tf.sqrt(tf.maximum(tf.reduce_mean(voice**2), 1.0))  # in units of the stored integers
    total += tf.gather(voice, tf.range(length) % tf.shape(voice)[0])
  return total
