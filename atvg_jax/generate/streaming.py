"""The two nets as compiled programs that run window by window and carry their recurrent state along.

Every window has the same number of frames, the last one padded, so each net is compiled once for a batch
size, whatever the length of the speech (VG-net in two programs, one for what a clip's frames share); and what is in
memory at any time is one window, not the video.
"""

import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax import models
from atvg_jax.audio import mfcc_frontend
from atvg_jax.checkpoints import weights
from atvg_jax.models import fast_vg, finishing
from atvg_jax.runtime import parallel, program_cache
from data_pipelines import features
from data_pipelines.media import audio_stream

WINDOW = 32  # frames: long enough to keep the cores busy, short enough to show progress


class AtStream:
  """AT-net: MFCC windows → landmark coefficients."""

  def __init__(self, bundle: weights.Bundle):
    """Takes weights of kind 'at'."""
    self._net = models.make_net(bundle.config)
    self._variables = jax.device_put({'params': bundle.params, 'batch_stats': bundle.batch_stats})

    def step(variables, example_coefficients, mfcc, carry):
      outputs = self._net.apply(variables, example_coefficients, mfcc, train=False, carry=carry)
      return outputs['coefficients'], outputs['carry']

    self.step = program_cache.Program(step, bundle.config['model'], bundle.config['dtype'])

  def __call__(self, example_coefficients: np.ndarray, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields coefficients [B, W, K] for every window of MFCC [B, W, 28, 12].

    Args:
      example_coefficients: [B, K], of the example landmarks.
      windows: windows of one length that follow each other in time.
    """
    carry = jnp.zeros(self._net.carry_shape(len(example_coefficients)), self._net.layers.dtype)
    for mfcc in windows:
      coefficients, carry = self.step(self._variables, example_coefficients, mfcc, carry)
      yield np.asarray(coefficients)


class VgStream:
  """VG-net: an example image and landmarks → frames.

  Two programs: `start` once a clip, for what its frames share, and `step` for every window. A batch that can be cut
  into equal parts for all local devices is drawn on all of them.

  Attributes:
    net: the net.
    prepared: its weights for `fast_vg`, on the device.
    draw: (prepared, shared features, landmarks, carry) → the net's outputs, their frames finished.
  """

  def __init__(self, bundle: weights.Bundle, dtype: str | None = None, backend: str | None = None):
    """Prepares weights of kind 'vg'.

    Args:
      bundle: the weights.
      dtype: to compute in; None is what the net was trained in. 'bfloat16' pays on graphics cards and TPUs.
      backend: see `fast_vg.prepare`.
    """
    config = bundle.config | ({'dtype': dtype} if dtype else {})
    self.net = net = models.make_net(config)
    self.prepared = jax.device_put(
      fast_vg.prepare(net, {'params': bundle.params, 'batch_stats': bundle.batch_stats}, backend)
    )

    finish = functools.partial(finishing.finish, **config['generation'])

    def draw(prepared, shared, landmarks, carry, *, chained=False):
      outputs = fast_vg.draw(net, prepared, shared, landmarks, carry, chained=chained)
      return finish(outputs, shared['landmarks'], landmarks)

    def start(prepared, example_image, example_landmarks):
      return fast_vg.start(net, prepared, example_image.astype(jnp.float32) / 127.5 - 1, example_landmarks)

    def step(prepared, shared, landmarks, carry):
      outputs = draw(prepared, shared, landmarks, carry)
      return to_bytes(outputs['video']), outputs['carry']

    def chained(prepared, shared, landmarks, carry):
      outputs = draw(prepared, shared, landmarks[:, None], carry, chained=True)
      return to_bytes(outputs['video'][:, 0]), outputs['carry']

    self.start, self.step, self._chained = (
      program_cache.Program(function, config['model'], config['generation'], config['dtype'])
      for function in (start, step, chained)
    )
    self.draw = draw
    self._on_all_devices = functools.cache(
      lambda: (parallel.replicate(self.prepared), parallel.pmap_clips(start, 2), parallel.pmap_clips(step, 3))
    )

  def __call__(
    self, example_image: np.ndarray, example_landmarks: np.ndarray, windows: Iterable[np.ndarray]
  ) -> Iterator[np.ndarray]:
    """Yields frames uint8 [B, W, H, W, 3] for every window of landmarks [B, W, 136].

    The next window is computed while the caller works on the one it was given.

    Args:
      example_image: uint8 [B, H, W, 3].
      example_landmarks: [B, 136], of the example image.
      windows: windows of one length that follow each other in time.
    """
    batch_size, height, width = example_image.shape[:3]
    carry = fast_vg.zero_carry(self.net, batch_size, height, width)
    prepared, start, step, cut = self.prepared, self.start, self.step, lambda clips: clips
    # The published recurrence over the batch couples the clips: they stay together.
    if parallel.divisible(batch_size) and self.net.recurrence != 'batch':
      prepared, start, step = self._on_all_devices()
      cut = parallel.cut_clips
    shared, carry = start(prepared, cut(example_image), cut(example_landmarks)), cut(carry)
    waiting = None
    for landmarks in windows:
      frames, carry = step(prepared, shared, cut(landmarks), carry)
      if waiting is not None:
        yield _joined(waiting, batch_size)
      waiting = frames
    if waiting is not None:
      yield _joined(waiting, batch_size)

  def redrawn(self, windows: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yields a video's frames uint8 [W, H, W, 3], each of which is its own example, for windows of one length.

    Args:
      windows: images uint8 [W, H, W, 3], their landmarks [W, 136], and the landmarks to draw [W, 136].
    """
    carry = waiting = None
    for images, image_landmarks, landmarks in windows:
      if carry is None:
        carry = fast_vg.zero_carry(self.net, 1, *images.shape[1:3])
      # Two programs: as one, XLA's CPU backend takes a third longer.
      shared = self.start(self.prepared, images, image_landmarks)
      frames, carry = self._chained(self.prepared, shared, landmarks, carry)
      if waiting is not None:
        yield np.asarray(waiting)
      waiting = frames
    if waiting is not None:
      yield np.asarray(waiting)


def to_bytes(values: jax.Array) -> jax.Array:
  """[-1, 1] → uint8."""
  return jnp.clip(jnp.round((values + 1) * 127.5), 0, 255).astype(jnp.uint8)


def _joined(frames: jax.Array, batch_size: int) -> np.ndarray:
  """Frames [(devices,) B, W, ...] → [B, W, ...] on the host."""
  return np.asarray(frames).reshape(batch_size, *frames.shape[-4:])


def split(values: np.ndarray, window: int = WINDOW) -> Iterator[np.ndarray]:
  """Windows [B, W, ...] of values [B, T, ...]; the last is filled up with its last frame."""
  for start in range(0, values.shape[1], window):
    part = values[:, start : start + window]
    missing = window - part.shape[1]
    yield np.concatenate([part, np.repeat(part[:, -1:], missing, axis=1)], axis=1) if missing else part


def heard(pieces: Iterable[np.ndarray], window: int = WINDOW) -> Iterator[tuple[np.ndarray, int]]:
  """`audio_stream.mfcc_windows`, its cepstra by JAX: importing librosa for them would take 1.5 seconds."""
  return audio_stream.mfcc_windows(pieces, window, lambda samples: np.asarray(mfcc_frontend.mfcc(samples)))


def mfcc_windows(samples: np.ndarray, num_frames: int, window: int = WINDOW) -> Iterator[np.ndarray]:
  """MFCC windows [1, W, 28, 12] of sound of any length, computed as they are asked for.

  The numbers are those of `audio.windows(audio.frame_rows(samples, num_frames))`, the last window filled up
  with silence.

  Args:
    samples: [n] at 16 kHz; cut or filled with silence to `num_frames` frames.
    num_frames: T.
    window: W.
  """
  samples = np.asarray(samples, np.float32)[: num_frames * features.SAMPLES_PER_FRAME]
  silence = num_frames * features.SAMPLES_PER_FRAME - len(samples)
  for mfcc, _ in heard([samples, np.zeros(silence, np.float32)], window):
    yield mfcc
