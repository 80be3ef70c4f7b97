"""What the effects interpolate with: smoothstep, and a picture warped by a mesh."""

import numpy as np
import numpy.typing as npt
from PIL import Image


def smoothstep(x: npt.ArrayLike) -> np.ndarray:
  """3 x² - 2 x³ of x clipped to [0, 1]: from 0 to 1 with slopes of 0 at both ends."""
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)


class MeshWarp:
  """Backward warp of a picture: where it looks is given at the nodes of a grid, and bilinear within each cell.

  Attributes:
    nodes: float64 [rows, columns, 2], the grid in pixels of the picture.
  """

  def __init__(self, width: int, height: int, cell: int):
    """Takes the size of the pictures, and the cells' side, in pixels."""
    self._xs, self._ys = (np.append(np.arange(0, side, cell), side).tolist() for side in (width, height))
    self.nodes = np.stack(np.meshgrid(self._xs, self._ys), axis=-1).astype(np.float64)

  def __call__(self, picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The warped picture.

    Args:
      picture: uint8 [height, width, 3].
      places: [rows, columns, 2], the pixel of the picture that each node shows.

    Returns:
      uint8 [height, width, 3], resampled bicubically.
    """
    quads = np.concatenate([places[:-1, :-1], places[1:, :-1], places[1:, 1:], places[:-1, 1:]], axis=-1).tolist()
    xs, ys = self._xs, self._ys
    mesh = [((xs[j], ys[i], xs[j + 1], ys[i + 1]), quads[i][j]) for i in range(len(ys) - 1) for j in range(len(xs) - 1)]
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BICUBIC))
