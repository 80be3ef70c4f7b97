"""What the devices do for clips in lanes: a few compiled programs, whatever the number and the lengths of the clips.

A lane is a place in a batch. It holds one clip: what the clip's frames share, and the recurrent states of both nets.
Lane `device * lanes_per_device + place` is on that local device. A window is drawn for all lanes at once; a lane whose
clip is over gets the next one in place, while the others go on.
"""

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from atvg_jax.generate.lanes.lane_functions import LaneFunctions, Nets
from atvg_jax.generate.pieces import VideoWindow
from atvg_jax.runtime import parallel, program_cache
from data_pipelines import features


class NewClip(NamedTuple):
  """What a lane needs of a clip before its first window."""

  image: np.ndarray  # uint8 [H, W, 3]
  landmarks: np.ndarray  # float32 [136], of the image
  coefficients: np.ndarray  # float32 [K]
  rest: np.ndarray  # float32 [136]


class Window(NamedTuple):
  """A window of a clip."""

  inputs: np.ndarray | None  # of AT-net, [1, ...] as `AtStream.fill` gives it; None where the landmarks are given
  landmarks: np.ndarray | None  # float32 [window, 136]
  length: int  # frames that count


class Drawn(NamedTuple):
  """A window of all lanes, which may still be computed."""

  landmarks: Any  # float32 [lanes, window, 136]
  frames: Any  # uint8 [lanes, window, H, W, 3]
  maps: Mapping[str, Any]  # of the same shape

  def of_lane(self, lane: int, length: int, maps: bool) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Copies of landmarks, frames and maps of one lane: a view would keep all lanes in memory."""
    taken = [np.array(values[lane, :length]) for values in (self.landmarks, self.frames)]
    return taken[0], taken[1], {name: np.array(values[lane, :length]) for name, values in self.maps.items() if maps}

  def on_its_way(self) -> 'Drawn':
    """The same, which the devices send when it is there."""
    for array in jax.tree.leaves(self):
      if isinstance(array, jax.Array):  # landmarks that were given are here
        array.copy_to_host_async()
    return self

  def fetched(self) -> 'Drawn':
    """The same in NumPy, when it is there."""
    return jax.tree.map(np.asarray, self)


class _Compiled:
  """The programs themselves, and the nets' arrays on the devices: all that does not depend on the lanes.

  Attributes:
    functions: one device's part.
    num_devices: local devices.
    at_variables, prepared: what `predict` and the others take first.
    refill, predict, draw, draw_maps, encode_frames, redraw: programs for all local devices, see `LaneFunctions`.
  """

  def __init__(self, nets: Nets, window: int):
    self.functions = functions = LaneFunctions(nets, window)
    self.num_devices = jax.local_device_count()
    self.refill = self._program(functions.refill, num_lanes=3, donate=(0, 1))
    self.predict = self._program(functions.predict, num_lanes=6, donate=(0,))
    self.draw = self._program(functions.draw, num_lanes=4, donate=(0,))
    self.draw_maps = self._program(functions.draw_maps, num_lanes=4, donate=(0,))
    self.encode_frames = self._program(functions.encode_frames, num_lanes=2)
    self.redraw = self._program(functions.redraw, num_lanes=4, donate=(0,))
    self.at_variables, self.prepared = map(
      parallel.replicate if self.num_devices > 1 else jax.device_put, (functions.variables, nets.vg.prepared)
    )

  def _program(self, function: Callable[..., Any], *, num_lanes: int, donate: Sequence[int] = ()) -> Callable[..., Any]:
    """A function of parameters and trees of lanes, of which those at `donate` are replaced."""
    donated = [1 + place for place in donate]
    if self.num_devices > 1:
      return parallel.on_lanes(function, num_lanes, donated)
    return program_cache.Program(function, *self.functions.about, donate=donated)


# Reading the programs takes half a second, which a process's second manifest need not wait for.
_COMPILED: weakref.WeakKeyDictionary[Nets, dict[int, _Compiled]] = weakref.WeakKeyDictionary()


def _compiled(nets: Nets, window: int) -> _Compiled:
  """The programs for these nets, which are kept as long as the nets are."""
  by_window = _COMPILED.setdefault(nets, {})
  found = by_window.get(window)
  if found is None or (found.functions.at, found.functions.vg) != (nets.at, nets.vg):  # a net may be replaced
    found = by_window[window] = _Compiled(nets, window)
  return found


class LanePrograms:
  """The programs, and the lanes' state on the devices; for one thread.

  Attributes:
    num_devices: local devices.
    num_lanes: on all of them.
    num_coefficients: of AT-net.
    window: frames that are drawn at a time.
  """

  def __init__(self, nets: Nets, lanes_per_device: int, window: int, size: int = features.IMAGE_SIZE):
    """Makes empty lanes.

    Args:
      nets: the nets.
      lanes_per_device: how many; nets whose clips change one another get one.
      window: frames at a time.
      size: side of the pictures.
    """
    self._compiled = compiled = _compiled(nets, window)
    self.num_devices = compiled.num_devices
    self._per_device = 1 if nets.vg.couples_clips else lanes_per_device
    self.num_lanes = self.num_devices * self._per_device
    self.window, self._size = window, size
    self.num_coefficients = len(nets.basis.components)
    shapes = compiled.functions.shapes(self.num_lanes, size)
    empty = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), shapes)
    self._states, self._examples = parallel.cut_lanes(empty) if self.num_devices > 1 else jax.device_put(empty)

  def warm_up(self) -> None:
    """Compiles what draws sound, by a window of empty lanes: while the first clips are read it costs no time."""
    size = self._size
    points, coefficients = (np.zeros(count, np.float32) for count in (features.LANDMARK_SIZE, self.num_coefficients))
    self.refill({0: NewClip(np.zeros((size, size, 3), np.uint8), points, coefficients, points)})
    window = Window(None, np.zeros((self.window, features.LANDMARK_SIZE), np.float32), self.window)
    if not self._compiled.functions.at.front_end.takes_sound:
      window = Window(np.zeros((1, *self._compiled.functions.input_shape()), np.float32), None, self.window)
    self.draw({0: window}, maps=False).fetched()

  def refill(self, clips: Mapping[int, NewClip]) -> None:
    """Puts clips into lanes, in place of what was there: lane → clip."""
    waiting = dict(clips)
    while waiting:
      chosen: dict[int, int] = {}  # at most one a device and call
      for lane in waiting:
        chosen.setdefault(lane // self._per_device, lane)
      some = waiting[next(iter(waiting))]
      rows = [waiting.pop(chosen[device]) if device in chosen else some for device in range(self.num_devices)]
      places = [
        chosen[device] % self._per_device if device in chosen else self._per_device  # beyond the last: dropped
        for device in range(self.num_devices)
      ]
      new = {name: np.stack([getattr(row, name) for row in rows]) for name in NewClip._fields}
      new['place'] = np.array(places, np.int32)
      self._states, self._examples = self._compiled.refill(
        self._compiled.prepared, self._states, self._examples, self._on_devices(new)
      )

  def draw(self, windows: Mapping[int, Window], maps: bool) -> Drawn:
    """Draws a window of the clips in these lanes; the others keep their state.

    Args:
      windows: lane → window.
      maps: whether any of them needs the maps.
    """
    active = self._active(windows)
    given = np.zeros((self.num_lanes, self.window, features.LANDMARK_SIZE), np.float32)
    driven = np.ones(self.num_lanes, bool)
    inputs: np.ndarray | None = None
    for lane, window in windows.items():
      if window.landmarks is not None:
        given[lane] = window.landmarks
        continue
      assert window.inputs is not None
      if inputs is None:
        inputs = np.zeros((self.num_lanes, *window.inputs.shape[1:]), np.float32)
      inputs[lane], driven[lane] = window.inputs[0], False
    active, given, driven, inputs = self._on_devices((active, given, driven, inputs))
    landmarks: Any = given
    states, shared = self._states, self._examples['shared']
    if inputs is not None:
      example = {name: self._examples[name] for name in ('coefficients', 'rest')}
      landmarks, states['at'] = self._compiled.predict(
        self._compiled.at_variables, states['at'], example, inputs, given, driven, active
      )
    program = self._compiled.draw_maps if maps else self._compiled.draw
    frames, drawn_maps, states['vg'] = program(self._compiled.prepared, states['vg'], shared, landmarks, active)
    return Drawn(landmarks, frames, drawn_maps).on_its_way()

  def redraw(self, windows: Mapping[int, VideoWindow]) -> Drawn:
    """Begins to draw frames of videos in their lanes, each from itself as example; a device draws for all its lanes.

    Args:
      windows: lane → window; all have as many frames.
    """
    some = next(iter(windows.values()))
    images, seen, landmarks = (np.zeros((self.num_lanes, *values.shape), values.dtype) for values in some)
    for lane, window in windows.items():
      images[lane], seen[lane], landmarks[lane] = window
    active, images, seen, landmarks = self._on_devices((self._active(windows), images, seen, landmarks))
    # Two programs, as in `VgStream.redraw`.
    programs, state = self._compiled, self._states['vg']
    shared = programs.encode_frames(programs.prepared, images, seen)
    frames, self._states['vg'] = programs.redraw(programs.prepared, state, shared, landmarks, active)
    return Drawn(landmarks, frames, {}).on_its_way()

  def _active(self, lanes: Collection[int]) -> np.ndarray:
    active = np.zeros(self.num_lanes, bool)
    active[list(lanes)] = True
    return active

  def _on_devices(self, tree: Any) -> Any:
    return parallel.cut_lanes(tree) if self.num_devices > 1 else tree
