"""How faces are aligned and landmarks normalised around the nets, and what the nets are conditioned on.

There are two ways: that of weights trained here, and that of the published ones (`published_weights`). Which one it is,
the weights say; `Generator` chooses it once, and nothing else asks.
"""

import abc
from typing import Literal, NamedTuple

import numpy as np

from atvg_jax import landmarks as lm
from data_pipelines import features
from data_pipelines.faces import face_alignment

# How much wider or narrower than a driving mouth this one may be for the movement to follow.
_PROPORTIONS = (0.6, 1.6)


class Conditions(NamedTuple):
  """What the nets are conditioned on, of one face or of many."""

  rest: np.ndarray  # float32 [..., 136]: the face's landmarks with the mouth at rest
  example_landmarks: np.ndarray  # float32 [..., 136]
  example_coefficients: np.ndarray  # float32 [..., K]


class Normalisation(abc.ABC):
  """The steps around the nets.

  Attributes:
    exaggeration: factor on AT-net's coefficients, for all of them or one for each.
  """

  exaggeration: np.ndarray | np.float32

  @abc.abstractmethod
  def alignment(self, points: np.ndarray) -> np.ndarray:
    """The similarity that cuts a face out: [68, 2] pixels of a picture → [2, 3], picture to crop."""

  @abc.abstractmethod
  def conditions(self, landmarks: np.ndarray) -> Conditions:
    """What the nets are conditioned on for faces of which one picture's aligned landmarks are known, [..., 136]."""

  @abc.abstractmethod
  def normalise(self, landmarks: np.ndarray) -> np.ndarray:
    """Clips' aligned landmarks [B, T, 136] as VG-net takes them."""

  @abc.abstractmethod
  def points(self, face: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Where landmarks that VG-net draws from are in the crop.

    Args:
      face: [136], the aligned landmarks of the example picture.
      landmarks: [T, 136].

    Returns:
      [T, 68, 2] pixels.
    """

  @abc.abstractmethod
  def transfer(self, face: np.ndarray, driving: np.ndarray) -> np.ndarray:
    """Another face's mouth movement on this face.

    Args:
      face: [136], aligned landmarks of one picture of this face.
      driving: [T, 136], aligned landmarks of the other.

    Returns:
      float32 [T, 136], as VG-net takes them.
    """

  def check_use(self, use: Literal['dubbing', 'export', 'expressiveness']) -> None:
    """Raises InputError where such weights cannot be used for this."""
    del use  # nothing is refused


class OwnFaceNormalisation(Normalisation):
  """That of weights trained here: aligned landmarks as they are, each face with its own rest shape."""

  def __init__(self, basis: lm.LandmarkBasis, exaggeration: float = 1.0):
    """Takes AT-net's landmark basis, and the factor on its coefficients."""
    self._basis = basis
    self.exaggeration = np.float32(exaggeration)

  def alignment(self, points: np.ndarray) -> np.ndarray:
    """As the data sets are aligned."""
    return face_alignment.alignment(points)

  def conditions(self, landmarks: np.ndarray) -> Conditions:
    """The face's own landmarks, and its rest shape as the basis has it."""
    rest = np.asarray(lm.rest_from_example(landmarks, self._basis), np.float32)
    return Conditions(rest, landmarks, np.asarray(lm.to_coefficients(landmarks, rest, self._basis), np.float32))

  def normalise(self, landmarks: np.ndarray) -> np.ndarray:
    """They are so already."""
    return landmarks

  def points(self, face: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Landmarks are crop coordinates."""
    return face_alignment.denormalise(landmarks)

  def transfer(self, face: np.ndarray, driving: np.ndarray) -> np.ndarray:
    """The driving face's deviation from its own rest shape, in proportion to the mouths' widths.

    It is projected on the landmark basis (mouth and jaw, alike on both sides), so that a turning head does not
    distort this face.
    """
    # A face that speaks all the time is never seen with the mouth shut.
    driving_rest = lm.closed(face_alignment.rest_landmarks(driving), self._basis)
    rest = self.conditions(face).rest
    coefficients = lm.to_coefficients(driving, driving_rest, self._basis)
    proportion = np.clip(mouth_width(rest) / max(mouth_width(driving_rest), 1e-3), *_PROPORTIONS)
    return lm.from_coefficients(proportion * coefficients, rest, self._basis).astype(np.float32)


def mouth_width(landmarks: np.ndarray) -> float:
  """Between the corners of the mouth of landmarks [136], in their unit."""
  left, right = features.MOUTH.start, features.MOUTH.start + 6
  points = landmarks.reshape(features.NUM_LANDMARKS, 2)
  return float(np.hypot(*(points[right] - points[left])))
