"""Whether lips and sound go together, without the true video: an embedding of both, learnt here, `--sync`.

As in SyncNet (Chung and Zisserman, 'Out of time', 2016) two networks turn the lips and the sound around a moment into
points that are near each other where they belong together. Here the lips are landmarks, found in the frames, and the
sound is what the packaged speech encoder hears, so that both networks are small. `lip_sync_training` trains them;
`atvg_jax/assets/lip_sync.md` says on what, and how well they do.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from atvg_jax.audio import speech_encoder, speech_frontend
from data_pipelines import features
from data_pipelines.faces import face_alignment

Array = jax.Array | np.ndarray

# Name of the weights → packaged file.
WEIGHTS: Mapping[str, str] = {'all': 'lip_sync.npz', 'free': 'lip_sync_free.npz'}

POINTS = (*range(48, 68), *range(6, 11))  # mouth and chin
REACH = 5  # frames that an embedding sees on either side; there are none for the first and the last so many
MAX_LAG = 5  # frames
MIN_FRAMES = 2 * (REACH + MAX_LAG) + 5
_EYES = 40  # pixels between the eyes of an aligned crop
_PIECE = 25  # frames: sound is filled up to a multiple, so that few programs serve all lengths


class Tower(nn.Module):
  """A network over time, [B, T, F] → [B, T - 2 REACH, size], of length one.

  Attributes:
    velocity: whether the differences of neighbouring frames are input too.
    size: of the embedding.
  """

  velocity: bool = False
  hidden: int = 96
  size: int = 64
  dropout: float = 0.4

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> jax.Array:
    """[B, T, F] → [B, T - 2 REACH, size]; `train` drops units at random."""

    def drop(x: jax.Array) -> jax.Array:
      return nn.Dropout(self.dropout, deterministic=not train)(x)

    x = jnp.asarray(x)
    if self.velocity:
      x = jnp.concatenate([10 * x[:, 1:-1], 20 * (x[:, 2:] - x[:, :-2])], axis=-1)
    else:
      x = drop(nn.LayerNorm()(x[:, 1:-1]))
    x = drop(nn.gelu(nn.Dense(self.hidden)(x)))
    x = drop(nn.gelu(nn.Conv(self.hidden, (5,), padding='VALID')(x)))
    x = drop(nn.gelu(nn.Conv(self.hidden, (5,), padding='VALID')(x)))
    x = nn.Dense(self.size)(x)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


LIPS, SOUND = Tower(velocity=True), Tower()


def lips_input(landmarks: np.ndarray) -> np.ndarray:
  """[T, 136] in half crops → float32 [T, 50]: mouth and chin less their mean over time, in distances of the eyes."""
  points = face_alignment.denormalise(landmarks)[:, POINTS].reshape(len(landmarks), -1) / _EYES
  return (points - points.mean(axis=0)).astype(np.float32)


def filled_up(values: np.ndarray, frames: int, size: int = 1) -> np.ndarray:
  """Values [n, ...], `size` a frame, cut to so many frames, and filled up by zeros to a multiple of `_PIECE` frames."""
  whole = np.zeros((-(-frames // _PIECE) * _PIECE * size, *values.shape[1:]), np.float32)
  cut = values[: frames * size]
  whole[: len(cut)] = cut
  return whole


@jax.jit
def _see(params: Mapping[str, Any], lips: jax.Array) -> jax.Array:
  return LIPS.apply({'params': params}, lips[None])[0]


@jax.jit
def _hear(params: Mapping[str, Any], encoder: Mapping[str, Any], samples: jax.Array) -> jax.Array:
  return SOUND.apply({'params': params}, speech_frontend.features(encoder, samples[None]))[0]


def similarities(lips: Any, sound: Any) -> Any:
  """Mean cosine of the lips' embeddings with those of sound that is so many frames later.

  Args:
    lips: [..., T, D], of length one; NumPy, or JAX as `sound`.
    sound: the same shape.

  Returns:
    [..., 2 MAX_LAG + 1], for shifts from -MAX_LAG to MAX_LAG; all over the same frames of the lips.
  """
  length = lips.shape[-2]
  inner = lips[..., MAX_LAG : length - MAX_LAG, :]
  shifted = [sound[..., MAX_LAG + k : length - MAX_LAG + k, :] for k in range(-MAX_LAG, MAX_LAG + 1)]
  means = [(inner * other).sum(-1).mean(-1) for other in shifted]
  return np.stack(means, -1) if isinstance(lips, np.ndarray) else jnp.stack(means, -1)


def lag(curve: np.ndarray) -> float:
  """By how many frames lips come late: where their `similarities` [2 MAX_LAG + 1] peak, by a parabola."""
  best = int(np.argmax(curve))
  if 0 < best < len(curve) - 1:
    before, peak, after = curve[best - 1 : best + 2]
    bend = before - 2 * peak + after
    best += 0.5 * (before - after) / bend if bend < 0 else 0
  return float(MAX_LAG - best)


class LipSync:
  """The trained embedding."""

  def __init__(self, name: str = 'all', params: Mapping[str, Any] | None = None):
    """Loads packaged weights, one of WEIGHTS; or takes `params`, dicts 'lips' and 'sound'."""
    self._params = params or speech_encoder.pretrained(speech_encoder.asset(WEIGHTS[name]))
    self._encoder = speech_encoder.pretrained()

  def see(self, landmarks: np.ndarray) -> np.ndarray:
    """[T, 136] → float32 [T - 2 REACH, D]: the lips' embedding."""
    lips = filled_up(lips_input(landmarks), len(landmarks))
    return np.asarray(_see(self._params['lips'], lips))[: len(landmarks) - 2 * REACH]

  def hear(self, samples: np.ndarray, frames: int) -> np.ndarray:
    """float32 [n] at 16 kHz → [frames - 2 REACH, D]: the sound's embedding."""
    whole = filled_up(samples, frames, features.SAMPLES_PER_FRAME)
    return np.asarray(_hear(self._params['sound'], self._encoder, whole))[: frames - 2 * REACH]

  def __call__(self, landmarks: np.ndarray | None, heard: np.ndarray | None) -> dict[str, float]:
    """Scores a video.

    Args:
      landmarks: [T, 136], found in its frames; None where no face was found.
      heard: `hear` of its sound, [T - 2 REACH, D]; None where there is none.

    Returns:
      'sync': the mean cosine of lips and sound as they are, at most 1, little more than 0 for those of different clips.
      'sync_lag': by how many frames the lips come late; NaN for lips that do not move at all. Both are NaN without face
      or sound, or below MIN_FRAMES.
    """
    if landmarks is None or heard is None or len(landmarks) < MIN_FRAMES:
      return {'sync': float('nan'), 'sync_lag': float('nan')}
    curve = similarities(self.see(landmarks), heard)
    moves = np.ptp(landmarks, axis=0).any()
    return {'sync': float(curve[MAX_LAG]), 'sync_lag': lag(curve) if moves else float('nan')}
