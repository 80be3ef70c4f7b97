"""What generation with the published weights does otherwise than with our own; see docs/fidelity.md.

A checkpoint says so itself: its config has `published` set, and `basics` (see `read_basics`), the arrays that
come with the released weights. Then

* the face is aligned to their template, one of two by whether the eyes are open;
* landmarks are normalised to one mean face: of a single picture that leaves a constant, so both nets are
  conditioned on the same example landmarks whoever the face is;
* the coefficients but the first are exaggerated.

Their recurrence over the batch is a hyper-parameter of the net, and their 120 ms of silence are in `audio.frame_rows`.
Formulas: code published with Chen et al., CVPR 2019 (MIT licence).
"""

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from atvg_jax import landmarks as lm
from atvg_jax.generate.normalisation import Conditions, Normalisation, mouth_width
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment

_SCALE = 5.0  # brings the landmarks into about [-1, 1]
_MOUTH_OPENING = -0.06  # along the second direction of the shape basis, on the mouth's points
_NUM_COEFFICIENTS = 6
# "Omega" in the paper: components 1 to 5 times 2 (1.1 ... 1.5), chosen by hand there.
EXAGGERATION = np.array([1, 2.2, 2.4, 2.6, 2.8, 3.0], np.float32)

_FILES = {
  'template_open': ('base_68.npy', (68, 2)),
  'template_closed': ('base_68_close.npy', (68, 2)),
  'mean_image': ('mean_shape_img.npy', (68, 2)),
  'mean_face': ('mean_shape_norm.npy', (136,)),
  'shapes': ('S.npy', (100, 136)),
}
_PCA_FILES = {'mean': ('mean_lrw1.npy', (136,)), 'components': ('U_lrw1.npy', (136, 136))}

# Their crop of 163 pixels is cut to 128, beginning at pixel 1; their coordinates are pixels' middles, ours edges.
_CROP_SHIFT = 0.5 - 1
_ALIGNED = slice(27, 45)  # nose, one eye and half of the other
_OPEN_EYES = 9  # pixels in the template: the two eyelid gaps of one eye, added


def read_basics(folder: str) -> tuple[dict[str, Any], lm.LandmarkBasis]:
  """Reads the folder of arrays that comes with the released weights.

  Returns:
    `basics` for the config of either net (nested lists: `template_open`, `template_closed`, `mean_image` [68, 2],
    `mean_face` [136], `shapes` [100, 136], `pca_mean` [136], `pca_components` [6, 136]), and the landmark basis
    of AT-net, whose rest shape is its mean.

  Raises:
    InputError: a file is missing or has another shape.
  """
  arrays = {}
  for name, (file, shape) in (_FILES | _PCA_FILES).items():
    path = os.path.join(folder, file)
    try:
      array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
      raise InputError(
        f'{path} cannot be read: --basics is the folder of arrays that comes with the published weights'
      ) from error
    if array.size != np.prod(shape):
      raise InputError(
        f'{path} has the shape {list(array.shape)}, not {list(shape)}: it is not of the published weights'
      )
    arrays[name] = array.reshape(shape).astype(np.float64)
  mean, components = arrays.pop('mean'), arrays.pop('components')[:, :_NUM_COEFFICIENTS].T
  arrays |= {'pca_mean': mean, 'pca_components': components}
  basis = lm.LandmarkBasis(
    mean=mean.astype(np.float32),
    components=components.astype(np.float32),
    scale=np.float32(1),
    opening=np.zeros(features.LANDMARK_SIZE, np.float32),
    rest_gap=np.float32(0),
    explained=np.zeros(_NUM_COEFFICIENTS, np.float32),
  )
  return {name: array.tolist() for name, array in arrays.items()}, basis


class PublishedNormalisation(Normalisation):
  """That of the published weights: one mean face for everybody."""

  exaggeration = EXAGGERATION

  def __init__(self, basics: Mapping[str, Any]):
    """Takes `basics` as `read_basics` gives them."""
    self._basics = {name: np.asarray(values, np.float64) for name, values in basics.items()}
    mean, components = (self._basics[name] for name in ('pca_mean', 'pca_components'))
    constant = self.normalise_clip(self._basics['mean_image'][None])[0]
    self.example_coefficients = ((constant - mean) @ components.T).astype(np.float32)  # [6]
    # VG-net gets the constant as AT-net's coefficients describe it.
    self.example_landmarks = (mean + self.example_coefficients @ components).astype(np.float32)  # [136]
    self.rest = mean.astype(np.float32)  # [136]: where coefficients of zero are

  def alignment(self, points: np.ndarray) -> np.ndarray:
    """To one of two templates, by whether the eyes are open."""
    matrix = self._to_template(points, 'template_closed')
    aligned = face_alignment.apply(matrix, points.astype(np.float64))
    if np.sum(aligned[40:42, 1] - aligned[37:39, 1]) > _OPEN_EYES:
      matrix = self._to_template(points, 'template_open')
    return matrix

  def _to_template(self, points: np.ndarray, name: str) -> np.ndarray:
    return face_alignment.similarity(points[_ALIGNED], self._basics[name][_ALIGNED] + _CROP_SHIFT)

  def conditions(self, landmarks: np.ndarray) -> Conditions:
    """The same for every face."""
    return Conditions(
      *(
        np.broadcast_to(value, (*landmarks.shape[:-1], value.shape[-1]))
        for value in (self.rest, self.example_landmarks, self.example_coefficients)
      )
    )

  def normalise(self, landmarks: np.ndarray) -> np.ndarray:
    """Each clip by `normalise_clip`."""
    return np.stack([self.normalise_clip(face_alignment.denormalise(clip)) for clip in landmarks])

  def points(self, face: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The mean face's movement, brought to this face's size."""
    scale = mouth_width(face) / max(mouth_width(self.example_landmarks), 1e-3)
    return face_alignment.denormalise(face + scale * (landmarks - self.example_landmarks))

  def transfer(self, face: np.ndarray, driving: np.ndarray) -> np.ndarray:
    """The normalisation takes whose face it is out of the landmarks."""
    return self.normalise(driving[None])[0]

  def check_use(self, use: Literal['dubbing', 'export', 'expressiveness']) -> None:
    """None is possible."""
    raise InputError(
      {
        'dubbing': 'the published weights know one mean face only, and cannot dub a video: use weights that were '
        'trained here',
        'export': 'the published weights need steps around the nets that a program cannot hold: export weights that '
        'were trained here',
        'expressiveness': 'the published weights have their own factors on the movement: use weights that were trained '
        'here',
      }[use]
    )

  def normalise_clip(self, points: np.ndarray) -> np.ndarray:
    """The published normalisation of one clip's landmarks: [T, 68, 2] pixels → [T, 136].

    The mean face, moved by each frame's deviation (after Procrustes) from the frame whose mouth is the least
    open, within the shape basis, less a constant opening of the mouth; times 5. Of one frame that is a constant.
    """
    shapes, mean_face = self._basics['shapes'], self._basics['mean_face']
    aligned = np.stack([_procrustes(self._basics['mean_image'], frame) for frame in points]).reshape(-1, 136)
    gaps = [np.mean(frame[[65, 66, 67], 1] - frame[[63, 62, 61], 1]) for frame in points]
    reference = aligned[int(np.argmin(gaps))]
    opening = np.zeros(features.LANDMARK_SIZE)
    opening[2 * features.MOUTH.start :] = _MOUTH_OPENING * shapes[1, 2 * features.MOUTH.start :]
    deviation = (aligned - reference - opening) @ shapes.T
    return (_SCALE * (mean_face + deviation @ shapes)).astype(np.float32)


def _procrustes(reference: np.ndarray, points: np.ndarray) -> np.ndarray:
  """[68, 2] points moved, turned and scaled onto the standardised reference, as `scipy.spatial.procrustes` does."""
  reference, points = reference - reference.mean(axis=0), points - points.mean(axis=0)
  reference, points = reference / np.linalg.norm(reference), points / np.linalg.norm(points)
  left, values, right = np.linalg.svd(reference.T @ points)
  return points @ (left @ right).T * values.sum()
