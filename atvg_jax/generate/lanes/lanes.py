"""Lanes for clips: who wants a clip drawn opens one in a thread of its own, and all of them are drawn together.

  with Lanes(generator) as lanes:  # a thread and the clips' states on the devices, both gone afterwards
    for piece in lanes.speak(portrait, samples):  # in as many threads as there are lanes, and some more
      ...

One thread seats the clips in free lanes and draws a window of all of them at a time. The next window is on its way to
the devices before the last one is fetched.
"""

import bisect
import collections
import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Self

import jax
import numpy as np

from atvg_jax.generate import streaming
from atvg_jax.generate.lanes.lane_functions import Nets
from atvg_jax.generate.lanes.lane_programs import Drawn, LanePrograms, NewClip, Window
from atvg_jax.generate.lanes.usage import Stage, Usage
from atvg_jax.generate.normalisation import Conditions
from atvg_jax.generate.pieces import Piece, VideoWindow
from atvg_jax.generate.portrait import Portrait
from data_pipelines.errors import InputError

# Windows of a clip that may be under way: one is waiting, two are on the devices, one is being written.
_AHEAD = 4
_AHEAD_OF_VIDEO = 2  # of a video's own frames, which are large where the pictures are
# How long, in seconds, the devices may wait in all for clips that are late: the first of them, and of every second
# that they draw. Then they draw what is there, so that one slow file holds up nobody for long.
_PATIENCE, _PATIENCE_SHARE = 5.0, 0.1


class Stopped(Exception):
  """The lanes are closed: nothing is drawn any more."""


class _Clip:
  """A clip, from its opening until its lane is free. All but `answers` belongs to the lock of the lanes."""

  def __init__(self, new: NewClip, maps: bool):
    self.new, self.maps = new, maps
    self.windows: collections.deque[Window | VideoWindow] = collections.deque()
    self.complete = False  # no more windows come
    self.turn = 0  # whose turn it is to get a lane: the lowest
    self.answers: queue.SimpleQueue[Piece | BaseException] = queue.SimpleQueue()


class _Step(NamedTuple):
  """A window of all lanes, on the devices."""

  drawn: Drawn
  clips: dict[int, tuple[_Clip, int]]  # lane → whose window, and how many frames count


def default_lanes() -> int:
  """Lanes a device: a processor is kept busy by one clip, an accelerator is not."""
  return 1 if jax.default_backend() == 'cpu' else 8


class Lanes:
  """Draws clips in lanes; a context manager. Its methods may be called from any thread.

  Attributes:
    usage: what the time went into.
    num_lanes: on all local devices.
    front_end: of AT-net, whose inputs `from_audio` takes.
    num_threads: that may work on clips: some open the next or write the last while the lanes are full.
    window: frames that are drawn at a time.
  """

  def __init__(self, generator: Nets, lanes: int | None = None, window: int | None = None):
    """Makes lanes.

    Args:
      generator: the nets.
      lanes: a device; None is `default_lanes`.
      window: frames at a time; None is `streaming.default_window`.

    Raises:
      InputError: there can be no such number of lanes.
    """
    if lanes is not None and lanes < 1:
      raise InputError(f'--lanes={lanes}: give 1 or more')
    self._generator, self.front_end = generator, generator.at.front_end
    self.window = window or streaming.default_window()
    self._programs = LanePrograms(generator, lanes or default_lanes(), self.window)
    self.num_lanes = self._programs.num_lanes
    self.num_threads = self.num_lanes + max(2, self.num_lanes)
    self.usage = Usage(self.num_lanes)
    self._changed = threading.Condition()
    self._open: set[_Clip] = set()  # somebody waits for their answers
    self._waiting: list[_Clip] = []  # for a lane, by turn
    self._seated: dict[int, _Clip] = {}
    self._turns = itertools.count()
    self._expected: set[int] = set()  # turns of clips that will be opened soon
    self._of_thread = threading.local()
    self._waited = 0.0
    self._error: BaseException | None = None
    self._unfilled: dict[int, NewClip] = {}  # of the drawing thread: seated since the last step
    self._thread = threading.Thread(target=self._run, name='lanes', daemon=True)

  def __enter__(self) -> Self:
    self._thread.start()
    return self

  def __exit__(self, kind, value, traceback) -> None:
    self.stop()
    self._thread.join()

  def stop(self) -> None:
    """Ends all clips, by `Stopped` where they are waited for."""
    with self._changed:
      self._error = self._error or Stopped()
      self._changed.notify_all()

  def check(self) -> None:
    """Raises what has ended the drawing, if anything has."""
    with self._changed:
      if self._error is not None:
        raise self._error

  @contextlib.contextmanager
  def at_work(self, opens_clip: bool = True) -> Iterator[None]:
    """Meanwhile this thread makes a video; a lane that is free may wait for the clip that it opens for it.

    What it does before is counted as reading, and what it does with the pieces and after them as writing.
    """
    self._of_thread.comes, self._of_thread.since = opens_clip, time.perf_counter()
    with self._changed:
      self._of_thread.turn = next(self._turns)
      if opens_clip:
        self._expected.add(self._of_thread.turn)
    try:
      yield
    finally:
      self._counted('reading' if self._of_thread.comes else 'writing')
      with self._changed:
        self._arrived()
        del self._of_thread.turn

  def _counted(self, stage: Stage) -> None:
    """What this thread has done since it was last counted was work of that stage."""
    now = time.perf_counter()
    self.usage.add(stage, now - getattr(self._of_thread, 'since', now))
    self._of_thread.since = now

  def _arrived(self) -> None:
    """This thread's clip is there, or will not come; under the lock."""
    if getattr(self._of_thread, 'comes', False):
      self._of_thread.comes = False
      self._expected.discard(self._of_thread.turn)
      self._changed.notify_all()

  def speak(
    self,
    portrait: Portrait,
    sound: np.ndarray | Iterable[np.ndarray],
    window: int = 0,
    maps: bool = False,
    expressiveness: float = 1.0,
  ) -> Iterator[Piece]:
    """Draws a face speaking; arguments and pieces are those of `Generator.speak`, the window that of the lanes."""
    assert window in (0, self.window)
    sounds = [sound] if isinstance(sound, np.ndarray) else sound
    inputs = streaming.at_inputs(sounds, self.front_end, self.front_end.span(self.window))
    conditions = self._generator.normalisation.conditions(portrait.landmarks[None])
    return self.from_audio(portrait.crop, conditions, inputs, maps, expressiveness)

  def draw(
    self, portrait: Portrait, landmarks: Iterable[np.ndarray], window: int = 0, maps: bool = False
  ) -> Iterator[Piece]:
    """Draws a face; arguments and pieces are those of `Generator.draw`, the window that of the lanes."""
    assert window in (0, self.window)
    conditions = self._generator.normalisation.conditions(portrait.landmarks[None])
    return self.from_landmarks(portrait.crop, conditions, landmarks, maps)

  def from_audio(
    self,
    image: np.ndarray,
    conditions: Conditions,
    inputs: Iterable[np.ndarray],
    maps: bool = False,
    expressiveness: float = 1.0,
  ) -> Iterator[Piece]:
    """Draws an image, uint8 [H, W, 3], from AT-net's inputs of one clip, pieces of `front_end.span` of the window."""
    if self.front_end.takes_sound or expressiveness != 1:  # not in the lanes' program: AT-net by itself
      span = self.front_end.span(self.window)
      landmarks = self._generator.predict_landmarks(conditions, inputs, span, expressiveness)
      return self.from_landmarks(image, conditions, (piece[0] for piece in streaming.cut(landmarks, self.window)), maps)
    filled = (self._generator.at.fill(piece, self.window) for piece in inputs)
    windows = (Window(np.asarray(piece, np.float32), None, length) for piece, length in filled)
    return self._drawn(_new_clip(image, conditions), windows, maps)

  def from_landmarks(
    self, image: np.ndarray, conditions: Conditions, landmarks: Iterable[np.ndarray], maps: bool = False
  ) -> Iterator[Piece]:
    """Draws an image, uint8 [H, W, 3], from pieces of landmarks [<= window, 136]."""
    windows = (
      Window(None, streaming.filled_up(piece[None].astype(np.float32), self.window)[0], len(piece))
      for piece in landmarks
    )
    return self._drawn(_new_clip(image, conditions), windows, maps)

  def redraw(self, windows: Iterable[VideoWindow]) -> Iterator[np.ndarray]:
    """Draws mouths of a video anew; arguments and frames are those of `Generator.redraw`."""
    iterator = iter(windows)
    first = next(iterator, None)
    if first is None:
      return
    coefficients = np.zeros(self._programs.num_coefficients, np.float32)
    new = NewClip(first.images[0], first.image_landmarks[0], coefficients, first.image_landmarks[0])
    for piece in self._drawn(new, itertools.chain([first], iterator), maps=False, ahead=_AHEAD_OF_VIDEO):
      yield piece.frames

  def _drawn(
    self, new: NewClip, windows: Iterable[Window | VideoWindow], maps: bool, ahead: int = _AHEAD
  ) -> Iterator[Piece]:
    """A clip's pieces, some windows ahead of the caller."""
    clip = _Clip(new, maps)
    under_way = 0
    iterator = iter(windows)
    try:
      window = next(iterator, None)
      while window is not None:
        following = next(iterator, None)
        self._counted('reading')
        self._put(clip, window, following is None)
        window, under_way = following, under_way + 1
        if under_way == ahead:
          yield self._answer(clip)
          self._counted('writing')
          under_way -= 1
      while under_way:
        yield self._answer(clip)
        self._counted('writing')
        under_way -= 1
    finally:
      self._leave(clip)

  def _put(self, clip: _Clip, window: Window | VideoWindow, last: bool) -> None:
    with self._changed:
      if self._error is not None:
        raise self._error
      clip.windows.append(window)
      clip.complete = last
      if clip not in self._open:
        turn = getattr(self._of_thread, 'turn', None)
        clip.turn = next(self._turns) if turn is None else turn
        self._open.add(clip)
        bisect.insort(self._waiting, clip, key=lambda other: other.turn)
        self._arrived()
      self._changed.notify_all()

  def _answer(self, clip: _Clip) -> Piece:
    answer = clip.answers.get()
    self._of_thread.since = time.perf_counter()  # waiting is no work
    if isinstance(answer, BaseException):
      raise answer
    return answer

  def _leave(self, clip: _Clip) -> None:
    """Nobody waits for the clip any more: its lane is free."""
    with self._changed:
      self._open.discard(clip)
      if clip in self._waiting:
        self._waiting.remove(clip)
      self._seated = {lane: other for lane, other in self._seated.items() if other is not clip}
      self._changed.notify_all()

  # What follows is of the one thread that draws.

  def _run(self) -> None:
    under_way: collections.deque[_Step] = collections.deque()
    try:
      self._programs.warm_up()
      while True:
        steps = self._dispatch(self._next(wait=not under_way))
        under_way.extend(steps)
        while len(under_way) > len(steps):
          self._deliver(under_way.popleft())
          if not under_way:
            self.usage.rests()
    except BaseException as error:
      with self._changed:
        self._error = self._error or _explained(error)
        for clip in self._open:
          clip.answers.put(self._error)

  def _next(self, wait: bool) -> dict[int, tuple[_Clip, Window | VideoWindow]]:
    """Lane → the window to draw; none where it need not wait and not all are there."""
    with self._changed:
      while True:
        if self._error is not None:
          raise self._error
        patience = _PATIENCE + _PATIENCE_SHARE * self.usage.drawing - self._waited
        self._seat(in_turn=patience > 0)
        ready = {lane: clip for lane, clip in self._seated.items() if clip.windows}
        late = len(ready) < len(self._seated) or (len(ready) < self.num_lanes and bool(self._expected))
        if ready and (not late or patience <= 0):
          break
        if not wait:
          return {}
        start = time.perf_counter()
        self._changed.wait(patience if ready else None)
        if ready:
          self._waited += time.perf_counter() - start
      windows = {lane: (clip, clip.windows.popleft()) for lane, clip in ready.items()}
      for lane, (clip, _) in windows.items():
        if clip.complete and not clip.windows:
          del self._seated[lane]
      return windows

  def _seat(self, in_turn: bool) -> None:
    """Gives free lanes to those who wait, the lowest turn first; under the lock.

    Args:
      in_turn: keep lanes free for lower turns that are expected: long clips have them, and take longer to open.
    """
    free = [lane for lane in range(self.num_lanes) if lane not in self._seated]
    while free and self._waiting:
      clip = self._waiting[0]
      if in_turn and sum(turn < clip.turn for turn in self._expected) >= len(free):
        return
      lane = free.pop(0)
      self._seated[lane] = self._waiting.pop(0)
      self._unfilled[lane] = clip.new

  def _dispatch(self, ready: Mapping[int, tuple[_Clip, Window | VideoWindow]]) -> list[_Step]:
    """Begins a step for the windows of pictures, and one for those of videos, as far as there are any."""
    clips = {lane: clip for lane, (clip, _) in ready.items()}
    pictures = {lane: window for lane, (_, window) in ready.items() if isinstance(window, Window)}
    videos = {lane: window for lane, (_, window) in ready.items() if isinstance(window, VideoWindow)}
    if ready:
      self._programs.refill(self._unfilled)
      self._unfilled.clear()
    steps = []
    if pictures:
      self.usage.draws(len(pictures))
      drawn = self._programs.draw(pictures, any(clips[lane].maps for lane in pictures))
      steps.append(_Step(drawn, {lane: (clips[lane], window.length) for lane, window in pictures.items()}))
    if videos:
      self.usage.draws(len(videos))
      drawn = self._programs.redraw(videos)
      steps.append(_Step(drawn, {lane: (clips[lane], len(window.images)) for lane, window in videos.items()}))
    return steps

  def _deliver(self, step: _Step) -> None:
    drawn = step.drawn.fetched()
    for lane, (clip, length) in step.clips.items():
      clip.answers.put(Piece(*drawn.of_lane(lane, length, clip.maps)))


def _new_clip(image: np.ndarray, conditions: Conditions) -> NewClip:
  rest, landmarks, coefficients = (np.asarray(value[0], np.float32) for value in conditions)
  return NewClip(np.asarray(image), landmarks, coefficients, rest)


def _explained(error: BaseException) -> BaseException:
  """The error, as a sentence where it is that of memory."""
  if isinstance(error, jax.errors.JaxRuntimeError) and 'RESOURCE_EXHAUSTED' in str(error):
    return InputError("the devices' memory is too small for so many lanes: give --lanes a smaller number")
  return error
