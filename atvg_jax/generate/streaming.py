"""The two nets as compiled programs that run window by window and carry their recurrent state along.

Every window has the same number of frames, the last one padded, so each net is compiled once for a batch
size, whatever the length of the speech (VG-net in two programs, one for what a clip's frames share); and what is in
memory at any time is one window, not the video.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax import models
from atvg_jax.audio import front_ends, mfcc_frontend
from atvg_jax.checkpoints import weights
from atvg_jax.generate.pieces import Piece, VideoWindow, lookahead
from atvg_jax.models import fast_vg, postprocessing, speech_head
from atvg_jax.runtime import program_cache
from data_pipelines import features
from data_pipelines.media import audio_stream

WINDOW = 25  # frames: long enough to keep processors busy, and of whole seconds none is left over
ACCELERATORS_WINDOW = 32  # for TPUs fill up to a multiple of 8
_LIVE = 8  # frames: who asks for shorter windows waits for each, and gets it before the sound of the next is there
_SEAM = 2  # frames over which a window of sound is blended with the one before


def default_window() -> int:
  """Frames that are drawn at a time on this process's devices, where nobody waits for them."""
  return WINDOW if jax.default_backend() == 'cpu' else ACCELERATORS_WINDOW


class AtStream:
  """AT-net: a front end's inputs → landmark coefficients.

  Attributes:
    front_end: what AT-net takes its input from. Where that takes sound, its program holds front end and net, and its
      inputs are windows of sound (`sound_windows`); else they are windows of features.
    variables: the net's arrays, and a front end's, on the device.
    step: the program, (variables, example coefficients, inputs, carry) → coefficients and carry.
  """

  def __init__(self, bundle: weights.Bundle):
    """Takes weights of kind 'at'."""
    self.front_end = front_ends.of(bundle.config)
    self._net = models.make_net(bundle.config)
    self.dtype = self._net.layers.dtype
    self.variables = jax.device_put(at_variables(bundle, self.front_end))
    apply = at_apply(self._net, self.front_end)

    def step(variables, example_coefficients, inputs, carry):
      outputs: Any = apply(variables, example_coefficients, inputs, carry)
      return outputs['coefficients'], outputs['carry']

    self.step = program_cache.Program(step, bundle.config['model'], bundle.config['dtype'])

  def __call__(
    self, example_coefficients: np.ndarray, inputs: Iterable[np.ndarray], window: int = 0
  ) -> Iterator[np.ndarray]:
    """Yields coefficients [B, n, K] for every piece.

    Args:
      example_coefficients: [B, K], of the example landmarks.
      inputs: pieces that follow each other in time; all but the last have one length. Features [B, n, ...], or sound
        float32 [B, 640 (past + n + ahead)], as `front_end` takes.
      window: that length, n, if the last piece may be shorter; of sound it must be given.
    """
    if self.front_end.takes_sound:
      yield from self._of_sound(example_coefficients, inputs, window)
      return
    carry = jnp.zeros(self._net.carry_shape(len(example_coefficients)), self._net.layers.dtype)
    for piece in inputs:
      filled, length = self.fill(piece, window)
      coefficients, carry = self.step(self.variables, example_coefficients, filled, carry)
      yield np.asarray(coefficients)[:, :length]

  def _of_sound(
    self, example_coefficients: np.ndarray, sounds: Iterable[np.ndarray], window: int
  ) -> Iterator[np.ndarray]:
    carry = jnp.zeros(self._net.carry_shape(len(example_coefficients)), self._net.layers.dtype)
    before = None
    for sound in sounds:
      size = self._enough_for(sound, window)
      filled, length = self.fill(sound, size)
      outputs = np.asarray(self.step(self.variables, example_coefficients, filled, carry)[0])
      answer, before = _seamed(outputs, before, self.front_end, size)
      yield answer[:, :length]

  def _enough_for(self, sound: np.ndarray, window: int) -> int:
    """The window, or the half or quarter of it that a piece fits into: clips are often shorter than long spans."""
    ahead = self.front_end.ahead_of(window)
    length = sound.shape[1] // features.SAMPLES_PER_FRAME - self.front_end.past - ahead
    parts = (part for part in (window // 4, window // 2) if self.front_end.ahead_of(part) == ahead)
    return next((part for part in parts if 0 < length <= part), window)

  def carry_shape(self, batch_size: int) -> tuple[int, ...]:
    """Of the net's recurrent state; clips are its third axis."""
    return self._net.carry_shape(batch_size)

  def fill(self, piece: np.ndarray, window: int) -> tuple[np.ndarray, int]:
    """A piece of inputs filled up to a whole window, and how many frames it had."""
    if not self.front_end.takes_sound:
      return filled_up(piece, window), piece.shape[1]
    around = self.front_end.past + self.front_end.ahead_of(window)
    missing = (around + window) * features.SAMPLES_PER_FRAME - piece.shape[1]
    return np.pad(piece, ((0, 0), (0, missing))), piece.shape[1] // features.SAMPLES_PER_FRAME - around


def _seamed(
  outputs: np.ndarray, before: np.ndarray | None, front_end: front_ends.FrontEnd, window: int
) -> tuple[np.ndarray, np.ndarray]:
  """A window of AT-net's answer to sound, blended with what the window before had of its first frames.

  Args:
    outputs: [B, past + window + ahead, K], the answer to the whole of the sound.
    before: [B, n, K], as the window before gave it; None at the start.
    front_end: whose past and ahead.
    window: frames.

  Returns:
    [B, window, K], and `before` of the next window.
  """
  answer, following = np.split(outputs[:, front_end.past :], [window], axis=1)
  length = min(_SEAM, following.shape[1], window)
  if before is not None:
    shares = (np.arange(1, length + 1, dtype=np.float32) / (length + 1))[:, None]
    blended = shares * answer[:, :length] + (1 - shares) * before
    answer = np.concatenate([blended, answer[:, length:]], axis=1)
  return answer, following[:, :length]


def at_variables(bundle: weights.Bundle, front_end: front_ends.FrontEnd) -> dict[str, Any]:
  """What `at_apply` takes: the net's arrays, and the front end's frozen ones where it takes sound."""
  variables = {'params': bundle.params, 'batch_stats': bundle.batch_stats}
  return variables | ({'front_end': front_end.load_weights()} if front_end.takes_sound else {})


def at_apply(net: Any, front_end: front_ends.FrontEnd) -> Callable[..., dict[str, Any]]:
  """AT-net in evaluation mode: (variables, example coefficients, inputs, carry) → its outputs."""

  def apply(variables, example_coefficients, inputs, carry):
    if not front_end.takes_sound:
      return net.apply(variables, example_coefficients, inputs, train=False, carry=carry)
    variables = dict(variables)
    heard = front_end.features(variables.pop('front_end'), inputs)
    outputs = net.apply(variables, example_coefficients, heard, train=False, carry=carry)
    return outputs | {'coefficients': speech_head.moved(outputs, inputs)}

  return apply


class VgStream:
  """VG-net: an example image and landmarks → frames.

  Two programs: `start` once a clip, for what its frames share, and `step` for every window, on one device: on all of
  them clips are drawn in `lanes`.

  Attributes:
    net: the net.
    prepared: its weights for `fast_vg`, on the device.
    couples_clips: whether the clips of a batch change one another, by the published recurrence over the batch.
    start, step, step_with_maps: the programs of a clip's start, of a window, and of a window with its maps.
    step_chained: that of a window of frames each of which is its own example.
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
    self.couples_clips = net.recurrence == 'batch'
    self.prepared = jax.device_put(
      fast_vg.prepare(net, {'params': bundle.params, 'batch_stats': bundle.batch_stats}, backend)
    )

    def draw(prepared, shared, landmarks, carry, *, chained=False):
      outputs = fast_vg.draw(net, prepared, shared, landmarks, carry, chained=chained)
      return postprocessing.finish(outputs, shared['landmarks'], landmarks, **config['generation'])

    def start(prepared, example_image, example_landmarks):
      return fast_vg.start(net, prepared, features.to_float(example_image), example_landmarks)

    def step(prepared, shared, landmarks, carry):
      outputs = draw(prepared, shared, landmarks, carry)
      return features.to_bytes(outputs['video']), {}, outputs['carry']

    def step_with_maps(prepared, shared, landmarks, carry):
      outputs = draw(prepared, shared, landmarks, carry)
      maps = {'attention': jnp.repeat(2 * outputs['attention'] - 1, 3, axis=-1), 'motion': outputs['color']}
      return features.to_bytes(outputs['video']), jax.tree.map(features.to_bytes, maps), outputs['carry']

    def step_chained(prepared, shared, landmarks, carry):
      outputs = draw(prepared, shared, landmarks[:, None], carry, chained=True)
      return features.to_bytes(outputs['video'][:, 0]), outputs['carry']

    self.start, self.step, self.step_with_maps, self.step_chained = (
      program_cache.Program(function, config['model'], config['generation'], config['dtype'])
      for function in (start, step, step_with_maps, step_chained)
    )

  def __call__(
    self, example_image: np.ndarray, example_landmarks: np.ndarray, windows: Iterable[np.ndarray]
  ) -> Iterator[np.ndarray]:
    """Yields frames uint8 [B, W, H, W, 3] for every window of landmarks [B, W, 136]; arguments are those of `draw`."""
    for piece in self.draw(example_image, example_landmarks, windows):
      yield piece.frames

  def draw(
    self,
    example_image: np.ndarray,
    example_landmarks: np.ndarray,
    landmarks: Iterable[np.ndarray],
    window: int = 0,
    maps: bool = False,
  ) -> Iterator[Piece]:
    """Yields a batch's frames for every piece of landmarks [B, n, 136].

    The next piece is computed while the caller works on the one it was given: two are in memory at a time. Not so of
    short windows, see `_LIVE`.

    Args:
      example_image: uint8 [B, H, W, 3].
      example_landmarks: [B, 136], of the example image.
      landmarks: pieces that follow each other in time; all but the last have one length.
      window: that length, if the last piece may be shorter.
      maps: give the pieces' maps too.
    """
    steps = self._steps(example_image, example_landmarks, landmarks, window, maps)
    for piece, frames, maps_ in steps if 0 < window < _LIVE else lookahead(steps):
      length = piece.shape[1]
      cut = {name: np.asarray(values)[:, :length] for name, values in maps_.items()}
      yield Piece(piece, np.asarray(frames)[:, :length], cut)

  def _steps(
    self,
    example_image: np.ndarray,
    example_landmarks: np.ndarray,
    landmarks: Iterable[np.ndarray],
    window: int,
    maps: bool,
  ) -> Iterator[tuple[np.ndarray, jax.Array, dict[str, jax.Array]]]:
    """Pieces of landmarks with frames and maps that are still being computed, of whole windows, on the devices."""
    carry = fast_vg.zero_carry(self.net, *example_image.shape[:3])
    shared = self.start(self.prepared, example_image, example_landmarks)
    step = self.step_with_maps if maps else self.step
    for piece in landmarks:
      frames, maps_, carry = step(self.prepared, shared, filled_up(piece, window), carry)
      yield piece, frames, maps_

  def redraw(self, windows: Iterable[VideoWindow]) -> Iterator[jax.Array]:
    """Yields the frames uint8 [W, H, W, 3] of windows of a video that follow each other, while they are computed."""
    carry = None
    for window in windows:
      if carry is None:
        carry = fast_vg.zero_carry(self.net, 1, *window.images.shape[1:3])
      # Two programs: as one, XLA's CPU backend takes a third longer.
      shared = self.start(self.prepared, window.images, window.image_landmarks)
      frames, carry = self.step_chained(self.prepared, shared, window.landmarks, carry)
      yield frames


def split(values: np.ndarray, window: int = WINDOW) -> Iterator[np.ndarray]:
  """Windows [B, W, ...] of values [B, T, ...]; the last is filled up with its last frame."""
  for start in range(0, values.shape[1], window):
    yield filled_up(values[:, start : start + window], window)


def cut(pieces: Iterable[np.ndarray], window: int) -> Iterator[np.ndarray]:
  """Pieces [B, n, ...] that follow each other, as pieces [B, W, ...] and a last one that may be shorter."""
  rest = None
  for piece in pieces:
    rest = piece if rest is None else np.concatenate([rest, piece], axis=1)
    while rest.shape[1] >= window:
      yield rest[:, :window]
      rest = rest[:, window:]
  if rest is not None and rest.shape[1]:
    yield rest


def filled_up(values: np.ndarray, window: int) -> np.ndarray:
  """[B, n, ...] → [B, max(n, W), ...], the last frame repeated."""
  missing = window - values.shape[1]
  return np.concatenate([values, np.repeat(values[:, -1:], missing, axis=1)], axis=1) if missing > 0 else values


def mfcc_windows(sound: Iterable[np.ndarray], window: int = WINDOW) -> Iterator[np.ndarray]:
  """MFCC windows [1, n, 28, 12] of sound, each piece as soon as its sound is there; all but the last have W frames.

  The numbers are those of `audio.windows(audio.frame_rows(samples, num_frames))`, by JAX: to import librosa for them
  would take 1.5 seconds.

  Args:
    sound: pieces [n] of samples at 16 kHz, of which no more is read than a window needs.
    window: W.
  """

  def mfcc(samples: np.ndarray) -> np.ndarray:
    return np.asarray(mfcc_frontend.mfcc(samples))

  for windows, length in audio_stream.mfcc_windows(sound, window, mfcc):
    yield windows[:, :length]


def sound_windows(
  sound: Iterable[np.ndarray], front_end: front_ends.FrontEnd, window: int = WINDOW
) -> Iterator[np.ndarray]:
  """Overlapping windows of sound, [1, 640 (past + n + ahead)], each as soon as its sound is there.

  Args:
    sound: pieces [n] of samples at 16 kHz, of which no more is read than a window needs.
    front_end: whose past and ahead.
    window: n of all windows but the last.
  """
  past, ahead = front_end.past, front_end.ahead_of(window)
  for samples, length in audio_stream.sound_windows(sound, past, window, ahead):
    yield samples[None, : (past + length + ahead) * features.SAMPLES_PER_FRAME]


def at_inputs(
  sound: Iterable[np.ndarray], front_end: front_ends.FrontEnd, window: int = WINDOW
) -> Iterator[np.ndarray]:
  """What `AtStream` takes, of sound in pieces [n]."""
  return sound_windows(sound, front_end, window) if front_end.takes_sound else mfcc_windows(sound, window)


def split_sound(sound: np.ndarray, front_end: front_ends.FrontEnd, window: int = WINDOW) -> Iterator[np.ndarray]:
  """Overlapping windows [B, 640 (past + W + ahead)] of clips' sound [B, 640 T]; the last is filled up with silence."""
  past, ahead = front_end.past, front_end.ahead_of(window)
  rate = features.SAMPLES_PER_FRAME
  frames = sound.shape[1] // rate
  padded = np.pad(sound, ((0, 0), (past * rate, (window + ahead) * rate)))
  for start in range(0, frames, window):
    yield padded[:, start * rate : (start + past + window + ahead) * rate]
