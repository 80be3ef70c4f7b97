"""Faces turned aside, by the depth that the face mesh sees: what a camera from the side would film, nearly.

Corpora film from the front. To know what becomes of other view angles, their videos are turned: the mesh's triangles
are painted where a turned head would have them, the nearer over the farther. The face is as it would be, its far side
hidden behind nose and cheek; hair and ears are drawn out or pressed together, since no video from the front shows what
is behind them.
"""

import numpy as np
from scipy import spatial

from atvg_jax.evaluate import clip_scores
from data_pipelines.faces import face_landmarker
from data_pipelines.media.jit import compiled

_SKIN = slice(468)  # of the mesh's points: without the irises, which lie on it
_RING = 1.45  # of the face's outline: from there on nothing moves


def turn_crops(
  landmarker: face_landmarker.FaceLandmarker, crops: np.ndarray, degrees: float
) -> tuple[np.ndarray, np.ndarray]:
  """Turns the head in a clip's crops, and aligns them anew as the conversion of such a video does.

  Args:
    landmarker: to find the face.
    crops: uint8 [T, H, W, 3], of one face.
    degrees: how far the head is turned afterwards, in the median of the frames; positive towards the right of the
      picture. What it was turned before counts.

  Returns:
    uint8 [T, H, W, 3], and the landmarks that are found in them, [T, 136] in half crops.

  Raises:
    InputError: no face was found, before or after the turn.
  """
  margin = clip_scores.PADDING, clip_scores.PADDING  # a turned face reaches beyond the crop
  canvas = np.pad(crops, [(0, 0), margin, margin, (0, 0)], mode='edge')
  before = landmarker.track(canvas, with_mesh=True)
  assert before.mesh is not None
  seen = turn(canvas, before.mesh, degrees - float(np.median(before.yaw)))
  turned, landmarks, _ = clip_scores.aligned_crops(seen, landmarker.track(seen).landmarks)
  return turned, landmarks


def turn(frames: np.ndarray, mesh: np.ndarray, degrees: float) -> np.ndarray:
  """Turns the face in frames about the upright axis through the middle of its outline.

  Args:
    frames: uint8 [T, H, W, 3].
    mesh: [T, 478, 3], where the face mesh is in them, in pixels (`face_landmarker.Track.mesh`).
    degrees: by how much, positive towards the right of the picture.

  Returns:
    uint8 [T, H, W, 3].
  """
  (height, width), skin = frames.shape[1:3], np.asarray(mesh[:, _SKIN], np.float64)
  flat = skin.mean(axis=0)[:, :2]
  outline = skin[:, spatial.ConvexHull(flat).vertices]
  middle = outline.mean(axis=1, keepdims=True)  # [T, 1, 3]
  ring = middle[..., :2] + _RING * (outline - middle)[..., :2]
  sides = np.linspace(-1, 2, 7)  # far beyond the picture
  frame = np.array([(x * width, y * height) for x in sides for y in sides if {x, y} & {-1, 2}])
  around = np.concatenate([ring, np.broadcast_to(frame, (len(frames), *frame.shape))], axis=1)
  source = np.concatenate([skin[..., :2], around], axis=1)
  triangles = spatial.Delaunay(source.mean(axis=0)).simplices.astype(np.int64)

  # The mesh's depth grows away from the camera. A weak perspective: it moves no point by itself.
  cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
  x, _, z = np.moveaxis(skin - middle, -1, 0)
  target = source.copy()
  target[:, _SKIN, 0] = middle[..., 0] + cosine * x - sine * z
  behind = np.full((len(frames), around.shape[1]), np.hypot(width, height))
  depth = np.concatenate([cosine * z + sine * x, behind], axis=1)

  turned = frames.copy()
  for picture, out, *points in zip(frames, turned, source, target, depth, strict=True):
    _paint(picture, *points, triangles, out)
  return turned


def _paint_loop(
  picture: np.ndarray,
  source: np.ndarray,
  target: np.ndarray,
  depth: np.ndarray,
  triangles: np.ndarray,
  out: np.ndarray,
) -> None:
  """Paints triangles [M, 3] of points [N, 2] in `picture` to their `target`, the nearer over the farther.

  Those that show their back are left out.
  """
  height, width = picture.shape[:2]
  nearest = np.full((height, width), np.inf)
  for a, b, c in triangles:
    x_b, y_b = target[b, 0] - target[a, 0], target[b, 1] - target[a, 1]
    x_c, y_c = target[c, 0] - target[a, 0], target[c, 1] - target[a, 1]
    area = x_b * y_c - x_c * y_b
    before = (source[b, 0] - source[a, 0]) * (source[c, 1] - source[a, 1])
    before -= (source[c, 0] - source[a, 0]) * (source[b, 1] - source[a, 1])
    if area * before < 1e-9:
      continue
    left = max(0, int(target[a, 0] + min(0.0, x_b, x_c) - 0.5))
    right = min(width - 1, int(target[a, 0] + max(0.0, x_b, x_c)))
    top = max(0, int(target[a, 1] + min(0.0, y_b, y_c) - 0.5))
    bottom = min(height - 1, int(target[a, 1] + max(0.0, y_b, y_c)))
    for row in range(top, bottom + 1):
      for column in range(left, right + 1):
        x, y = column + 0.5 - target[a, 0], row + 0.5 - target[a, 1]
        of_b, of_c = (x * y_c - y * x_c) / area, (y * x_b - x * y_b) / area
        of_a = 1 - of_b - of_c
        if min(of_a, of_b, of_c) < -1e-6:
          continue
        away = of_a * depth[a] + of_b * depth[b] + of_c * depth[c]
        if away >= nearest[row, column]:
          continue
        nearest[row, column] = away
        x = of_a * source[a, 0] + of_b * source[b, 0] + of_c * source[c, 0] - 0.5
        y = of_a * source[a, 1] + of_b * source[b, 1] + of_c * source[c, 1] - 0.5
        x, y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
        i, j = int(x), int(y)
        x, y = x - i, y - j
        for channel in range(3):
          upper = (1 - x) * picture[j, i, channel] + x * picture[j, i + 1, channel]
          lower = (1 - x) * picture[j + 1, i, channel] + x * picture[j + 1, i + 1, channel]
          out[row, column, channel] = np.uint8((1 - y) * upper + y * lower + 0.5)


_paint = compiled(_paint_loop)
