"""Clips of a data set's batch, drawn in lanes: whole videos, for those who score them."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from atvg_jax.generate import streaming
from atvg_jax.generate.lanes.item_threads import spread
from atvg_jax.generate.lanes.lanes import Lanes
from atvg_jax.generate.normalisation import Conditions
from atvg_jax.generate.pieces import Piece
from data_pipelines import features


def from_landmarks(lanes: Lanes, images: np.ndarray, conditions: Conditions, landmarks: np.ndarray) -> np.ndarray:
  """Draws clips from landmarks.

  Args:
    lanes: to draw in.
    images: uint8 [B, H, W, 3], the example frames.
    conditions: of the B clips.
    landmarks: [B, T, 136].

  Returns:
    uint8 [B, T, H, W, 3].
  """
  length, window = landmarks.shape[1], lanes.window

  def draw(clip: int) -> Iterator[Piece]:
    pieces = (landmarks[clip, start : start + window] for start in range(0, length, window))
    return lanes.from_landmarks(images[clip], _of(conditions, clip), pieces)

  return _drawn(lanes, draw, len(images), length)


def from_audio(
  lanes: Lanes, images: np.ndarray, conditions: Conditions, batch: Mapping[str, np.ndarray], length: int
) -> np.ndarray:
  """Draws clips of `length` frames from `features.AUDIO` or `features.MFCC` of a batch, as the front end takes."""
  front_end = lanes.front_end

  def draw(clip: int) -> Iterator[Piece]:
    if front_end.takes_sound:
      sound = features.sound_to_float(batch[features.AUDIO][clip : clip + 1])
      inputs = streaming.split_sound(sound, front_end, front_end.span(lanes.window))
    else:
      inputs = streaming.split(batch[features.MFCC][clip : clip + 1], lanes.window)
    return lanes.from_audio(images[clip], _of(conditions, clip), inputs)

  return _drawn(lanes, draw, len(images), length)


def _of(conditions: Conditions, clip: int) -> Conditions:
  return Conditions(*(value[clip : clip + 1] for value in conditions))


def _drawn(lanes: Lanes, draw: Callable[[int], Iterator[Piece]], clips: int, length: int) -> np.ndarray:
  """[B, length, H, W, 3]: what `draw` gives of every clip."""

  def frames(clip: int) -> np.ndarray:
    with lanes.at_work():
      return np.concatenate([piece.frames for piece in draw(clip)])[:length]

  made = dict(spread(frames, range(clips), lanes.num_threads, lanes.stop))
  return np.stack([made[clip] for clip in range(clips)])
