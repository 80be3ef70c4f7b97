"""LSE-D and LSE-C by SyncNet: how well the lips match the sound, by the weights of `syncnet_v2.model`.

J. S. Chung and A. Zisserman, 'Out of time: automated lip sync in the wild', ACCV workshop on multi-view lip-reading,
2016; the scores are those of K. R. Prajwal et al., 'A lip sync expert is all you need', ACM Multimedia 2020.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.evaluate.metric_networks import layers
from data_pipelines import features
from data_pipelines.media import audio

WINDOW = 5  # frames that the network sees at a time
_ROWS = WINDOW * features.MFCC_ROWS_PER_FRAME
_MAX_SHIFT = 15  # frames, either way
_SIZE = 224
_FEATURES = 1024
_BATCH = 8  # windows at a time: one compiled program, and little memory
_EPSILON = 1e-6  # as PyTorch's `pairwise_distance` adds to every difference


class SyncNet:
  """The network, compiled for uint8 videos."""

  def __init__(self, arrays: Mapping[str, np.ndarray], path: str = 'the state dict'):
    """Takes a state dict of `syncnet_v2.model`.

    Raises:
      InputError: it is of another network.
    """
    self._arrays = {name: jnp.asarray(value) for name, value in arrays.items()}

    def lips(weights, frames):
      return lip_features(layers.StateDict(weights, path), frames)

    def sound(weights, rows):
      return sound_features(layers.StateDict(weights, path), rows)

    jax.eval_shape(lips, self._arrays, jax.ShapeDtypeStruct((1, WINDOW, _SIZE, _SIZE, 3), jnp.float32))
    jax.eval_shape(sound, self._arrays, jax.ShapeDtypeStruct((1, _ROWS, audio.CEPSTRA), jnp.float32))

    def lips_of_crops(weights, frames):  # uint8 RGB of any size
      images = frames[..., ::-1].reshape(-1, *frames.shape[2:]).astype(jnp.float32)
      return lips(weights, layers.resize(images, _SIZE).reshape(len(frames), WINDOW, _SIZE, _SIZE, 3))

    self._lips, self._sound = jax.jit(lips_of_crops), jax.jit(sound)

  def __call__(self, frames: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Scores one video.

    Args:
      frames: uint8 [T, H, W, 3], a face cut out.
      samples: float32 [n] in [-1, 1], 16 kHz, from the first frame on.

    Returns:
      'lse_d': the mean distance of lips and sound at the shift where it is least; 'lse_c': how much less that is than
      the median over all shifts up to 15 frames. NaN for less than six frames with sound.
    """
    length = min(len(frames), len(samples) // features.SAMPLES_PER_FRAME)
    count = length - WINDOW
    if count < 1:
      return {'lse_c': float('nan'), 'lse_d': float('nan')}
    rows = audio.mfcc(np.asarray(samples, np.float64) * features.PEAK)  # the network was trained on 16-bit samples
    starts = np.arange(count)
    lips = self._in_batches(self._lips, frames[starts[:, None] + np.arange(WINDOW)])
    sound = self._in_batches(self._sound, rows[features.MFCC_ROWS_PER_FRAME * starts[:, None] + np.arange(_ROWS)])
    return scores(lips, sound)

  def _in_batches(self, function: Callable[..., jax.Array], values: np.ndarray) -> np.ndarray:
    missing = -len(values) % _BATCH
    padded = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
    return np.concatenate(
      [np.asarray(function(self._arrays, padded[start : start + _BATCH])) for start in range(0, len(padded), _BATCH)]
    )[: len(values)]


def scores(lips: np.ndarray, sound: np.ndarray) -> dict[str, float]:
  """Features of lips and sound, each [N, 1024] → 'lse_d' and 'lse_c'."""
  padded = np.pad(sound, ((_MAX_SHIFT, _MAX_SHIFT), (0, 0)))
  distances = [
    np.linalg.norm(lips - padded[shift : shift + len(lips)] + _EPSILON, axis=1).mean()
    for shift in range(2 * _MAX_SHIFT + 1)
  ]
  return {'lse_c': float(np.median(distances) - np.min(distances)), 'lse_d': float(np.min(distances))}


def lip_features(weights: layers.StateDict, frames: jax.Array) -> jax.Array:
  """float32 [B, 5, 224, 224, 3], blue before green before red in [0, 255] → [B, 1024]."""
  # No later layer looks at more than one moment, so that time is folded into the channels.
  x = frames.transpose(0, 2, 3, 1, 4).reshape(len(frames), *frames.shape[2:4], -1)
  x = _block(weights, 'netcnnlip', 0, x, 96, (7, 7), (2, 2), depth=WINDOW)
  x = layers.max_pool(x, 3, (2, 2))
  x = _block(weights, 'netcnnlip', 4, x, 256, (5, 5), (2, 2), (1, 1), depth=1)
  x = layers.max_pool(x, 3, (2, 2), (1, 1))
  for number in (8, 11, 14):
    x = _block(weights, 'netcnnlip', number, x, 256, (3, 3), (1, 1), (1, 1), depth=1)
  x = layers.max_pool(x, 3, (2, 2))
  x = _block(weights, 'netcnnlip', 18, x, 512, (6, 6), depth=1)
  return _head(weights, 'netfclip', x)


def sound_features(weights: layers.StateDict, rows: jax.Array) -> jax.Array:
  """MFCC [B, 20, 13], the energy first → [B, 1024]."""
  x = rows.transpose(0, 2, 1)[..., None]
  x = _block(weights, 'netcnnaud', 0, x, 64, (3, 3), padding=(1, 1))
  x = _block(weights, 'netcnnaud', 4, x, 192, (3, 3), padding=(1, 1))
  x = layers.max_pool(x, 3, (1, 2))
  for number, outputs in ((8, 384), (11, 256), (14, 256)):
    x = _block(weights, 'netcnnaud', number, x, outputs, (3, 3), padding=(1, 1))
  x = layers.max_pool(x, 3, (2, 2))
  x = _block(weights, 'netcnnaud', 18, x, 512, (5, 4))
  return _head(weights, 'netfcaud', x)


def _block(
  weights: layers.StateDict,
  name: str,
  number: int,
  x: jax.Array,
  outputs: int,
  kernel: layers.Pair,
  stride: layers.Pair = (1, 1),
  padding: layers.Pair = (0, 0),
  depth: int = 0,
) -> jax.Array:
  x = layers.conv(weights, f'{name}.{number}', x, outputs, kernel, stride, padding, depth=depth)
  return jax.nn.relu(layers.batch_norm(weights, f'{name}.{number + 1}', x))


def _head(weights: layers.StateDict, name: str, x: jax.Array) -> jax.Array:
  if x.shape[1:3] != (1, 1):
    raise ValueError(f'the network is made for one place, not {x.shape[1:3]}')
  x = layers.dense(weights, f'{name}.0', x[:, 0, 0], 512)
  return layers.dense(weights, f'{name}.3', jax.nn.relu(layers.batch_norm(weights, f'{name}.1', x)), _FEATURES)
