"""The faces of a picture with their numbers, to click on."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_pipelines.faces import face_choice
from data_pipelines.faces.face_landmarker import FaceLandmarker

_SIDE = 900  # pixels: larger pictures are shown smaller
_LINE = (255, 138, 76)
_MARGIN = 0.2  # of a face, around its points


def find(landmarker: FaceLandmarker, picture: np.ndarray) -> tuple[np.ndarray, list[list[float]]]:
  """Looks for all faces of a picture, uint8 [H, W, 3].

  Returns:
    The picture, not larger than a page, with a numbered frame around each face, and those frames from left to right:
    left, top, right, bottom in its pixels.
  """
  shapes = face_choice.in_picture(landmarker, picture)
  scale = min(1.0, _SIDE / max(picture.shape[:2]))
  shown = Image.fromarray(picture).resize([max(1, round(side * scale)) for side in picture.shape[1::-1]])
  draw, boxes = ImageDraw.Draw(shown), []
  for number, shape in enumerate(shapes, 1):
    left, top, right, bottom = face_choice.box(shape.points) * scale
    margin = _MARGIN * (right - left)
    box = [float(left - margin), float(top - 2 * margin), float(right + margin), float(bottom + margin)]
    boxes.append(box)
    draw.rectangle(box, outline=_LINE, width=3)
    size = max(14.0, 0.25 * (right - left))
    draw.text((box[0] + 5, box[1] + 2), str(number), _LINE, ImageFont.load_default(size), stroke_width=2, stroke_fill=0)
  return np.asarray(shown), boxes


def clicked(boxes: Sequence[Sequence[float]], x: float, y: float) -> int:
  """The number of the face at or nearest to a place in the picture that `find` gave."""
  corners = np.array(boxes)
  outside = np.maximum(np.maximum(corners[:, :2] - (x, y), (x, y) - corners[:, 2:]), 0).sum(axis=-1)
  middles = np.abs((corners[:, :2] + corners[:, 2:]) / 2 - (x, y)).sum(axis=-1)
  return int(np.lexsort([middles, outside])[0]) + 1
