"""Another sound for a video: every frame is its own example, and keeps all but its mouth.

What the face does beside speaking, turning and frowning, stays. Of each frame's landmarks, the movement that the
landmark basis spans (mouth and jaw) is taken away, and what AT-net predicts from the sound is put in its place. VG-net
draws each frame from that frame's own picture, its recurrent state carried from frame to frame of a shot, and the
frame's own pixels are moved as in `paste`. AT-net runs at 25 frames a second, whatever the video's rate: its mouths are
interpolated at the time of each frame. Frames without a face that is to speak are the video's own.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from atvg_jax import landmarks as lm
from atvg_jax.generate.effects import paste
from atvg_jax.generate.footage import Footage, Stretch
from atvg_jax.generate.generator import Drawer, Generator
from atvg_jax.generate.pieces import VideoWindow
from data_pipelines.faces import face_alignment
from data_pipelines.media.source_video import SourceFrame

# Frames drawn at a time: whole pictures, which may be large, wait for them.
_WINDOW = 8

SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.avi', '.webm', '.mpg', '.mpeg', '.ts', '.wmv')


def is_video(path: str) -> bool:
  """By its name: pictures are read as pictures."""
  return path.lower().endswith(SUFFIXES)


class Mouth(NamedTuple):
  """What is to be drawn in a frame."""

  landmarks: np.ndarray  # float32 [136], aligned: what it shows
  speaking: np.ndarray  # float32 [136]
  stretch: int  # its first frame


class Shown(NamedTuple):
  """A frame of the video."""

  frame: SourceFrame
  matrix: np.ndarray  # [2, 3]: picture to crop; of a frame that stays, that of a frame near it
  mouth: Mouth | None  # None: the frame stays


def redraw(
  generator: Generator,
  footage: Footage,
  coefficients: Iterable[np.ndarray],
  whole: bool,
  expressiveness: float = 1.0,
  drawer: Drawer | None = None,
) -> Iterator[np.ndarray]:
  """The video's frames, dubbed.

  Args:
    generator: the nets.
    footage: the video.
    coefficients: [K] for every frame, as `who_speaks.mouths` gives them.
    whole: give the whole frames, of as many pixels as the file has; else the face alone.
    expressiveness: `factor` of `landmarks.express`.
    drawer: what draws; None is the generator.

  Yields:
    uint8 [H, W, 3] or [128, 128, 3].
  """
  shown = _shown(generator, footage, coefficients, whole, expressiveness)
  for stretch, windows in itertools.groupby(shown, lambda window: window[0].mouth and window[0].mouth.stretch):
    if stretch is None:
      for (kept,) in windows:
        yield kept.frame.stored if whole else face_alignment.warp(kept.frame.picture, kept.matrix)
      continue
    given, kept_windows = itertools.tee(windows)
    for frames, window in zip((drawer or generator).redraw(map(_to_draw, given)), kept_windows):
      for place, frame in zip(window, frames):  # what filled the last window up is left
        yield _pasted(place, frame) if whole else frame


def _pasted(shown: Shown, frame: np.ndarray) -> np.ndarray:
  assert shown.mouth is not None, 'drawn'
  paster = paste.Paster(shown.frame.picture, shown.matrix, face_alignment.denormalise(shown.mouth.landmarks))
  return shown.frame.put_back(paster(frame, face_alignment.denormalise(shown.mouth.speaking)))


def _shown(
  generator: Generator, footage: Footage, coefficients: Iterable[np.ndarray], whole: bool, expressiveness: float
) -> Iterator[list[Shown]]:
  """The video's frames: windows of what is drawn, ended where a stretch ends, and by itself each frame that stays."""
  stretches = iter(footage.stretches)
  stretch = next(stretches, None)
  assert stretch is not None, 'there is a face'
  window: list[Shown] = []
  frames = footage.video.frames(square_only=not whole)
  for number, (frame, coefficient) in enumerate(zip(frames, coefficients)):
    if number >= stretch.end:
      if window:
        yield window
      window, stretch = [], next(stretches, stretch)
    place = min(max(number - stretch.start, 0), len(stretch.matrices) - 1)
    if not stretch.start <= number < stretch.end:
      yield [Shown(frame, stretch.matrices[place], None)]
      continue
    speaking = _speaking(generator, stretch, place, coefficient, expressiveness)
    mouth = Mouth(stretch.landmarks[place], speaking, stretch.start)
    window.append(Shown(frame, stretch.matrices[place], mouth))
    if len(window) == _WINDOW:
      yield window
      window = []
  if window:
    yield window


def _speaking(
  generator: Generator, stretch: Stretch, place: int, coefficient: np.ndarray, expressiveness: float = 1.0
) -> np.ndarray:
  """[136]: a frame's landmarks, their mouth moved as `coefficient` [K] says, by as much as the stretch allows."""
  landmarks, rest, basis = stretch.landmarks[place], stretch.rest, generator.basis
  own = lm.to_coefficients(landmarks, rest, basis)  # how the mouth moves in the video
  wanted = lm.express(lm.from_coefficients(coefficient, rest, basis), rest, basis, expressiveness)
  change = stretch.strength[place] * (wanted - lm.from_coefficients(own, rest, basis))
  return (landmarks + change).astype(np.float32)


def _to_draw(window: list[Shown]) -> VideoWindow:
  """What VG-net takes of a window, filled up."""
  full = window + window[-1:] * (_WINDOW - len(window))
  mouths = [shown.mouth for shown in full if shown.mouth is not None]
  return VideoWindow(
    np.stack([face_alignment.warp(shown.frame.picture, shown.matrix) for shown in full]),
    np.stack([mouth.landmarks for mouth in mouths]),
    np.stack([mouth.speaking for mouth in mouths]),
  )
