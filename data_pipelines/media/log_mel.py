"""Log-mel spectrograms, the input of speech encoders: one code for NumPy and for JAX arrays.

As Whisper's (Radford et al., arXiv 2212.04356): 80 bands, windows of 25 ms every 10 ms. Two things differ, so that the
rows of a moment do not depend on the rest of the recording. Quiet bands end at a fixed floor; Whisper's is 80 dB below
the recording's loudest. Beyond its ends sound is silent; Whisper's is mirrored.
"""

import functools
from types import ModuleType
from typing import Any

import numpy as np

from data_pipelines import features

BANDS = 80
HOP = 160  # samples: 10 ms
WINDOW = 400  # samples: 25 ms
ROWS_PER_FRAME = features.SAMPLES_PER_FRAME // HOP
_FLOOR = 1e-7  # power of a band: 70 dB below that of a loud voice


def log_mel(samples: Any, xp: ModuleType = np) -> Any:
  """Log-mel rows.

  Args:
    samples: float32 [..., n] at 16 kHz, in [-1, 1].
    xp: `numpy`, or `jax.numpy` for arrays of JAX.

  Returns:
    float32 [..., n // 160, 80]: row i is of the window around sample 160 i. Voices are around 0, silence is -0.75.
  """
  samples = xp.asarray(samples, np.float32)
  rows = samples.shape[-1] // HOP
  padded = xp.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(WINDOW // 2, WINDOW // 2)])
  windows = padded[..., HOP * xp.arange(rows)[:, None] + np.arange(WINDOW)]  # [..., rows, 400]
  # A product with a matrix and not an FFT: 400 is no power of two, and matrices are what devices are fast at.
  spectrum = _product(windows, _fourier(), xp)
  cosine, sine = spectrum[..., : WINDOW // 2], spectrum[..., WINDOW // 2 :]
  bands = _product(cosine * cosine + sine * sine, _mel_triangles(), xp)
  return (xp.log10(xp.maximum(bands, np.float32(_FLOOR))) + 4) / 4


def _product(values: Any, matrix: np.ndarray, xp: ModuleType) -> Any:
  """`values @ matrix`, on every device with all digits: fewer move the logarithms of quiet bands."""
  return xp.matmul(values, matrix) if xp is np else xp.matmul(values, matrix, precision='highest')


@functools.cache
def _fourier() -> np.ndarray:
  """float32 [400, 400]: a Hann window times cosines and sines of 200 of 201 frequencies; the last is in no band."""
  time = np.arange(WINDOW)
  window = 0.5 - 0.5 * np.cos(2 * np.pi * time / WINDOW)
  angles = 2 * np.pi * time[:, None] * np.arange(WINDOW // 2) / WINDOW
  return np.concatenate([window[:, None] * np.cos(angles), window[:, None] * np.sin(angles)], axis=1).astype(np.float32)


@functools.cache
def _mel_triangles() -> np.ndarray:
  """float32 [200, 80]: 80 equal-area triangles on Slaney's scale: `librosa.filters.mel(sr=16000, n_fft=400)`."""
  # Slaney's scale: linear up to 1000 Hz, which is 15, then a factor of 6.4 for every 27.
  step = np.log(6.4) / 27
  mels = np.linspace(0, 15 + np.log(features.SAMPLE_RATE / 2 / 1000) / step, BANDS + 2)
  corners = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(step * (np.maximum(mels, 15) - 15)))  # Hz
  frequencies = np.arange(WINDOW // 2)[:, None] * features.SAMPLE_RATE / WINDOW
  low, middle, high = corners[:-2], corners[1:-1], corners[2:]
  rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
  return (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)
