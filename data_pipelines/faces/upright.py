"""Pictures and videos that lie on their side or stand on their head without a word about it in the file."""

import contextlib
import os

import numpy as np
from PIL import Image

from data_pipelines.errors import InputError
from data_pipelines.faces.face_landmarker import Face, FaceLandmarker

# How much surer of a face the detector must be in another position. On 31 portraits the right one leads by .06 and more
# where they lie, and by .12 where they stand on their head.
_LEAD = 0.04
_SURE = 0.9  # how sure it is of upright faces alone, as a rule: other positions need not be looked at
_LYING = 60.0  # degrees between the eyes and level; a head that is tilted by less stays
_LEVEL = 20.0  # degrees; seen so in another position, it lies here, whatever the mesh sees here
_ALIKE = 0.6  # times the size of the largest face found in any position: smaller ones are something else
_AROUND = 2.0  # the part of the picture that is turned, in sizes of the face
_SIZE = 256  # pixels, for the detector
_MOST_SAMPLES, _SAMPLE_SIDE = 8, 640  # pictures of a video, and pixels of their longer side
_SAMPLE_STEP = 12  # frames from one to the next, until there are too many


def quarter_turns(image: np.ndarray, landmarker: FaceLandmarker) -> int:
  """By how many quarter turns, counter-clockwise as of `np.rot90`, the largest face of a picture gets upright.

  The detector finds faces in every position, but is surest of those that are upright. The mesh is not: in a face that
  stands on its head it sees a mouth on the forehead.

  Args:
    image: uint8 [H, W, 3].
    landmarker: to look with.

  Raises:
    InputError: there is no face in any position.
  """
  upright = _largest(image, 0, landmarker)
  if upright is not None and upright.score > _SURE and abs(upright.tilt) < _LYING / 2:
    return 0
  found = [upright, *(_largest(image, turns, landmarker) for turns in (1, 2, 3))]
  if not any(found):
    found[0] = next(iter(landmarker.detect(image)), None)
  largest = max((_side(face) for face in found if face), default=0.0)
  if not largest:
    raise InputError('No face was found in the picture: give one that shows a face from the front, not too small.')
  scores = [face.score if face and _side(face) >= _ALIKE * largest else 0.0 for face in found]
  here = found[0]
  if here is not None and scores[0]:
    return _turns_of(image, here.box, here.tilt, landmarker)
  best = int(np.argmax(scores))
  return best if scores[best] > scores[0] + _LEAD else 0


class Samples:
  """A few pictures from all over a video, which is read once and as long as it likes."""

  def __init__(self):
    self._pictures: list[np.ndarray] = []
    self._count, self._step = 0, _SAMPLE_STEP

  def add(self, picture: np.ndarray) -> None:
    """Takes the next picture, uint8 [H, W, 3], or leaves it out."""
    if self._count % self._step == 0:
      if len(self._pictures) == _MOST_SAMPLES:
        self._pictures, self._step = self._pictures[::2], 2 * self._step
      if self._count % self._step == 0:
        thinning = -(-max(picture.shape[:2]) // _SAMPLE_SIDE)
        self._pictures.append(picture[::thinning, ::thinning].copy())
    self._count += 1

  def check(self, path: str | os.PathLike, landmarker: FaceLandmarker) -> None:
    """Raises InputError where the video stands on its head: in most of the pictures that show a face, this one does.

    Points are not to be believed then. Faces that lie are found well.
    """
    found = []
    for picture in self._pictures:
      with contextlib.suppress(InputError):
        found.append(quarter_turns(picture, landmarker))
    if 2 * found.count(2) > len(found):
      raise InputError(
        f'{path} stands on its head: turn it first, for example by ffmpeg -i {path} -vf hflip,vflip turned.mp4'
      )


def _turns_of(image: np.ndarray, box: np.ndarray, tilt: float, landmarker: FaceLandmarker) -> int:
  """As `quarter_turns` of a face whose box and tilt are known.

  All positions are seen alike here, however large the picture and wherever in it the face is.
  """
  part = _around(image, box)
  found = [_largest(part, turns, landmarker) for turns in range(4)]
  scores = [face.score if face else 0.0 for face in found]
  best = int(np.argmax(scores))
  seen = found[best]
  if seen is None or scores[best] <= scores[0] + _LEAD:
    return 0
  return best if best == 2 or abs(tilt) > _LYING or abs(seen.tilt) < _LEVEL else 0


def _largest(image: np.ndarray, turns: int, landmarker: FaceLandmarker) -> Face | None:
  """The largest face in a picture that is turned; small ones are not looked for."""
  return next(iter(landmarker.detect(np.ascontiguousarray(np.rot90(image, turns)), small=False)), None)


def _side(face: Face) -> float:
  return float(np.max(face.box[2:] - face.box[:2]))


def _around(image: np.ndarray, box: np.ndarray) -> np.ndarray:
  """A square around a face, black beyond the picture's edges."""
  low, high = box[:2], box[2:]
  reach = _AROUND / 2 * float(np.max(high - low))
  corners = np.concatenate([(low + high) / 2 - reach, (low + high) / 2 + reach])
  left, top, right, bottom = (int(value) for value in corners.round())
  square = Image.fromarray(image).crop((left, top, right, bottom))
  return np.asarray(square.resize((_SIZE, _SIZE), Image.Resampling.BOX))
