"""Faces: find them and put 68 points on them, in pictures and through videos.

Points are continuous picture coordinates: pixel i covers [i, i + 1), so the middle of the first pixel is 0.5.
"Left" and "right" are the picture's unless said. What is done with the points is in `alignment.py`, whose functions
are offered here as well: most callers need both.
"""

import functools
import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import tflite_nets
from data_pipelines.faces.face_alignment import LIGHT, smooth

# The detector (BlazeFace short range) looks at 128x128 pixels, the mesh at 256x256.
_DETECTOR_SIZE = 128
_DETECTOR_THRESHOLD = 0.5
_OVERLAP = 0.3
_SMALLEST_TILE = 48  # pixels; a face in it would have 20
_LARGEST_TILE = 8192  # Pillow makes no picture that is much larger
_SIZES = 6  # how much smaller than the picture the tiles become in which faces beside larger ones are looked for
_MOST_TILES = 2500  # of a size: smaller faces are not looked for
_MESH_SIZE = 256
_MESH_POINTS = 478
_MESH_MARGIN = 1.5
_PRESENCE_THRESHOLD = 0.5
_EYE_CORNERS = [33, 263]  # of the mesh: the outer ones
_NO_MESH = np.zeros((0, 3))  # of a detection that the mesh net has not seen yet
_CHEEKS = [234, 454]  # of the mesh: left and right edge of the face, in front of the ears


class Face(NamedTuple):
  """What the detector says of one face."""

  box: np.ndarray  # [4]: left, top, right, bottom in pixels
  score: float
  eyes: np.ndarray  # [2, 2]: the left and the right eye in pixels
  mesh: np.ndarray  # [478, 3] in pixels: what the mesh net sees in the detector's square

  @property
  def tilt(self) -> float:
    """Degrees by which the mesh's eyes are off level, positive where the right one is lower."""
    left, right = self.mesh[_EYE_CORNERS, :2]
    return float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))


class Shape(NamedTuple):
  """One face's points."""

  points: np.ndarray  # float32 [68, 2] in pixels
  presence: float  # [0, 1]: is there a face at all
  yaw: float  # degrees the head is turned, positive towards the right of the picture
  faces_seen: int  # how many the detector found; these are the points of one of them


class Track(NamedTuple):
  """One face's points through a video."""

  landmarks: np.ndarray  # float32 [T, 68, 2] in pixels, smoothed; frames without a face filled from their neighbours
  presence: np.ndarray  # float32 [T] in [0, 1]: below 0.5 no face was found in the frame
  yaw: np.ndarray  # float32 [T] in degrees
  faces_seen: int  # the most faces found in a frame that was searched (the first, and after a loss)
  mesh: np.ndarray | None = None  # float32 [T, 478, 3] in pixels, as found, where it was asked for; gaps filled


class Sight(NamedTuple):
  """One face in one frame, and where to look for it in the next."""

  points: np.ndarray  # float32 [68, 2] in pixels
  yaw: float  # degrees
  square: np.ndarray  # [2, 3]


class FaceLandmarker:
  """Google's face detector and 478-point mesh, and the map from those to 68 points. One thread; not thread-safe."""

  def __init__(self):
    self._detector = tflite_nets.load('face_detector')
    self._mesh = tflite_nets.load('face_landmarks_detector')

  def detect(self, image: np.ndarray, small: bool = True, all_sizes: bool = False) -> list[Face]:
    """All faces found in `image`, uint8 [H, W, 3], the largest first.

    Where none is found, `small` ones are looked for in ever smaller tiles, until a size of tiles shows one; that
    may take a second in a picture of many megapixels. With `all_sizes` they are looked for beside large ones too.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    longest, side = max(height, width), min(height, width, _LARGEST_TILE)
    found = self._detect_tile(picture, (0, 0, longest)) if longest <= _LARGEST_TILE else []
    if _SMALLEST_TILE <= side < 0.75 * longest:  # padding to a square wastes much of it
      found += self._detect_tiles(picture, side)
    smallest = max(2 * _SMALLEST_TILE, longest // _SIZES)
    while all_sizes and side // 2 >= smallest:
      side //= 2
      found += self._detect_tiles(picture, side)
    faces = self._confirmed(picture, found)
    while small and not faces and side >= 2 * _SMALLEST_TILE:
      side //= 2
      faces = self._confirmed(picture, self._detect_tiles(picture, side))
    return sorted(faces, key=lambda face: -(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))

  def landmarks(self, image: np.ndarray) -> Shape:
    """The points of the largest face in `image`, uint8 [H, W, 3].

    Raises:
      InputError: no face was found; the caller adds the name of the file.
    """
    faces = self.detect(image)
    picture = Image.fromarray(image)
    for face in faces:
      mesh, presence = self._settle(picture, face)
      if presence >= _PRESENCE_THRESHOLD:
        return Shape(_to_68(mesh), presence, _yaw(mesh), len(faces))
    raise InputError('No face was found in the picture: give one that shows a face from the front, not too small.')

  def track(self, frames: Iterable[np.ndarray], *, with_mesh: bool = False) -> Track:
    """Follows the largest face of the first frame through `frames`, each uint8 [H, W, 3].

    The mesh of one frame gives the place to look at in the next; the detector is asked again only when the face
    is lost, and looks for small faces only once a second.

    Raises:
      InputError: no face in any frame, or no frame at all.
    """
    from data_pipelines.faces import frame_resampling  # here, for it compiles: not worth it for a single picture

    points: list[np.ndarray] = []
    meshes: list[np.ndarray] = []
    presences: list[float] = []
    yaws: list[float] = []
    square, faces_seen = None, 0
    for image in frames:
      presence = 0.0
      if square is not None:
        mesh, presence = self._run_mesh(image, square, frame_resampling.bilinear)
      if presence < _PRESENCE_THRESHOLD:
        faces = self.detect(image, small=len(points) % features.FPS == 0)
        faces_seen = max(faces_seen, len(faces))
        picture = Image.fromarray(image)
        for face in faces:
          mesh, presence = self._settle(picture, face)
          if presence >= _PRESENCE_THRESHOLD:
            break
      found = presence >= _PRESENCE_THRESHOLD
      square = _square_of(mesh) if found else None
      points.append(_to_68(mesh) if found else np.full((features.NUM_LANDMARKS, 2), np.nan, np.float32))
      if with_mesh:
        meshes.append(np.asarray(mesh, np.float32) if found else np.full((_MESH_POINTS, 3), np.nan, np.float32))
      presences.append(presence)
      yaws.append(_yaw(mesh) if found else np.nan)
    if not points:
      raise InputError('The video holds no frame.')
    if np.isnan(yaws).all():
      raise InputError('No face was found in any frame of the video.')
    return Track(
      smooth(fill_gaps(np.stack(points)), LIGHT),
      np.asarray(presences, np.float32),
      fill_gaps(np.asarray(yaws, np.float32)),
      faces_seen,
      fill_gaps(np.stack(meshes)) if with_mesh else None,
    )

  def look(self, picture: Image.Image | np.ndarray, where: Face | np.ndarray) -> Sight | None:
    """The points of one face: of a detection, or of the one whose last `Sight.square` is given; None if it is gone.

    A picture as an array, uint8 [H, W, 3], is sampled by compiled loops: for many frames.
    """
    sample = None
    if isinstance(picture, np.ndarray):
      from data_pipelines.faces import frame_resampling  # as in `track`

      sample = frame_resampling.bilinear
    mesh, presence = self._run_mesh(picture, _square_of(where.mesh) if isinstance(where, Face) else where, sample)
    return Sight(_to_68(mesh), _yaw(mesh), _square_of(mesh)) if presence >= _PRESENCE_THRESHOLD else None

  def _detect_tiles(self, picture: Image.Image, side: int) -> list[Face]:
    """Over square tiles of one size that overlap by half; nothing where they would be too many."""
    tops, lefts = _starts(picture.height, side), _starts(picture.width, side)
    if len(tops) * len(lefts) > _MOST_TILES:
      return []
    return [face for top in tops for left in lefts for face in self._detect_tile(picture, (left, top, side))]

  def _detect_tile(self, picture: Image.Image, tile: tuple[int, int, int]) -> list[Face]:
    left, top, side = tile
    # The middle of the whole picture's padding is left and right, or above and below.
    left -= max(0, side - picture.width) // 2
    top -= max(0, side - picture.height) // 2
    crop = picture.crop((left, top, left + side, top + side))
    crop = crop.resize((_DETECTOR_SIZE, _DETECTOR_SIZE), Image.Resampling.BOX)
    regressors, scores = self._detector(features.to_float(np.asarray(crop)))
    scores = scores.reshape(-1)
    # The threshold on the sigmoid, asked before it.
    keep = scores > np.log(_DETECTOR_THRESHOLD / (1 - _DETECTOR_THRESHOLD))
    if not keep.any():
      return []
    values = regressors.reshape(-1, 8, 2)[keep] / _DETECTOR_SIZE  # centre, size, six points
    values[:, [0, 2, 3, 4, 5, 6, 7]] += _anchors()[keep][:, None]
    values = values * side
    centres, sizes = values[:, 0] + (left, top), values[:, 1]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)
    probabilities = 1 / (1 + np.exp(-scores[keep]))
    return [
      Face(box, float(score), eyes, _NO_MESH)
      for box, score, eyes in zip(boxes, probabilities, values[:, 2:4] + (left, top))
    ]

  def _confirmed(self, picture: Image.Image, faces: list[Face]) -> list[Face]:
    """One detection a face, and only those in which the mesh sees a face too."""
    seen = [(face, *self._run_mesh(picture, _square_of_face(face))) for face in _merge(faces)]
    return [face._replace(mesh=mesh) for face, mesh, presence in seen if presence >= _PRESENCE_THRESHOLD]

  def _settle(self, picture: Image.Image, face: Face) -> tuple[np.ndarray, float]:
    """The mesh once more, from its own square, which is the one that tracking uses."""
    return self._run_mesh(picture, _square_of(face.mesh))

  def _run_mesh(
    self, picture: Image.Image | np.ndarray, square: np.ndarray, sample: Callable[..., np.ndarray] | None = None
  ) -> tuple[np.ndarray, float]:
    """`square` is [2, 3], mesh input to picture. Returns [478, 3] in picture pixels and the presence.

    A picture that is an array wants `frame_resampling.bilinear` to `sample` it.
    """
    scale = float(np.hypot(square[0, 0], square[1, 0]))
    shrink = max(1, int(scale / 1.5))  # so that a large picture is averaged, not picked from
    source, inner = picture, square
    if shrink > 1:
      reach = square @ np.array([[0, 256, 0, 256], [0, 0, 256, 256], [1, 1, 1, 1]])  # the square's corners
      left, top = np.floor(reach.min(axis=1)).astype(int)
      right, bottom = np.ceil(reach.max(axis=1)).astype(int)
      whole = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
      source = whole.crop((left, top, right, bottom)).reduce(shrink)
      inner = (square - [[0, 0, left], [0, 0, top]]) / shrink
    pixels = _sample(source, inner, _MESH_SIZE) if sample is None else sample(source, inner, _MESH_SIZE)
    values, presence, _ = self._mesh(pixels)
    mesh = values.reshape(-1, 3)
    placed = np.concatenate([mesh[:, :2] @ square[:, :2].T + square[:, 2], mesh[:, 2:] * scale], axis=-1)
    return placed, float(1 / (1 + np.exp(-np.clip(presence.reshape(()), -50, 50))))


def _sample(picture: Image.Image | np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
  """`frame_resampling.bilinear` by Pillow, which needs no compiling."""
  picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
  square = picture.transform((size, size), Image.Transform.AFFINE, tuple(matrix.reshape(-1)), Image.Resampling.BILINEAR)
  return np.asarray(square, np.float32) / 255


@functools.cache
def _anchors() -> np.ndarray:
  """[896, 2] in [0, 1]: the middles of a 16x16 grid, each twice, and of an 8x8 grid, each six times."""

  def grid(cells, times):
    middles = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    return np.repeat(np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2), times, axis=0)

  return np.concatenate([grid(16, 2), grid(8, 6)])


def _starts(length: int, side: int) -> list[int]:
  """Where tiles of `side` begin so that they overlap by half and reach both ends."""
  count = max(1, int(np.ceil((length - side) / (side / 2))) + 1)
  return sorted({int(start) for start in np.linspace(0, max(0, length - side), count)})


def _merge(faces: list[Face]) -> list[Face]:
  """Averages overlapping detections, their scores as weights, and drops weaker ones that share half of their box."""
  rest = sorted(faces, key=lambda face: -face.score)
  merged = []
  while rest:
    near = [face for face in rest if _overlap(rest[0].box, face.box)[0] > _OVERLAP]
    rest = [face for face in rest[1:] if not any(face is other for other in near)]
    weights = np.array([face.score for face in near])
    weights = weights / weights.sum()
    merged.append(
      Face(
        np.tensordot(weights, np.stack([face.box for face in near]), 1),
        near[0].score,
        np.tensordot(weights, np.stack([face.eyes for face in near]), 1),
        _NO_MESH,
      )
    )
  return [
    face
    for index, face in enumerate(merged)
    if not any(_overlap(face.box, other.box)[1] > 0.5 for other in merged[:index])
  ]


def _overlap(box: np.ndarray, other: np.ndarray) -> tuple[float, float]:
  """Intersection over union, and over the smaller box."""
  sides = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0)
  areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
  shared = sides[0] * sides[1]
  return shared / max(sum(areas) - shared, 1e-6), shared / max(min(areas), 1e-6)


def _square(centre: np.ndarray, side: float, axis: np.ndarray) -> np.ndarray:
  """[2, 3]: mesh input to picture, for a square turned so that the direction `axis` is level in it."""
  x, y = axis / max(np.hypot(*axis), 1e-6) * side / _MESH_SIZE
  linear = np.array([[x, -y], [y, x]])
  return np.concatenate([linear, (centre - linear @ [_MESH_SIZE / 2, _MESH_SIZE / 2])[:, None]], axis=-1)


def _square_of_face(face: Face) -> np.ndarray:
  low, high = face.box[:2], face.box[2:]
  return _square((low + high) / 2, _MESH_MARGIN * float(np.max(high - low)), face.eyes[1] - face.eyes[0])


def _square_of(mesh: np.ndarray) -> np.ndarray:
  left, right = mesh[_EYE_CORNERS, :2]
  axis = (right - left) / max(np.hypot(*(right - left)), 1e-6)
  turn = np.array([[axis[0], -axis[1]], [axis[1], axis[0]]])
  level = mesh[:, :2] @ turn
  low, high = level.min(axis=0), level.max(axis=0)
  return _square(turn @ ((low + high) / 2), _MESH_MARGIN * float(np.max(high - low)), axis)


def _yaw(mesh: np.ndarray) -> float:
  across = mesh[_CHEEKS[1]] - mesh[_CHEEKS[0]]
  return float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))


@functools.cache
def _map_to_68() -> dict[str, np.ndarray]:
  return {
    key: np.asarray(value)
    for key, value in json.loads((tflite_nets.ASSETS / 'mediapipe478_to_68.json').read_text()).items()
  }


def _to_68(mesh: np.ndarray) -> np.ndarray:
  """[478, 3] -> float32 [68, 2]."""
  table, mesh = _map_to_68(), mesh[:, :2]
  weights = table['brow_weights'][:, None, None]
  brows = [
    (weights * [mesh[table[f'brow_{side}_upper']], mesh[table[f'brow_{side}_lower']]]).sum(axis=0)
    for side in ('left', 'right')
  ]
  points = np.concatenate([_jaw(mesh[table['jaw_oval']]), *brows, mesh[table['points_27_67']]])
  # What is left between this choice of points and the 68 is constant in the frame of the eyes.
  left, right = mesh[_EYE_CORNERS]
  x, y = right - left
  return (points - table['bias'] @ np.array([[x, y], [-y, x]])).astype(np.float32)


def _jaw(oval: np.ndarray) -> np.ndarray:
  """The lower oval [23, 2] -> 17 points at equal steps from ear to chin, and on to the other ear."""
  chin = len(oval) // 2
  return np.concatenate([_along(oval[: chin + 1], 9), _along(oval[chin:], 9)[1:]])


def _along(line: np.ndarray, count: int) -> np.ndarray:
  """`count` points at equal steps along a line of points [n, 2], both ends among them."""
  lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
  steps = np.linspace(0, lengths[-1], count)
  return np.stack([np.interp(steps, lengths, line[:, axis]) for axis in (0, 1)], axis=-1)


def fill_gaps(values: np.ndarray) -> np.ndarray:
  """Replaces frames [T, ...] of NaN by a straight line between their neighbours, or the nearest one."""
  flat = values.reshape(len(values), -1)
  known = np.flatnonzero(~np.isnan(flat[:, 0]))
  times = np.arange(len(flat))
  filled = np.stack([np.interp(times, known, column[known]) for column in flat.T], axis=-1)
  return filled.reshape(values.shape).astype(values.dtype)
