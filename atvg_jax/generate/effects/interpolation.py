"""What the effects interpolate with: smoothstep, bicubic samples of a picture, and a picture warped by a mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

Array = jax.Array

# Pictures are filled up to multiples of it: the few sizes that come out of it have a compiled program each.
STEP = 64
_BEFORE, _AFTER = 1, 2  # pixels that a bicubic sample takes before and after its place


def smoothstep(x: npt.ArrayLike) -> np.ndarray:
  """3 x² - 2 x³ of x clipped to [0, 1]: from 0 to 1 with slopes of 0 at both ends."""
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)


def filled_up(picture: np.ndarray) -> np.ndarray:
  """A picture [H, W, ...] with its last row and column repeated until its sides are multiples of `STEP`."""
  sides = [(0, -side % STEP) for side in picture.shape[:2]]
  return np.pad(picture, sides + [(0, 0)] * (picture.ndim - 2), mode='edge')


def cell_of(side: float) -> int:
  """A power of 2 that is near a cell's wanted side in pixels, from 1 to `STEP`."""
  return int(2 ** np.clip(np.round(np.log2(max(side, 1))), 0, np.log2(STEP)))


def packed(picture: Array) -> Array:
  """uint8 [H, W, 3] → uint32 [H + 3, W + 3], for `bicubic`: red, green and blue in one number, the edge repeated."""
  red, green, blue = (picture[..., channel].astype(jnp.uint32) for channel in range(3))
  return jnp.pad(red | green << 8 | blue << 16, ((_BEFORE, _AFTER),) * 2, mode='edge')


def bicubic(pixels: Array, x: Array, y: Array, pixel: Array) -> Array:
  """A picture at places between its pixels, by Catmull and Rom's cubic.

  Args:
    pixels: of `packed`. To gather whole pixels as numbers takes a third of the time of gathering their channels.
    x: [...], from the left edge, in any unit. Beyond the edges the picture goes on as it is there.
    y: [...], from the top.
    pixel: [], a pixel's side in that unit; the middle of the first pixel is at half of it. It has to be an argument of
      the program: what is divided by it is computed once, while XLA's CPU backend would compute sums and products anew
      for each of the sixteen pixels that a place takes.

  Returns:
    float32 [..., 3], which may lie a little outside of [0, 255].
  """
  height, width = pixels.shape
  x, y = jnp.clip(x / pixel - 0.5, 0, width - 4), jnp.clip(y / pixel - 0.5, 0, height - 4)
  left, top = jnp.floor(x), jnp.floor(y)
  first, flat = top.astype(jnp.int32) * width + left.astype(jnp.int32), pixels.reshape(-1)
  across, down = _cubic(x - left), _cubic(y - top)
  sums: list[Array | float] = [0.0] * 3
  for row in range(4):
    for column in range(4):
      # Places are clipped above; to check them again would cost as much as the samples.
      pixel = flat.at[first + (row * width + column)].get(mode='promise_in_bounds')
      weight = down[row] * across[column]
      sums = [total + weight * (pixel >> shift & 255).astype(jnp.float32) for total, shift in zip(sums, (0, 8, 16))]
  return jnp.stack(sums, axis=-1)


def _cubic(t: Array) -> tuple[Array, ...]:
  """Weights of the pixels at -1, 0, 1 and 2, for places t in [0, 1)."""
  return (
    ((-0.5 * t + 1) * t - 0.5) * t,
    (1.5 * t - 2.5) * t * t + 1,
    ((-1.5 * t + 2) * t + 0.5) * t,
    (0.5 * t - 0.5) * t * t,
  )


def spread(nodes: Array, cell: int) -> Array:
  """Values at a grid's nodes [..., h + 1, w + 1] → at the middles of all pixels [..., h cell, w cell], bilinear."""
  share = (jnp.arange(cell) + 0.5) / cell
  first, last = nodes[..., :-1, None, :], nodes[..., 1:, None, :]
  rows = (first + share[:, None] * (last - first)).reshape(*nodes.shape[:-2], -1, nodes.shape[-1])
  first, last = rows[..., :-1, None], rows[..., 1:, None]
  return (first + share * (last - first)).reshape(*rows.shape[:-1], -1)


def to_bytes(values: Array) -> Array:
  """Rounded and clipped to uint8."""
  return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)


class MeshWarp:
  """Backward warp of a picture: where it looks is given at the nodes of a grid, and bilinear within each cell.

  Attributes:
    nodes: float64 [rows, columns, 2], the grid in pixels of the picture; its last cells may reach beyond it.
  """

  def __init__(self, width: int, height: int, cell: float):
    """Takes the size of the pictures, and the cells' side in pixels, of which the nearest power of 2 is taken."""
    self._cell = cell_of(cell)
    xs, ys = (np.arange(0, side + -side % STEP + 1, self._cell) for side in (width, height))
    self.nodes = np.stack(np.meshgrid(xs, ys), axis=-1).astype(np.float64)

  def __call__(self, picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The warped picture.

    Args:
      picture: uint8 [height, width, 3].
      places: [rows, columns, 2], the pixel of the picture that each node shows.

    Returns:
      uint8 [height, width, 3], resampled bicubically.
    """
    height, width = picture.shape[:2]
    if not picture.size:
      return picture
    moved = np.asarray(places - self.nodes, np.float32)
    return np.asarray(_mesh_warp(filled_up(picture), moved, np.float32(1), self._cell))[:height, :width]


@functools.partial(jax.jit, static_argnums=3)
def _mesh_warp(picture: Array, moved: Array, pixel: Array, cell: int) -> Array:
  right, down = spread(jnp.moveaxis(moved, -1, 0), cell)
  height, width = picture.shape[:2]
  x, y = jnp.arange(width) + 0.5 + right, jnp.arange(height)[:, None] + 0.5 + down
  return to_bytes(bicubic(packed(picture), x, y, pixel))
