"""Landmarks ↔ coefficients: what of a face moves when it speaks, apart from whose face it is.

A clip's landmarks are its *rest shape* (that person's face with the mouth at rest) plus a *deviation*.
Deviations are described by a few principal components. Identity thus lives in the rest shape alone, and
AT-net, which works on coefficients, never sees it.

All functions work on NumPy and on JAX arrays alike. Landmarks are flattened as x0 y0 x1 y1 ... and are
measured in half crops (see `data_pipelines.features`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError

# Speech moves the mouth and the jaw; the ends of the jaw line, at the ears, follow the head only.
# [136] each: 1 for the coordinates of points that move, 0 for the others.
_SPEAKING = {
  name: np.isin(np.arange(features.LANDMARK_SIZE) // 2, points).astype(np.float32)
  for name, points in (('all', range(features.NUM_LANDMARKS)), ('mouth_jaw', [*range(2, 15), *range(48, 68)]))
}

# Half crops: half a pixel, a mouth of a smaller gap is seen as closed; two, one of a larger is seen as open.
_TOUCHING, _OPEN = (pixels / (features.IMAGE_SIZE / 2) for pixels in (0.5, 2.0))

# How much of a person's rest shape is taken from all of that person's video where one picture is at hand, and how far
# the points of mouth and jaw may be moved for it: pictures differ by expression, and the detector strays in each.
_PERSON_SHARE, _STRAY = 0.4, 2 / (features.IMAGE_SIZE / 2)

BASIS_FILE = 'landmark_basis.npz'  # in a workdir, and beside the records


class LandmarkBasis(NamedTuple):
  """A linear model of how faces move.

  Attributes:
    mean: [136] rest shape, averaged over clips.
    components: [K, 136] orthonormal directions of movement, the largest first.
    scale: standard deviation of the movement along the first component; coefficients are in this unit.
    opening: [136] movement that opens the mouth by one unit of `mouth_gap`.
    rest_gap: `mouth_gap` of a mouth at rest: the mean of the clips' rest shapes, unless `fit` was given another.
    explained: [K] share of the (speaking points') movement that each component explains.
    from_example: [1 + K, K]: from 1 and the coefficients of one picture's landmarks, taken from `mean`, to the expected
      coefficients from that face's own rest; [0, K] where that was not fitted. See `rest_from_example`.
    person_share: how far from one picture's rest shape to `mean` the person's lies; 0 where `mean` is of many people.
  """

  mean: Any
  components: Any
  scale: Any
  opening: Any
  rest_gap: Any
  explained: Any
  from_example: Any = np.zeros((0, 1), np.float32)
  person_share: Any = np.zeros((), np.float32)


def mouth_gap(landmarks):
  """Height of the gap between the inner lips, the mean of three places: [..., 136] → [...], in half crops.

  Linear, as `LandmarkBasis.opening` needs it, and exactly 0 where lips touch. `face_alignment.mouth_opening` is
  another measure: in distances of the eyes, so that faces of different sizes compare.
  """
  points = landmarks.reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  return features.inner_lip_gaps(points).mean(axis=-1)


def mirror(landmarks: np.ndarray) -> np.ndarray:
  """The landmarks of the picture flipped left to right: [..., 136] → [..., 136]."""
  points = landmarks.reshape((*landmarks.shape[:-1], features.NUM_LANDMARKS, 2))
  return (points[..., features.MIRROR, :] * np.array([-1, 1], landmarks.dtype)).reshape(landmarks.shape)


def fit(
  statistics: Mapping[str, np.ndarray],
  num_components: int,
  *,
  points: str = 'mouth_jaw',
  symmetric: bool = True,
  rest_gap: float | None = None,
) -> LandmarkBasis:
  """Fits a basis to the statistics of one or more data sets.

  Args:
    statistics: `count` of frames, `rest_sum` [136] and `rest_count` of the clips' rest shapes, and
      `deviation_outer` [136, 136], the sum over frames of the outer product of the deviation from the
      rest shape. Sums of several data sets' statistics are the statistics of their union. With `rest_outer` and
      `deviation_sum`, and a `rest_gap`, `from_example` is fitted too.
    num_components: how many components to keep.
    points: 'mouth_jaw' models the movement of mouth and jaw and holds all else still; 'all' models
      everything, so also brows, blinks and what the alignment left of the head's turning.
    symmetric: whether to model only what moves alike on both sides of the face. A turning head moves
      the two sides apart, speech hardly does, so this keeps head motion out of the components.
    rest_gap: see `LandmarkBasis`; None: the mean.

  Returns:
    The basis, in float32.

  Raises:
    InputError: if there are fewer frames than components or `points` is unknown.
  """
  if points not in _SPEAKING:
    raise InputError(f'landmark points {points!r} are unknown: use one of {sorted(_SPEAKING)}')
  count, rest_count = float(statistics['count']), float(statistics['rest_count'])
  if count <= num_components or rest_count < 1:
    raise InputError(f'{int(count)} frames are too few to fit {num_components} landmark components: convert more clips')
  projection = np.eye(features.LANDMARK_SIZE) * _SPEAKING[points]
  mean = np.asarray(statistics['rest_sum'], np.float64) / rest_count
  if symmetric:
    projection = (projection + mirror(projection)) / 2
    mean = (mean + mirror(mean)) / 2
  second_moment = projection @ (np.asarray(statistics['deviation_outer'], np.float64) / count) @ projection.T
  variances, vectors = np.linalg.eigh(second_moment)
  variances, vectors = variances[::-1], vectors[:, ::-1]
  components = vectors[:, :num_components].T
  # Signs are arbitrary; let every component open the mouth, so that refits stay comparable.
  components = components * np.where(mouth_gap(components) < 0, -1, 1)[:, None]
  toward_opening = mouth_gap(second_moment)  # [136]: each coordinate's covariance with the gap
  scale = np.sqrt(variances[0])
  return LandmarkBasis(
    mean=mean.astype(np.float32),
    components=np.ascontiguousarray(components, np.float32),
    scale=np.float32(scale),
    opening=(toward_opening / mouth_gap(toward_opening)).astype(np.float32),
    rest_gap=np.float32(mouth_gap(mean) if rest_gap is None else rest_gap),
    explained=(variances[:num_components] / variances.sum()).astype(np.float32),
    from_example=_from_example(statistics, components / scale, rest_gap is not None),
  )


def _from_example(statistics: Mapping[str, np.ndarray], to_units: np.ndarray, closed: bool) -> np.ndarray:
  """`LandmarkBasis.from_example`, for components [K, 136] that are divided by the scale.

  The linear estimate of least error of d, given x = r + d: what a face does does not depend on whose it is, so the
  covariances of rests and deviations add up, and d is its mean and C_d (C_r + C_d)^-1 of what x has beyond its own.
  """
  if not closed or 'rest_outer' not in statistics:
    return np.zeros((0, len(to_units)), np.float32)
  count, rests = float(statistics['count']), float(statistics['rest_count'])
  mean_rest, mean = statistics['rest_sum'] / rests, to_units @ (statistics['deviation_sum'] / count)
  of_rests = to_units @ (statistics['rest_outer'] / rests - np.outer(mean_rest, mean_rest)) @ to_units.T
  of_deviations = to_units @ (statistics['deviation_outer'] / count) @ to_units.T - np.outer(mean, mean)
  slopes = np.linalg.solve(of_rests + of_deviations + 1e-6 * np.eye(len(mean)), of_deviations)
  return np.concatenate([(mean - mean @ slopes)[None], slopes]).astype(np.float32)


def of_person(basis: LandmarkBasis, statistics: Mapping[str, np.ndarray]) -> LandmarkBasis:
  """The basis for the faces of one person: the same movement, from that person's rest.

  Args:
    basis: its components, scale, opening and rest gap are kept.
    statistics: of that person's clips, as `fit` takes them, with `rest_outer` and `deviation_sum`.
  """
  rest = np.asarray(statistics['rest_sum'], np.float64) / float(statistics['rest_count'])
  from_example = _from_example(statistics, basis.components / basis.scale, closed=True)
  return basis._replace(
    mean=rest.astype(np.float32), from_example=from_example, person_share=np.asarray(_PERSON_SHARE, np.float32)
  )


def deviations(basis: LandmarkBasis) -> np.ndarray:
  """[K]: the standard deviation of the movement along each component, in half crops."""
  return np.sqrt(basis.explained / basis.explained[0]) * basis.scale


def to_coefficients(landmarks, rest, basis: LandmarkBasis):
  """Landmarks [..., 136] of a face with the rest shape `rest` [..., 136] → coefficients [..., K]."""
  return (landmarks - rest) @ basis.components.T / basis.scale


def from_coefficients(coefficients, rest, basis: LandmarkBasis):
  """Coefficients [..., K] moving the rest shape `rest` [..., 136] → landmarks [..., 136]."""
  return rest + (coefficients * basis.scale) @ basis.components


def rest_from_example(landmarks, basis: LandmarkBasis):
  """The rest shape of a face of which one picture is known: [..., 136] → [..., 136].

  With `basis.from_example`, what a mouth seen open is expected to do in that picture is taken back, and its lips are
  set to `basis.rest_gap`; one seen shut is at rest. Without, see `closed`. With a basis of that person (`of_person`)
  mouth and jaw are moved towards the person's own.
  """
  rest = _rest_in_picture(landmarks, basis)
  away = (closed(basis.mean, basis) - rest).clip(-_STRAY, _STRAY)
  return rest + basis.person_share * _SPEAKING['mouth_jaw'] * away


def _rest_in_picture(landmarks, basis: LandmarkBasis):
  """By what the picture shows alone."""
  known = basis.from_example
  if not len(known):
    return closed(landmarks, basis)
  gap = mouth_gap(landmarks)[..., None]
  share = (gap - _TOUCHING) / (_OPEN - _TOUCHING)
  share = share * (share > 0)
  share = share + (1 - share) * (share > 1)
  coefficients = known[0] + to_coefficients(landmarks, basis.mean, basis) @ known[1:]
  rest = from_coefficients(-share * coefficients, landmarks, basis)
  return rest - (gap > basis.rest_gap) * (mouth_gap(rest)[..., None] - basis.rest_gap) * basis.opening


def closed(landmarks, basis: LandmarkBasis):
  """Landmarks with the mouth no wider open than at rest: [..., 136] → [..., 136].

  A mouth that stands wider open than mouths at rest do is closed along the direction in which mouths
  open; everything else of the face is kept.
  """
  gap = mouth_gap(landmarks)
  excess = (gap - basis.rest_gap) * (gap > basis.rest_gap)
  return landmarks - excess[..., None] * basis.opening


def express(landmarks, rest, basis: LandmarkBasis, factor: float):
  """Landmarks [..., 136] moved `factor` times as far from the rest shape `rest` [..., 136]; lips that touch still do.

  By a factor above 1 the gap of the lips is scaled from where they are seen to touch (half a pixel, or the rest's own
  gap where that is wider) instead of from rest: below that it stays as it is.
  """
  if factor == 1:
    return landmarks
  moved = rest + factor * (landmarks - rest)
  if factor < 1:
    return moved
  gap, touching = mouth_gap(landmarks), mouth_gap(rest)
  touching = touching + (_TOUCHING - touching) * (touching < _TOUCHING)
  wanted = gap + (factor - 1) * (gap - touching) * (gap > touching)
  return moved + (wanted - mouth_gap(moved))[..., None] * basis.opening


def save(path: str, basis: LandmarkBasis) -> None:
  """Writes the basis as an .npz file, whole or not at all."""
  arrays: dict[str, Any] = basis._asdict()
  with atomic_write(path, 'wb') as file:
    np.savez(file, **arrays)


def load(path: str) -> LandmarkBasis:
  """Reads what `save` wrote; raises InputError where the file is missing or is something else."""
  try:
    with np.load(path, allow_pickle=False) as arrays:
      names = [name for name in LandmarkBasis._fields if name in arrays or name not in LandmarkBasis._field_defaults]
      return LandmarkBasis(**{name: arrays[name] for name in names})
  except (OSError, ValueError, KeyError) as error:
    raise InputError(f'{path} is not a landmark basis ({error}): fit one with `atvg fit-landmarks`') from error
