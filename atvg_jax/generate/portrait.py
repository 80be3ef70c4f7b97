"""The face in a picture: found, aligned and cut out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker


class Portrait(NamedTuple):
  """The face in a picture, cut out as the nets see it."""

  crop: np.ndarray  # uint8 [128, 128, 3]
  landmarks: np.ndarray  # float32 [136]
  matrix: np.ndarray  # [2, 3]: picture to crop
  faces_seen: int  # the largest was taken


def find_face(
  image: np.ndarray,
  landmarker: face_landmarker.FaceLandmarker | None = None,
  alignment: Callable[[np.ndarray], np.ndarray] = face_alignment.alignment,
) -> Portrait:
  """Finds, aligns and cuts out the largest face of a picture.

  Args:
    image: uint8 [H, W, 3].
    landmarker: to use; None makes one.
    alignment: [68, 2] pixels → [2, 3], picture to crop.

  Raises:
    InputError: there is no face, or the array is no picture.
  """
  if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
    raise InputError(f'a picture is an array uint8 [height, width, 3], not {image.dtype} {list(image.shape)}')
  shape = (landmarker or face_landmarker.FaceLandmarker()).landmarks(image)
  matrix = alignment(shape.points)
  return Portrait(
    face_alignment.warp(image, matrix),
    face_alignment.normalise(face_alignment.apply(matrix, shape.points)),
    matrix,
    shape.faces_seen,
  )
