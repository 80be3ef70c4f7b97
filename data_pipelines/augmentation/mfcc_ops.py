"""Augmentations of a training window's MFCC rows; see `image_ops` for what an op is."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from data_pipelines import features
from data_pipelines.media import audio

Example = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class MfccNoise:
  """White noise on the MFCC rows, `amount` times each coefficient's deviation within the window."""

  amount: float = 0.1

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws a number for every coefficient of every row."""
    rows = example[features.MFCC_ROWS]
    noise = tf.random.stateless_normal(tf.shape(rows), seed)
    return example | {features.MFCC_ROWS: rows + self.amount * _deviation(rows) * noise}


@dataclasses.dataclass(frozen=True)
class MfccShift:
  """Adds one constant to each coefficient, as another microphone or room would.

  Its deviation is `amount` times the coefficient's own within the window.
  """

  amount: float = 0.3

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws a number for every coefficient."""
    rows = example[features.MFCC_ROWS]
    shift = tf.random.stateless_normal([1, features.MFCC_COEFFICIENTS], seed)
    return example | {features.MFCC_ROWS: rows + self.amount * _deviation(rows) * shift}


@dataclasses.dataclass(frozen=True)
class VocalTract:
  """Stretches or squeezes the voice's spectrum by up to `amount`, as a shorter or longer vocal tract would.

  Jaitly and Hinton, 'Vocal Tract Length Perturbation (VTLP) improves speech recognition', ICML workshop, 2013; done on
  the cepstra, where a warp of the frequencies is a product with a matrix (Pitz and Ney, IEEE Transactions on Speech and
  Audio Processing 13 (5), 2005).
  """

  amount: float = 0.1

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws the factor once for the whole window."""
    rows = example[features.MFCC_ROWS]
    factor = tf.random.stateless_uniform([], seed, 1 - self.amount, 1 + self.amount)
    return example | {features.MFCC_ROWS: rows @ _warping(factor)}


@dataclasses.dataclass(frozen=True)
class MfccMask:
  """Replaces a stretch of up to `rows` rows by their mean over the window (SpecAugment, arXiv 1904.08779)."""

  rows: int = 10

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws the length and the place of the stretch."""
    values = example[features.MFCC_ROWS]
    return example | {features.MFCC_ROWS: _mask(values, seed, int(self.rows), axis=0)}


@dataclasses.dataclass(frozen=True)
class MfccBandMask:
  """Replaces up to `coefficients` neighbouring coefficients by their mean over the window."""

  coefficients: int = 2

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws the number and the place of the coefficients."""
    values = example[features.MFCC_ROWS]
    return example | {features.MFCC_ROWS: _mask(values, seed, int(self.coefficients), axis=1)}


OPS = {
  'mfcc_noise': MfccNoise,
  'mfcc_shift': MfccShift,
  'vocal_tract': VocalTract,
  'mfcc_mask': MfccMask,
  'mfcc_band_mask': MfccBandMask,
}


def _warping(factor: tf.Tensor) -> tf.Tensor:
  """[12, 12]: from cepstra (without the energy) to those of the spectrum at `factor` times every frequency."""
  corners, transform = audio.mel_corners(), audio.cepstral_matrices()[1][:, 1:]  # [28] Hz; [26, 12]
  step = math.log1p(corners[-1] / 700) / (audio.MELS + 1)  # between two bands, in mel up to a factor
  places = tf.math.log1p(factor * (corners[1:-1] / 700).astype(np.float32)) / step - 1  # in bands
  places = tf.clip_by_value(places, 0, audio.MELS - 1)  # beyond the ends the spectrum goes on as it ends
  orders = np.arange(1, features.MFCC_COEFFICIENTS + 1, dtype=np.float32)
  bands = math.sqrt(2 / audio.MELS) * tf.cos(orders[:, None] * (places + 0.5) * (math.pi / audio.MELS))  # [12, 26]
  return (bands / audio.lifter()[1:, None].astype(np.float32)) @ transform


def _mask(values: tf.Tensor, seed: tf.Tensor, longest: int, axis: int) -> tf.Tensor:
  """`values` [R, 12] with a stretch of 0 to `longest` along `axis` replaced by the mean over rows."""
  draws = tf.random.stateless_uniform([2], seed)
  size = tf.shape(values)[axis]
  length = tf.cast(draws[0] * (longest + 1), tf.int32)
  start = tf.cast(draws[1] * tf.cast(tf.maximum(size - length, 0) + 1, tf.float32), tf.int32)
  places = tf.range(size)
  hidden = (places >= start) & (places < start + length)
  hidden = hidden[:, None] if axis == 0 else hidden[None]
  return tf.where(hidden, tf.reduce_mean(values, axis=0, keepdims=True), values)


def _deviation(rows: tf.Tensor) -> tf.Tensor:
  return tf.math.reduce_std(rows, axis=0, keepdims=True)  # [1, 12]
