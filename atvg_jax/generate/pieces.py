"""What flows through generation: landmarks become pieces of frames, and stages pass them on one after the other."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar('T')


class Piece(NamedTuple):
  """Some frames of a video, drawn. All arrays have one entry a frame: what filled up a window is cut off.

  Attributes:
    landmarks: float32 [n, 136], what they were drawn from; of a batch [B, n, 136].
    frames: uint8 [n, H, W, 3]; of a batch [B, n, H, W, 3].
    maps: where they are asked for, 'attention' (white where VG-net draws anew) and 'motion' (what it draws there),
      uint8 of the shape of the frames that VG-net drew; else empty.
  """

  landmarks: np.ndarray
  frames: np.ndarray
  maps: Mapping[str, np.ndarray] = {}

  def clip(self, index: int) -> 'Piece':
    """One clip of a batch."""
    return Piece(self.landmarks[index], self.frames[index], {name: map_[index] for name, map_ in self.maps.items()})


class VideoWindow(NamedTuple):
  """Some frames of a video whose mouths are to be drawn anew, each from itself as example."""

  images: np.ndarray  # uint8 [W, H, W, 3]
  image_landmarks: np.ndarray  # float32 [W, 136], of the images
  landmarks: np.ndarray  # float32 [W, 136], to draw


def lookahead(items: Iterable[T]) -> Iterator[T]:
  """The same items, each given when the next has been asked for: a device computes that while the caller uses this."""
  iterator = iter(items)
  for held in iterator:
    for item in iterator:
      yield held
      held = item
    yield held
