"""Both nets, ready to run on arrays.

  generator = Generator.from_pretrained()
  frames = generator(image, samples)  # uint8 [T, 128, 128, 3], 25 a second

The picture gives the example frame and its landmarks; the sound gives landmarks by AT-net (or another video
gives them); VG-net draws. TensorFlow is not needed, and not imported.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from atvg_jax import landmarks as lm
from atvg_jax.checkpoints import weights
from atvg_jax.generate import published_weights, streaming
from atvg_jax.generate.effects import paste
from atvg_jax.generate.portrait import Portrait, find_face
from atvg_jax.runtime import parallel
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker

# Quieter than this (-60 dB of full scale) there is no speech to follow.
_SILENCE = 1e-3


FRAMES = ('crop', 'full')

# How much wider or narrower than a driving mouth this one may be for the movement to follow.
_PROPORTIONS = (0.6, 1.6)


class Conditions(NamedTuple):
  """What the nets are told of a face."""

  rest: np.ndarray  # float32 [..., 136]: its landmarks with the mouth at rest
  example_landmarks: np.ndarray  # float32 [..., 136]
  example_coefficients: np.ndarray  # float32 [..., K]


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


class Generator:
  """Both nets, ready to run; made by `from_pretrained`."""

  def __init__(self, at: weights.Bundle, vg: weights.Bundle):
    """Takes the weights of AT-net and of VG-net."""
    parallel.use_compilation_cache()
    self.bundles = {'at': at, 'vg': vg}
    self.published = None
    if at.config.get('published') and vg.config.get('published'):
      if 'basics' not in at.config:
        raise InputError(
          "AT-net's weights say that they are the published ones, but lack the arrays that came with "
          'those: convert them by atvg import-torch with --basics'
        )
      self.published = published_weights.Published(at.config['basics'])
    elif at.config.get('published') or vg.config.get('published'):
      raise InputError(
        "one net's weights are the published ones, the other's are not, and they do not understand "
        'each other: give --weights that belong together'
      )
    self.basis = at.basis
    self.exaggeration = (
      published_weights.EXAGGERATION if self.published else np.float32(at.config['generation']['exaggeration'])
    )
    self.at = streaming.AtStream(at)
    self.vg = streaming.VgStream(vg)

  @classmethod
  def from_pretrained(cls, at: str | os.PathLike | None = None, vg: str | os.PathLike | None = None) -> 'Generator':
    """Loads AT-net and VG-net from training workdirs or .npz files; None stands for the packaged weights.

    Raises:
      InputError: there are no such weights, or they are another net's.
    """
    return cls(
      *(weights.load_net(path or weights.packaged_weights(kind), kind) for kind, path in (('at', at), ('vg', vg)))
    )

  def __call__(self, image: np.ndarray, samples: np.ndarray, frame: str = 'crop') -> np.ndarray:
    """Makes the largest face of a picture speak.

    Args:
      image: uint8 [H, W, 3] RGB.
      samples: float32 [n] in [-1, 1], 16 kHz mono.
      frame: 'crop' for the face alone, 'full' for the whole picture.

    Returns:
      uint8 [T, 128, 128, 3], or [T, H, W, 3], 25 frames a second, as many as it takes to cover the sound.

    Raises:
      InputError: no face, or empty or silent sound.
    """
    if frame not in FRAMES:
      raise InputError(f'frame={frame!r} is unknown: use one of {FRAMES}')
    check_speech(samples)
    portrait = self.find_face(image)
    pieces, moved = itertools.tee(self.speech_landmarks(portrait, samples))
    frames = self.frames(portrait, pieces)
    if frame == 'full':
      frames = self.pasted(image, portrait, zip(frames, moved, strict=True))
    return np.concatenate(list(frames))

  def pasted(
    self, picture: np.ndarray, portrait: Portrait, drawn: Iterable[tuple[np.ndarray, np.ndarray]]
  ) -> Iterator[np.ndarray]:
    """The whole picture with each frame in it.

    Args:
      picture: uint8 [H, W, 3], that the portrait was found in.
      portrait: the face.
      drawn: pieces of frames [n, 128, 128, 3] with the landmarks [n, 136] that they were drawn from.

    Yields:
      uint8 [1, H, W, 3], one frame at a time: photographs are large.
    """
    paster = paste.Paster(picture, portrait.matrix, face_alignment.denormalise(portrait.landmarks))
    for frames, landmarks in drawn:
      for frame, points in zip(frames, self.points(portrait, landmarks), strict=True):
        yield paster(frame, points)[None]

  def points(self, portrait: Portrait, landmarks: np.ndarray) -> np.ndarray:
    """Where landmarks [T, 136] that VG-net draws from are in the portrait's crop: [T, 68, 2] pixels.

    The published weights know one mean face only; its movement is brought to this face's size.
    """
    example = self.conditions(portrait.landmarks).example_landmarks
    scale = _mouth_width(portrait.landmarks) / max(_mouth_width(example), 1e-3)
    return face_alignment.denormalise(portrait.landmarks + scale * (landmarks - example))

  def find_face(self, image: np.ndarray, landmarker: face_landmarker.FaceLandmarker | None = None) -> Portrait:
    """`find_face` with the alignment that these weights are used to."""
    return find_face(image, landmarker, self.published.alignment if self.published else face_alignment.alignment)

  def conditions(self, landmarks: np.ndarray) -> Conditions:
    """What the nets are told of faces of which one picture's landmarks are known, [..., 136]."""
    if self.published:
      lead = landmarks.shape[:-1]
      return Conditions(
        *(
          np.broadcast_to(value, (*lead, value.shape[-1]))
          for value in (self.published.rest, self.published.example_landmarks, self.published.example_coefficients)
        )
      )
    rest = np.asarray(lm.rest_from_example(landmarks, self.basis), np.float32)
    return Conditions(rest, landmarks, np.asarray(lm.to_coefficients(landmarks, rest, self.basis), np.float32))

  def normalise(self, landmarks: np.ndarray) -> np.ndarray:
    """Clips' aligned landmarks [B, T, 136] as VG-net wants them."""
    if not self.published:
      return landmarks
    return np.stack([self.published.normalise(face_alignment.denormalise(clip)) for clip in landmarks])

  def spoken(self, conditions: Conditions, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Landmarks [B, W, 136] of B faces, for every window of MFCC [B, W, 28, 12]."""
    for coefficients in self.at(conditions.example_coefficients, windows):
      coefficients = coefficients * self.exaggeration
      yield lm.from_coefficients(coefficients, conditions.rest[:, None], self.basis).astype(np.float32)

  def speech_landmarks(
    self, portrait: Portrait, sound: np.ndarray | Iterable[np.ndarray], window: int = streaming.WINDOW
  ) -> Iterator[np.ndarray]:
    """The landmarks with which this face says something: pieces [<= window, 136] that follow each other.

    Args:
      portrait: the face.
      sound: float32 [n], or pieces of it, of which no more is read than a window needs.
      window: frames in a piece; all but the last have them.
    """
    pieces = [sound] if isinstance(sound, np.ndarray) else sound
    windows, lengths = itertools.tee(streaming.heard(pieces, window))
    spoken = self.spoken(self.conditions(portrait.landmarks[None]), (mfcc for mfcc, _ in windows))
    for landmarks, (_, length) in zip(spoken, lengths, strict=True):
      yield landmarks[0, :length]

  def transferred_landmarks(self, portrait: Portrait, driving: np.ndarray) -> np.ndarray:
    """Another face's mouth movement on this face.

    What moves is the driving face's deviation from its own rest shape, seen through the landmark basis (mouth
    and jaw, alike on both sides, so that a turning head does not bend this face), in proportion to the mouths' widths.

    Args:
      portrait: whose face it shall be.
      driving: [T, 136] aligned landmarks of the driving face.

    Returns:
      float32 [T, 136].
    """
    if self.published:  # the published normalisation takes whose face it is out of the landmarks
      return self.normalise(driving[None])[0]
    rest, driving_rest = self.conditions(portrait.landmarks).rest, face_alignment.rest_landmarks(driving)
    coefficients = lm.to_coefficients(driving, driving_rest, self.basis)
    proportion = np.clip(_mouth_width(rest) / max(_mouth_width(driving_rest), 1e-3), *_PROPORTIONS)
    return lm.from_coefficients(proportion * coefficients, rest, self.basis).astype(np.float32)

  def frames(
    self, portrait: Portrait, landmarks: Iterable[np.ndarray], window: int = streaming.WINDOW
  ) -> Iterator[np.ndarray]:
    """Frames uint8 [<= window, 128, 128, 3] of the portrait, for pieces of landmarks [<= window, 136].

    All pieces but the last have the full length. No more than two are in memory at a time.
    """
    lengths, pieces = itertools.tee(landmarks)
    windows = (next(streaming.split(piece[None], window)) for piece in pieces)
    drawn = self.vg(portrait.crop[None], self.conditions(portrait.landmarks[None]).example_landmarks, windows)
    for piece, frames in zip(lengths, drawn, strict=True):
      yield frames[0, : len(piece)]


def _mouth_width(landmarks: np.ndarray) -> float:
  left, right = features.MOUTH.start, features.MOUTH.start + 6  # the corners
  points = landmarks.reshape(features.NUM_LANDMARKS, 2)
  return float(np.hypot(*(points[right] - points[left])))
