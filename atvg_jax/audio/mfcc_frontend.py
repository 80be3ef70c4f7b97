"""The audio front end of both nets, MFCC: NAME, WINDOW and HOP in samples, and `mfcc`, samples → features.

`mfcc` is in JAX: jitted, on the device, for batches, and with gradients. Generation uses it, and then needs no librosa
(1.5 seconds to import). Its twin in NumPy is `data_pipelines.media.audio.mfcc`, by which data sets are prepared.
AT-net's input leaves out the first coefficient, and takes 28 rows around every frame: `audio.windows`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.audio import front_ends
from data_pipelines import features
from data_pipelines.media import audio

NAME = front_ends.MFCC
WINDOW = audio.WINDOW  # samples at 16 kHz: 25 ms
HOP = features.MFCC_HOP  # 10 ms

_PRECISION = jax.lax.Precision.HIGHEST  # fewer digits move the logarithms of quiet bands
_LOG_SILENCE = np.float32(np.log(np.finfo(np.float64).eps))  # what `audio.mfcc` takes for the logarithm of zero


@jax.jit
def mfcc(samples: jax.Array) -> jax.Array:
  """MFCC as those of `audio.mfcc`, but computed in float32: they differ by less than 1e-3.

  Args:
    samples: [..., n] at 16 kHz, in [-1, 1].

  Returns:
    float32 [..., 1 + max(0, ceil((n - WINDOW) / HOP)), 13]; the first coefficient is the log energy.
  """
  samples = jnp.asarray(samples, jnp.float32)
  emphasised = jnp.concatenate([samples[..., :1], samples[..., 1:] - audio.PRE_EMPHASIS * samples[..., :-1]], axis=-1)
  starts = HOP * np.arange(audio.num_rows(samples.shape[-1]))
  missing = max(0, starts[-1] + WINDOW - samples.shape[-1])
  padded = jnp.pad(emphasised, [(0, 0)] * (samples.ndim - 1) + [(0, missing)])
  windows = padded[..., starts[:, None] + np.arange(WINDOW)]  # [..., rows, 400]
  spectrum = jnp.fft.rfft(windows, audio.FFT)
  power = (jnp.square(spectrum.real) + jnp.square(spectrum.imag)) / audio.FFT  # [..., rows, 257]
  triangles, transform = audio.cepstral_matrices()
  bands = _log(jnp.matmul(power, triangles, precision=_PRECISION))
  # The cosines of all rows but the first sum to zero, so that any level may be taken off. Off that of digital silence,
  # silence is exactly zero; else it is rounding, which differs by version and device and which group norm makes large.
  rows = jnp.matmul(bands - _LOG_SILENCE, transform, precision=_PRECISION)
  return rows.at[..., 0].set(_log(jnp.sum(power, axis=-1)))


def _log(x: jax.Array) -> jax.Array:
  """Logarithm, of zeros that of float64's epsilon, with a gradient of zero there."""
  return jnp.where(x == 0, _LOG_SILENCE, jnp.log(jnp.where(x == 0, 1, x)))


def frame_windows(weights: Mapping[str, Any], samples: jax.Array) -> jax.Array:
  """Every frame's 28 rows, without the log energy: [B, 640 T] → [B, T, 28, 12]; `audio.frame_rows` and `audio.windows`.

  Args:
    weights: none; an empty dict.
    samples: at 16 kHz, in [-1, 1].
  """
  del weights
  frames = samples.shape[-1] // features.SAMPLES_PER_FRAME
  silence = features.MFCC_CONTEXT * features.MFCC_HOP
  rows = mfcc(jnp.pad(samples, ((0, 0), (silence, silence + HOP))))[..., 1:]
  places = features.MFCC_ROWS_PER_FRAME * np.arange(frames)[:, None] + np.arange(features.MFCC_WINDOW)
  return rows[:, places]


FRONT_END = front_ends.FrontEnd(
  name=NAME,
  shape=(features.MFCC_WINDOW, features.MFCC_COEFFICIENTS),
  past=features.MFCC_CONTEXT // features.MFCC_ROWS_PER_FRAME,
  ahead=features.MFCC_CONTEXT // features.MFCC_ROWS_PER_FRAME,
  takes_sound=False,
  load_weights=dict,
  features=frame_windows,
)
