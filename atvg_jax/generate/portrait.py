"""The face in a picture: found, aligned and cut out."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_choice, face_landmarker
from data_pipelines.faces.face_choice import FaceChoice


class Portrait(NamedTuple):
  """The face in a picture, cut out as the nets see it."""

  crop: np.ndarray  # uint8 [128, 128, 3]
  landmarks: np.ndarray  # float32 [136]
  matrix: np.ndarray  # [2, 3]: picture to crop
  faces_seen: int  # one of them was taken
  yaw: float = 0.0  # degrees the head is turned
  eye_distance: float = 0.0  # pixels of the picture between the eyes' centres


_threads = threading.local()


def own_landmarker() -> face_landmarker.FaceLandmarker:
  """This thread's own: it serves one at a time."""
  if not hasattr(_threads, 'landmarker'):
    _threads.landmarker = face_landmarker.FaceLandmarker()
  return _threads.landmarker


def find_face(
  image: np.ndarray,
  landmarker: face_landmarker.FaceLandmarker | None = None,
  alignment: Callable[[np.ndarray], np.ndarray] = face_alignment.alignment,
  choice: FaceChoice | None = None,
) -> Portrait:
  """Finds, aligns and cuts out a face of a picture.

  Args:
    image: uint8 [H, W, 3].
    landmarker: to use; None is this thread's.
    alignment: [68, 2] pixels → [2, 3], picture to crop.
    choice: which of several; None is the largest.

  Raises:
    InputError: there is no such face, or the array is no picture.
  """
  if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
    raise InputError(f'a picture is an array uint8 [height, width, 3], not {image.dtype} {list(image.shape)}')
  landmarker = landmarker or own_landmarker()
  shapes = [] if choice is None else face_choice.in_picture(landmarker, image)
  if choice is not None and shapes:
    shape = shapes[face_choice.of_picture(choice, np.stack([face_choice.box(shape.points) for shape in shapes]))]
  else:
    shape = landmarker.landmarks(image)
  matrix = alignment(shape.points)
  return Portrait(
    face_alignment.warp(image, matrix),
    face_alignment.normalise(face_alignment.apply(matrix, shape.points)),
    matrix,
    shape.faces_seen,
    shape.yaw,
    float(face_alignment.eye_distance(shape.points)),
  )
