"""Both nets, ready to run on arrays.

  generator = Generator.from_pretrained()
  frames = generator(image, samples)  # uint8 [T, 128, 128, 3], 25 a second

The picture gives the example frame and its landmarks; the sound gives landmarks by AT-net (or another video
gives them); VG-net draws. TensorFlow is not needed, and not imported.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from atvg_jax import landmarks as lm
from atvg_jax.checkpoints import weights
from atvg_jax.generate import published_weights, streaming
from atvg_jax.generate.effects import paste
from atvg_jax.generate.lanes.item_threads import spread
from atvg_jax.generate.lanes.lanes import Lanes
from atvg_jax.generate.normalisation import Conditions, Normalisation, OwnFaceNormalisation
from atvg_jax.generate.pieces import Piece, VideoWindow, lookahead
from atvg_jax.generate.portrait import Portrait, find_face
from atvg_jax.runtime import parallel
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.faces.face_choice import FaceChoice

# Quieter than this (-60 dB of full scale) there is no speech to follow.
_SILENCE = 1e-3

FRAMES = ('crop', 'full')
MAX_EXPRESSIVENESS = 2.0


def check_speech(samples: np.ndarray, name: str = 'the sound') -> None:
  """Raises InputError where samples [n] are empty, silent or no numbers; `name` says whose they are."""
  if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
    raise InputError(f'{name} is an array {samples.dtype} {list(samples.shape)}: give float32 samples [n] at 16 kHz')
  if not samples.size:
    raise InputError(f'{name} is empty: give a recording of speech')
  # In pieces: hours of sound must not be copied for this.
  pieces = np.split(samples, range(1 << 20, len(samples), 1 << 20))
  if not all(np.isfinite(piece).all() for piece in pieces):
    raise InputError(f'{name} holds numbers that are not finite: export the recording again')
  check_loudness(max(max(piece.max(), -piece.min()) for piece in pieces), name)


def check_loudness(peak: float, name: str) -> None:
  """Raises InputError where the loudest sample of a sound is that of silence."""
  if peak < _SILENCE:
    raise InputError(f'{name} is silent: give a recording with speech in it')


def check_expressiveness(factor: float) -> None:
  """Raises InputError where nobody's mouth could move `factor` times as far from rest as predicted."""
  if not 0 <= factor <= MAX_EXPRESSIVENESS:
    raise InputError(f'expressiveness {factor:g} is out of range: give 0 (a mouth at rest) to {MAX_EXPRESSIVENESS:g}')


class Drawer(Protocol):
  """What draws clips: a `Generator`, one after the other, or `Lanes`, many together."""

  def speak(
    self,
    portrait: Portrait,
    sound: np.ndarray | Iterable[np.ndarray],
    window: int = ...,
    maps: bool = ...,
    expressiveness: float = ...,
  ) -> Iterator[Piece]:
    """See `Generator.speak`."""

  def draw(
    self, portrait: Portrait, landmarks: Iterable[np.ndarray], window: int = ..., maps: bool = ...
  ) -> Iterator[Piece]:
    """See `Generator.draw`."""

  def redraw(self, windows: Iterable[VideoWindow]) -> Iterator[np.ndarray]:
    """See `Generator.redraw`."""


class Generator:
  """Both nets, ready to run; made by `from_pretrained`.

  Attributes:
    bundles: the weights, 'at' and 'vg'.
    basis: AT-net's landmark basis.
    normalisation: the steps around the nets that these weights take.
    at, vg: the nets as programs.
  """

  def __init__(self, at: weights.Bundle, vg: weights.Bundle):
    """Takes the weights of AT-net and of VG-net."""
    parallel.use_compilation_cache()
    assert at.basis is not None, "AT-net's weights hold its landmark basis"
    self.bundles = {'at': at, 'vg': vg}
    self.basis = at.basis
    self.normalisation = _normalisation(at, vg, at.basis)
    self.at = streaming.AtStream(at)
    self.vg = streaming.VgStream(vg)

  @classmethod
  def from_pretrained(cls, at: str | os.PathLike | None = None, vg: str | os.PathLike | None = None) -> 'Generator':
    """Loads AT-net and VG-net from training workdirs, .npz or .safetensors files; None stands for the packaged weights.

    One folder that holds `at` and `vg` in either form, or one net as model.safetensors, will do as `at`.

    Raises:
      InputError: there are no such weights, or they are another net's.
    """
    if at is not None and vg is None and weights.pair(at):
      return cls(*weights.load_nets([at]))
    return cls(
      *(weights.load_net(path or weights.packaged_weights(kind), kind) for kind, path in (('at', at), ('vg', vg)))
    )

  def __call__(
    self, image: np.ndarray, samples: np.ndarray, frame: str = 'crop', expressiveness: float = 1.0
  ) -> np.ndarray:
    """Makes the largest face of a picture speak.

    Args:
      image: uint8 [H, W, 3] RGB.
      samples: float32 [n] in [-1, 1], 16 kHz mono.
      frame: 'crop' for the face alone, 'full' for the whole picture.
      expressiveness: factor on the movement of mouth and jaw, see `landmarks.express`.

    Returns:
      uint8 [T, 128, 128, 3], or [T, H, W, 3], 25 frames a second, as many as it takes to cover the sound.

    Raises:
      InputError: no face, or empty or silent sound.
    """
    return self._speak(image, samples, frame, self, expressiveness)

  def many(
    self, pairs: Iterable[tuple[np.ndarray, np.ndarray]], frame: str = 'crop', lanes: int | None = None
  ) -> Iterator[tuple[int, np.ndarray | InputError]]:
    """Makes many faces speak at the same time, on all local devices.

    Args:
      pairs: pictures and samples as `__call__` takes them; no more are taken than can be worked on.
      frame: see `__call__`.
      lanes: clips that a device draws at a time; None: as many as suit it.

    Yields:
      A pair's number and its frames, within one grey level those of `__call__`, as soon as they are there; of a pair
      that will not do, the InputError.
    """
    with Lanes(self, lanes) as drawer:

      def frames(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray | InputError:
        try:
          with drawer.at_work():
            return self._speak(*pair, frame, drawer)
        except InputError as error:
          drawer.check()
          return error

      yield from spread(frames, pairs, drawer.num_threads, drawer.stop)

  def _speak(
    self, image: np.ndarray, samples: np.ndarray, frame: str, drawer: Drawer, expressiveness: float = 1.0
  ) -> np.ndarray:
    """`__call__`, drawn by this generator or in lanes."""
    if frame not in FRAMES:
      raise InputError(f'frame={frame!r} is unknown: use one of {FRAMES}')
    check_speech(samples)
    self.check_expressiveness(expressiveness)
    portrait = self.find_face(image)
    pieces = drawer.speak(portrait, samples, expressiveness=expressiveness)
    if frame == 'full':
      pieces = self.paste(image, portrait, pieces)
    return np.concatenate([piece.frames for piece in pieces])

  def find_face(
    self,
    image: np.ndarray,
    landmarker: face_landmarker.FaceLandmarker | None = None,
    choice: FaceChoice | None = None,
  ) -> Portrait:
    """`portrait.find_face` with the alignment that these weights take."""
    return find_face(image, landmarker, self.normalisation.alignment, choice)

  def check_expressiveness(self, factor: float) -> None:
    """Raises InputError where these weights' mouths cannot move `factor` times as far from rest as predicted."""
    check_expressiveness(factor)
    if factor != 1:
      self.normalisation.check_use('expressiveness')

  def predict_landmarks(
    self, conditions: Conditions, inputs: Iterable[np.ndarray], window: int = 0, expressiveness: float = 1.0
  ) -> Iterator[np.ndarray]:
    """Landmarks [B, n, 136] of B faces, for every piece of AT-net's input; `inputs` and `window` as in `AtStream`.

    `expressiveness` is `factor` of `landmarks.express`.
    """
    rest = conditions.rest[:, None]
    for coefficients in self.at(conditions.example_coefficients, inputs, window):
      landmarks = lm.from_coefficients(coefficients * self.normalisation.exaggeration, rest, self.basis)
      yield lm.express(landmarks, rest, self.basis, expressiveness).astype(np.float32)

  def speech_landmarks(
    self,
    portrait: Portrait,
    sound: np.ndarray | Iterable[np.ndarray],
    window: int = streaming.WINDOW,
    expressiveness: float = 1.0,
  ) -> Iterator[np.ndarray]:
    """The landmarks of this face speaking: pieces [<= window, 136] that follow each other.

    Args:
      portrait: the face.
      sound: float32 [n], or pieces of it, of which no more is read than a window needs.
      window: frames in a piece; all but the last have them.
      expressiveness: see `__call__`.
    """
    sounds = [sound] if isinstance(sound, np.ndarray) else sound
    span = self.at.front_end.span(window)
    inputs = streaming.at_inputs(sounds, self.at.front_end, span)
    conditions = self.normalisation.conditions(portrait.landmarks[None])
    for landmarks in streaming.cut(self.predict_landmarks(conditions, inputs, span, expressiveness), window):
      yield landmarks[0]

  def speak(
    self,
    portrait: Portrait,
    sound: np.ndarray | Iterable[np.ndarray],
    window: int = streaming.WINDOW,
    maps: bool = False,
    expressiveness: float = 1.0,
  ) -> Iterator[Piece]:
    """Frames of the portrait speaking: `draw` of `speech_landmarks`."""
    return self.draw(portrait, self.speech_landmarks(portrait, sound, window, expressiveness), window, maps)

  def transfer(self, portrait: Portrait, driving: np.ndarray, expressiveness: float = 1.0) -> np.ndarray:
    """Another face's mouth movement, of its aligned landmarks [T, 136], on this face: float32 [T, 136]."""
    moved = self.normalisation.transfer(portrait.landmarks, driving)
    rest = self.normalisation.conditions(portrait.landmarks).rest
    return lm.express(moved, rest, self.basis, expressiveness).astype(np.float32)

  def draw(
    self,
    portrait: Portrait,
    landmarks: Iterable[np.ndarray],
    window: int = streaming.WINDOW,
    maps: bool = False,
  ) -> Iterator[Piece]:
    """Frames uint8 [<= window, 128, 128, 3] of the portrait, for pieces of landmarks [<= window, 136].

    All pieces but the last have the full length. No more than two are in memory at a time. `maps` asks for the pieces'
    maps.
    """
    example = self.normalisation.conditions(portrait.landmarks[None]).example_landmarks
    batches = (piece[None] for piece in landmarks)
    for piece in self.vg.draw(portrait.crop[None], example, batches, window, maps):
      yield piece.clip(0)

  def redraw(self, windows: Iterable[VideoWindow]) -> Iterator[np.ndarray]:
    """Frames uint8 [W, H, W, 3] of a stretch of a video, each of them drawn from itself as example.

    Args:
      windows: that follow each other in time, of equally many frames; some are read ahead of what is drawn.
    """
    yield from map(np.asarray, lookahead(self.vg.redraw(windows)))

  def paste(self, picture: np.ndarray, portrait: Portrait, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The whole picture with each frame in it.

    Args:
      picture: uint8 [H, W, 3], that the portrait was found in.
      portrait: the face.
      pieces: as `draw` gives them.

    Yields:
      Pieces of one frame [1, H, W, 3], without maps: photographs are large.
    """
    paster = paste.Paster(picture, portrait.matrix, face_alignment.denormalise(portrait.landmarks))
    for piece in pieces:
      points = self.normalisation.points(portrait.landmarks, piece.landmarks)
      for index, frame in enumerate(piece.frames):
        yield Piece(piece.landmarks[index : index + 1], paster(frame, points[index])[None])


def _normalisation(at: weights.Bundle, vg: weights.Bundle, basis: lm.LandmarkBasis) -> Normalisation:
  """The one that both nets' weights take."""
  published = [bool(bundle.config.get('published')) for bundle in (at, vg)]
  if not any(published):
    return OwnFaceNormalisation(basis, at.config['generation']['exaggeration'])
  if not all(published):
    raise InputError(
      "one net's weights are the published ones, the other's are not, and they do not understand "
      'each other: give --weights that belong together'
    )
  if 'basics' not in at.config:
    raise InputError(
      "AT-net's weights say that they are the published ones, but lack the arrays that came with "
      'those: convert them by atvg import-torch with --basics'
    )
  return published_weights.PublishedNormalisation(at.config['basics'])
