"""The audio front ends that AT-net can take its input from, by the name in `config.model.audio`.

A front end turns sound into an array of features for every video frame. Whoever needs the shape of AT-net's input, or
how much sound around a frame it depends on, asks here. To add one: a file with a `FrontEnd`, and a line in `_MODULES`.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from data_pipelines.errors import InputError

MFCC, SPEECH = 'mfcc', 'speech'
_LIVE_AHEAD = 7  # frames: what short windows look ahead beyond their own length
_SPAN = 250  # frames: ten seconds
# Imported when it is asked for: generation by one front end does not wait for the other.
_MODULES = {MFCC: 'atvg_jax.audio.mfcc_frontend', SPEECH: 'atvg_jax.audio.speech_frontend'}


@dataclasses.dataclass(frozen=True)
class FrontEnd:
  """One front end.

  Attributes:
    name: as in `config.model.audio`.
    shape: of a frame's features.
    past: frames of sound before a window's first that its features depend on; 0 s are silence.
    ahead: likewise after its last, at most; see `ahead_of`.
    takes_sound: whether batches and generation hand the sound itself to the net's program, in windows that overlap.
      Without, they hold the features, and the net carries a recurrent state from window to window.
    load_weights: () → frozen arrays that `features` takes as its first argument; not part of a training's parameters.
    features: (weights, float32 [B, 640 T] at 16 kHz in [-1, 1]) → [B, T, *shape], JAX. Beyond its ends the sound is
      silent.
  """

  name: str
  shape: tuple[int, ...]
  past: int
  ahead: int
  takes_sound: bool
  load_weights: Callable[[], Mapping[str, Any]]
  features: Callable[[Mapping[str, Any], jax.Array], jax.Array]

  def ahead_of(self, window: int) -> int:
    """Frames of sound after a window of so many frames: short windows are for those who wait, and look less far."""
    return min(self.ahead, window + _LIVE_AHEAD)

  def span(self, window: int) -> int:
    """Frames that the net answers at once for who draws `window` at a time: ten seconds, where nobody waits for them.

    Windows that overlap compute what is past and ahead of them anew; of long ones that is little.
    """
    if not self.takes_sound or window < self.ahead:
      return window
    return max(window, _SPAN)


def of(config: Any) -> FrontEnd:
  """The front end of a config of task 'at' (a ConfigDict or its dict).

  Raises:
    InputError: there is no such front end.
  """
  name = config['model'].get('audio', MFCC)
  if name not in _MODULES:
    raise InputError(f'config.model.audio={name!r} is unknown: use one of {sorted(_MODULES)}')
  return importlib.import_module(_MODULES[name]).FRONT_END
