"""What the time of a batch went into: how full the lanes were, and how busy each stage was."""

import threading
import time
from typing import Literal, NamedTuple

Stage = Literal['reading', 'writing']


class Usage:
  """Counts while clips are drawn; may be told things from any thread.

  Attributes:
    steps: windows of all lanes that were drawn.
    drawing: seconds in which the devices were drawing.
  """

  def __init__(self, num_lanes: int):
    """Takes the number of lanes."""
    self.num_lanes, self.steps, self.drawing = num_lanes, 0, 0.0
    self._begun = time.perf_counter()
    self._busy_lanes = 0
    self._drawing_since: float | None = None
    self._lock = threading.Lock()
    self._seconds: dict[Stage, float] = {'reading': 0.0, 'writing': 0.0}

  def add(self, stage: Stage, seconds: float) -> None:
    """Counts seconds of one thread."""
    with self._lock:
      self._seconds[stage] += seconds

  def draws(self, busy_lanes: int) -> None:
    """A window of so many lanes is given to the devices."""
    self.steps += 1
    self._busy_lanes += busy_lanes
    if self._drawing_since is None:
      self._drawing_since = time.perf_counter()
    else:
      self._count_drawing()

  def rests(self) -> None:
    """The devices have nothing to do."""
    if self._drawing_since is not None:
      self._count_drawing()
      self._drawing_since = None

  def _count_drawing(self) -> None:
    assert self._drawing_since is not None
    now = time.perf_counter()
    self.drawing, self._drawing_since = self.drawing + now - self._drawing_since, now

  def summary(self) -> 'Shares':
    """Until now."""
    seconds = max(time.perf_counter() - self._begun, 1e-9)
    with self._lock:
      return Shares(
        seconds,
        self.steps,
        self._busy_lanes / max(1, self.steps * self.num_lanes),
        min(1.0, self.drawing / seconds),
        self._seconds['reading'] / seconds,
        self._seconds['writing'] / seconds,
      )


class Shares(NamedTuple):
  """Of the time of a batch.

  Attributes:
    seconds: the time.
    steps: windows of all lanes that were drawn.
    occupancy: share of the lanes that were busy in a step, mean.
    drawing: share of the time in which the devices were drawing.
    reading: threads, mean over the time, that read files and looked for faces.
    writing: likewise, that pasted and encoded.
  """

  seconds: float
  steps: int
  occupancy: float
  drawing: float
  reading: float
  writing: float

  def sentence(self) -> str:
    """For people."""
    return (
      f'drawing {self.drawing:.0%} of the time, lanes {self.occupancy:.0%} full in {self.steps} steps; '
      f'on average {self.reading:.1f} threads were reading, {self.writing:.1f} pasting and encoding: {self.binds()}'
    )

  def binds(self) -> str:
    """What to make faster."""
    if self.drawing >= 0.9:
      return 'drawing binds'
    return 'reading binds' if self.reading > self.writing else 'pasting and encoding bind'
