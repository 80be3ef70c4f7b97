"""Shot changes: where a video goes on with another picture."""

import collections
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

# Frames on either side that a change must tell apart: a flash or a dropped picture is shorter.
_REACH = 5
_GRID = (9, 16)  # cells whose mean colours are compared
_BINS = 8  # of each colour, in the histogram of the whole picture
# Mean difference of cells (of 255) that counts as much as a histogram that has changed altogether.
_CELL_SCALE = 64.0
_THRESHOLD = 0.25
_CALM = 2.0  # a new shot differs by so many times what the frames around differ from each other: not so in a fast pan


def signature(frame: np.ndarray) -> np.ndarray:
  """uint8 [H, W, 3] → float32: the colours of the picture and of its parts, scaled so that `distance` is a sum."""
  step = max(1, min(frame.shape[:2]) // 72)
  small = frame[::step, ::step]
  codes = (small // (256 // _BINS)).astype(np.int32) @ np.array([_BINS * _BINS, _BINS, 1])
  histogram = np.bincount(codes.reshape(-1), minlength=_BINS**3) / codes.size
  rows, columns = (np.linspace(0, side, cells + 1).astype(int)[:-1] for side, cells in zip(small.shape, _GRID))
  # A picture of fewer pixels than cells repeats them.
  sums = np.add.reduceat(np.add.reduceat(small.astype(np.float32), rows, axis=0), columns, axis=1)
  counts = np.add.reduceat(np.add.reduceat(np.ones(small.shape[:2]), rows, axis=0), columns, axis=1)
  cells = sums / counts[..., None]
  return np.concatenate([histogram / 4, cells.reshape(-1) / (_CELL_SCALE * 2 * cells.size)]).astype(np.float32)


def distance(a: np.ndarray, b: np.ndarray) -> float:
  """Between two signatures: 0 for the same picture, about 1 for pictures that share nothing."""
  return float(np.abs(a - b).sum())


def mark(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
  """Hands the frames on, each with whether a new shot begins with it; holds back five of them.

  A new shot begins where every one of the five frames before differs from every one of the five that follow.
  So flashes are none, nor are pans and people that move, in which a frame resembles the next; dissolves
  are none either, for the same reason: there the face is lost, or changes while it is tracked.
  """
  before: collections.deque[np.ndarray] = collections.deque(maxlen=_REACH)
  waiting: collections.deque[tuple[np.ndarray, np.ndarray]] = collections.deque()

  def pop() -> tuple[np.ndarray, bool]:
    frame, own = waiting[0]
    cut = bool(before) and distance(before[-1], own) > _THRESHOLD  # nearly always settles it
    if cut:
      after = [b for _, b in waiting]
      around = [distance(a, b) for side in (list(before), after) for a, b in itertools.pairwise(side)]
      threshold = max(_THRESHOLD, _CALM * float(np.median(around or [0.0])))
      cut = all(distance(a, b) > threshold for a in before for b in after)
    waiting.popleft()
    before.append(own)
    return frame, cut

  for frame in frames:
    waiting.append((frame, signature(frame)))
    if len(waiting) == _REACH:
      yield pop()
  while waiting:
    yield pop()
