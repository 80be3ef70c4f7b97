"""The two nets as compiled programs that run window by window and carry their recurrent state along.

Every window has the same number of frames, the last one padded, so each net is compiled once for a batch
size, whatever the length of the speech; and what is in memory at any time is one window, not the video.
"""

from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax import cepstra, tasks, weights
from atvg_jax.models import at_net
from data_pipelines import audio, features

WINDOW = 32  # frames: long enough to keep the cores busy, short enough to show progress


class AtStream:
  """AT-net: MFCC windows → landmark coefficients."""

  def __init__(self, bundle: weights.Bundle):
    """Takes weights of kind 'at'."""
    self._net = tasks.make_net(bundle.config)
    self._variables = jax.device_put({'params': bundle.params, 'batch_stats': bundle.batch_stats})

    @jax.jit
    def step(variables, example_coefficients, mfcc, carry):
      if isinstance(self._net, at_net.AtSingle):
        return self._net.apply(variables, mfcc, train=False)['coefficients'], carry
      outputs = self._net.apply(variables, example_coefficients, mfcc, train=False, carry=carry)
      return outputs['coefficients'], outputs['carry']

    self.step = step

  def __call__(self, example_coefficients: np.ndarray, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields coefficients [B, W, K] for every window of MFCC [B, W, 28, 12].

    Args:
      example_coefficients: [B, K], of the example landmarks.
      windows: windows of one length that follow each other in time.
    """
    carry = self._zero_carry(len(example_coefficients))
    for mfcc in windows:
      coefficients, carry = self.step(self._variables, example_coefficients, mfcc, carry)
      yield np.asarray(coefficients)

  def _zero_carry(self, batch_size: int) -> jax.Array | None:
    if isinstance(self._net, at_net.AtSingle):
      return None
    return jnp.zeros((self._net.recurrent_layers, 2, batch_size, self._net.recurrent_features), self._net.dtype)


class VgStream:
  """VG-net: an example image and landmarks → frames."""

  def __init__(self, bundle: weights.Bundle):
    """Takes weights of kind 'vg'."""
    self._net = tasks.make_net(bundle.config)
    self._variables = jax.device_put({'params': bundle.params, 'batch_stats': bundle.batch_stats})

    @jax.jit
    def step(variables, example_image, example_landmarks, landmarks, carry):
      example_image = example_image.astype(jnp.float32) / 127.5 - 1
      outputs = self._net.apply(variables, example_image, example_landmarks, landmarks, train=False, carry=carry)
      frames = jnp.round((outputs['video'] + 1) * 127.5)
      return jnp.clip(frames, 0, 255).astype(jnp.uint8), outputs['carry']

    self.step = step

  def __call__(self, example_image: np.ndarray, example_landmarks: np.ndarray,
               windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields frames uint8 [B, W, H, W, 3] for every window of landmarks [B, W, 136].

    The next window is computed while the caller works on the one it was given.

    Args:
      example_image: uint8 [B, H, W, 3].
      example_landmarks: [B, 136], of the example image.
      windows: windows of one length that follow each other in time.
    """
    batch_size, height, width = example_image.shape[:3]
    carry = jnp.zeros((batch_size, height // 16, width // 16, self._net.recurrent_features), self._net.dtype)
    waiting = None
    for landmarks in windows:
      frames, carry = self.step(self._variables, example_image, example_landmarks, landmarks, carry)
      if waiting is not None:
        yield np.asarray(waiting)
      waiting = frames
    if waiting is not None:
      yield np.asarray(waiting)


def split(values: np.ndarray, window: int = WINDOW) -> Iterator[np.ndarray]:
  """Windows [B, W, ...] of values [B, T, ...]; the last is filled up with its last frame."""
  for start in range(0, values.shape[1], window):
    part = values[:, start:start + window]
    missing = window - part.shape[1]
    yield np.concatenate([part, np.repeat(part[:, -1:], missing, axis=1)], axis=1) if missing else part


def mfcc_windows(samples: np.ndarray, num_frames: int, window: int = WINDOW) -> Iterator[np.ndarray]:
  """MFCC windows [1, W, 28, 12] of sound of any length, computed as they are asked for.

  The numbers are those of `audio.windows(audio.frame_rows(samples, num_frames))`, the last window filled up
  with silence.

  Args:
    samples: [n] at 16 kHz; cut or filled with silence to `num_frames` frames.
    num_frames: T.
    window: W.
  """
  samples = samples[:num_frames * features.SAMPLES_PER_FRAME]
  rows = window * features.MFCC_ROWS_PER_FRAME + 2 * features.MFCC_CONTEXT
  for frame in range(0, num_frames, window):
    # One row early, and dropped again: pre-emphasis looks one sample back. One hop more for the last row's end,
    # which reaches 240 samples beyond its hop.
    start = frame * features.SAMPLES_PER_FRAME - (features.MFCC_CONTEXT + 1) * features.MFCC_HOP
    length = (rows + 3) * features.MFCC_HOP
    sound = np.zeros(length, np.float32)
    part = samples[max(start, 0):max(start + length, 0)]
    offset = max(-start, 0)
    sound[offset:offset + len(part)] = part
    yield audio.windows(np.asarray(cepstra.mfcc(sound))[1:1 + rows, 1:])[None]
