"""All augmentations by the names that a config gives them, and how they are applied: where a new one is registered.

In a config an op is a text such as 'flip' or 'color(0.1)'; see `parse`. The ops are in `image_ops` (faces), `mfcc_ops`
(MFCC rows), `sound_ops` (the sound before them) and `sound_scenes` (whole windows of nets that take sound).
"""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from data_pipelines.augmentation import image_ops, mfcc_ops, sound_ops, sound_scenes
from data_pipelines.augmentation.image_ops import Example
from data_pipelines.errors import InputError

OPS = {
  'flip': image_ops.Flip,
  'color': image_ops.Color,
  'tone': image_ops.Tone,
  'sharpness': image_ops.Sharpness,
  'shift': image_ops.Shift,
  'scale': image_ops.Scale,
  'stretch': image_ops.Stretch,
  'rotate': image_ops.Rotate,
  **mfcc_ops.OPS,
  **sound_ops.OPS,
  **sound_scenes.OPS,
}

_OP = re.compile(r'\s*([a-z_]+)\s*(?:\(\s*(-?[0-9.]+)\s*\))?\s*')


def parse(texts: Sequence[str]) -> list[Any]:
  """Names such as 'flip', 'color(0.1)', 'shift(4)', 'mfcc_noise(0.5)' → ops, in this order.

  Raises:
    InputError: an unknown op, or no number where one is due.
  """
  ops = []
  for text in texts:
    match = _OP.fullmatch(text)
    if not match or match[1] not in OPS:
      raise InputError(
        f'There is no augmentation {text!r}: write one of {", ".join(OPS)}, with a number as in "color(0.1)".'
      )
    try:
      ops.append(OPS[match[1]](*([] if match[2] is None else [float(match[2])])))
    except (TypeError, ValueError):
      raise InputError(f'The augmentation {text!r} cannot be read: write it as in "flip" or "color(0.1)".') from None
  return ops


def split(ops: Sequence[Any]) -> tuple[list[tuple[int, Any]], list[tuple[int, Any]]]:
  """Ops of the sound, which come first whatever their place, and all others; each with its number in `ops`."""
  numbered = list(enumerate(ops))
  kinds = tuple(sound_ops.OPS.values())
  return [pair for pair in numbered if isinstance(pair[1], kinds)], [
    pair for pair in numbered if not isinstance(pair[1], kinds)
  ]


def apply(ops: Sequence[tuple[int, Any]], example: Example, seed: tf.Tensor) -> Example:
  """Calls the ops one after the other, each with a seed made of `seed`, int32 [2], and its number."""
  for number, op in ops:
    example = op(example, tf.random.experimental.stateless_fold_in(seed, number))
  return example
