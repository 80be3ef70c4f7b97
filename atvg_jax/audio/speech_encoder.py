"""A pretrained speech encoder: the stem and the first blocks of Whisper tiny.en, of which `speech_frontend` is made.

Radford et al., 'Robust Speech Recognition via Large-Scale Weak Supervision', arXiv 2212.04356. The weights are not
learnt here: `atvg_jax/assets/speech_encoder.md` says where they are from.
"""

import importlib.resources
import os
import pathlib
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from data_pipelines.media import log_mel

Array = jax.Array

ROWS_PER_FRAME = log_mel.ROWS_PER_FRAME // 2  # of the encoder's output
SCALE = ':scale'  # ends the name of the array of what the numbers of an int8 array are to be multiplied with
_EPSILON = 1e-5  # of its layer norms


class Block(nn.Module):
  """Attention over all rows, then two dense layers, each added to what comes in.

  Attributes:
    heads: of the attention.
  """

  heads: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, R, F] -> [B, R, F]."""
    features = x.shape[-1]
    y = nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name='attention_norm')(x)
    y = nn.Dense(3 * features, dtype=self.dtype, name='query_key_value')(y)
    query, key, value = (part.reshape(*x.shape[:2], self.heads, -1) for part in jnp.split(y, 3, axis=-1))
    y = nn.dot_product_attention(query, key, value).reshape(x.shape)
    x = x + nn.Dense(features, dtype=self.dtype, name='attended')(y)
    y = nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name='dense_norm')(x)
    y = nn.gelu(nn.Dense(4 * features, dtype=self.dtype, name='dense0')(y), approximate=False)
    return x + nn.Dense(features, dtype=self.dtype, name='dense1')(y)


class SpeechEncoder(nn.Module):
  """Log-mel rows to features of speech, two rows of them a video frame.

  Attributes:
    features: width.
    heads: of the attention.
    blocks: how many of the encoder's blocks.
  """

  features: int = 384
  heads: int = 6
  blocks: int = 2
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, rows: Array, first: int | Array = 0) -> Array:
    """Features of every row; each depends on all rows.

    Args:
      rows: [B, 2 R, 80] of `log_mel.log_mel`.
      first: position of the first row of the output, an int or int [B].

    Returns:
      [B, R, features]: row i is of the moment 20 i ms.
    """
    x = rows.astype(self.dtype)
    for index, stride in enumerate((1, 2)):
      conv = nn.Conv(self.features, (3,), stride, padding=((1, 1),), dtype=self.dtype, name=f'conv{index}')
      x = nn.gelu(conv(x), approximate=False)
    places = jnp.reshape(jnp.asarray(first), (-1, 1)) + jnp.arange(x.shape[1])
    x = x + sinusoids(places, self.features).astype(self.dtype)
    for index in range(self.blocks):
      x = Block(self.heads, self.dtype, name=f'block{index}')(x)
    return x


def sinusoids(places: Array, features: int) -> Array:
  """Places [...] -> [..., features]: sines, then cosines, at wave lengths from 2 pi to 20,000 pi rows."""
  rates = np.exp(-np.log(10_000) * np.arange(features // 2) / (features // 2 - 1)).astype(np.float32)
  angles = places[..., None] * rates
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def asset(name: str) -> pathlib.Path:
  """Path of a packaged file."""
  return pathlib.Path(str(importlib.resources.files('atvg_jax') / 'assets' / name))


def pretrained(path: str | os.PathLike | None = None) -> dict[str, dict]:
  """The weights for `SpeechEncoder().apply({'params': ...}, ...)`, as NumPy arrays in float32.

  Args:
    path: what `atvg_jax.tools.cut_speech_encoder` wrote; None for the packaged file.
  """
  path = path or asset('speech_encoder.npz')
  arrays: dict[str, np.ndarray] = {}
  with open(path, 'rb') as stream, np.load(stream, allow_pickle=False) as file:
    for name in file.files:
      if name.endswith(SCALE):
        continue
      arrays[name] = file[name].astype(np.float32)
      if name + SCALE in file.files:
        arrays[name] *= file[name + SCALE]
  return flax.traverse_util.unflatten_dict(arrays, sep='/')


def frame_features(rows: jax.Array) -> jax.Array:
  """[B, 2 T, F] -> [B, T, 2 F]: both rows of a video frame beside each other."""
  return rows.reshape(rows.shape[0], -1, ROWS_PER_FRAME * rows.shape[-1])
