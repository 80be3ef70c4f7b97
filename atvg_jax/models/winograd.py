"""Winograd's fast convolutions F(m, r): m outputs of an r-tap filter from m + r - 1 products.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016, arXiv 1509.09308). In two
dimensions F(4x4, 3x3) needs 36 products for 16 outputs, where the sum needs 144. The products of all tiles
and channels are (m + r - 1)² matrix multiplications; the transforms around them are sums of slices.
"""

import functools
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Pair = tuple[int, int]
Weights = TypeVar('Weights', jax.Array, np.ndarray)

# The taps of a 3x3 kernel through which input i (and i + 1) reaches the even and the odd outputs of a transposed
# convolution of stride 2, along one axis.
_PHASE_TAPS = ((1,), (2, 0))

# Where the polynomials are evaluated, besides infinity: small numbers keep the rounding errors small.
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


@functools.cache
def matrices(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(inverse [m, n], kernel [n, r], data [n, n]), n = m + r - 1: y = inverse @ ((kernel @ w) * (data @ x)).

  By Toom's and Cook's way: polynomials evaluated at n - 1 points and infinity, and interpolated, transposed.
  """
  size = outputs + taps - 1
  if size == 1:
    return (np.ones((1, 1)),) * 3
  points = np.array(_POINTS[: size - 1])
  if len(points) != size - 1:
    raise ValueError(f'F({outputs}, {taps}) would lose too many digits in float32')
  inverse, kernel, data = np.zeros((outputs, size)), np.zeros((size, taps)), np.zeros((size, size))
  for index, point in enumerate(points):
    others = np.delete(points, index)
    inverse[:, index] = point ** np.arange(outputs)
    kernel[index] = point ** np.arange(taps) / np.prod(point - others)
    data[index, : size - 1] = np.poly(others)[::-1]
  inverse[-1, -1] = kernel[-1, -1] = 1
  data[-1] = np.poly(points)[::-1]
  return inverse, kernel, data


def transform_kernel(weights: Weights, tile: Pair) -> Weights:
  """[r, s, C, F] → [(n + s - 1) * (m + r - 1), C, F] for tiles of m x n outputs; NumPy stays NumPy."""
  rows, columns = (matrices(m, r)[1] for m, r in zip(tile, weights.shape[:2], strict=True))
  both = np.einsum('ak,bl->bakl', rows, columns).reshape(len(rows) * len(columns), -1).astype(weights.dtype)
  return (both @ weights.reshape(both.shape[1], -1)).reshape(len(both), *weights.shape[2:])


def convolve(x: Array, kernel: Array, tile: Pair, taps: Pair, padding: tuple[Pair, Pair]) -> Array:
  """Stride-1 convolution [N, H, W, C] → [N, H', W', F].

  Args:
    x: pictures.
    kernel: of `transform_kernel`.
    tile: (m, n), as the kernel was transformed.
    taps: (r, s), likewise.
    padding: zeros before and after, of rows and of columns.
  """
  batch, channels = x.shape[0], x.shape[-1]
  spans = [m + r - 1 for m, r in zip(tile, taps, strict=True)]
  sides = [side + sum(pad) - r + 1 for side, pad, r in zip(x.shape[1:3], padding, taps, strict=True)]
  tiles = [-(-side // m) for side, m in zip(sides, tile, strict=True)]
  fill = [
    (before, count * m + r - 1 - side - before)
    for (before, _), count, m, r, side in zip(padding, tiles, tile, taps, x.shape[1:3], strict=True)
  ]
  x = jnp.pad(x, ((0, 0), *fill, (0, 0)))
  (row_inverse, _, row_data), (column_inverse, _, column_data) = map(matrices, tile, taps)
  # Rows first, then columns, there and back: without the barriers XLA makes one pass of two, and many times the sums.
  x = jnp.stack(_combine(row_data, _offsets(x, 1, tiles[0], tile[0], spans[0])))
  columns = _offsets(lax.optimization_barrier(x), 3, tiles[1], tile[1], spans[1])
  x = jnp.stack(_combine(column_data, columns)).reshape(spans[1] * spans[0], -1, channels)
  y = jnp.einsum('pmc,pcf->pmf', x, kernel).reshape(*spans[::-1], batch, *tiles, kernel.shape[-1])
  y = jnp.stack(_combine(row_inverse, [y[:, i] for i in range(spans[0])]))  # [m, spans, N, tiles, F]
  y = lax.optimization_barrier(y)
  terms = [
    part[..., None, :] * jnp.asarray(factors[:, None], part.dtype)
    for factors, part in zip(column_inverse.T, y.swapaxes(0, 1), strict=True)
  ]
  y = functools.reduce(jnp.add, terms)  # [m, N, tiles, n, F]
  y = jnp.moveaxis(y, 0, 2).reshape(batch, tiles[0] * tile[0], tiles[1] * tile[1], kernel.shape[-1])
  return y[:, : sides[0], : sides[1]]


def _offsets(x: Array, axis: int, tiles: int, step: int, span: int) -> list[Array]:
  """The tiles' first elements along an axis, their second ones, and so on: `span` arrays."""
  return [lax.slice_in_dim(x, i, i + (tiles - 1) * step + 1, step, axis) for i in range(span)]


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
  """Matrix @ parts, without the products by 0 and 1."""
  combined = []
  for row in matrix:
    terms = [
      part if factor == 1 else part * jnp.asarray(factor, part.dtype)
      for factor, part in zip(row, parts, strict=True)
      if factor
    ]
    combined.append(functools.reduce(jnp.add, terms))
  return combined


def split_phases(x: Array) -> Array:
  """[N, H, W, C] → [4 N, H / 2, W / 2, C]: a convolution of dilation 2 is an undilated one on every phase."""
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 2, 4, 1, 3, 5)
  return x.reshape(4 * batch, height // 2, width // 2, channels)


def join_phases(x: Array) -> Array:
  """Undoes `split_phases`."""
  batch, height, width, channels = x.shape
  x = x.reshape(batch // 4, 2, 2, height, width, channels).transpose(0, 3, 1, 4, 2, 5)
  return x.reshape(batch // 4, 2 * height, 2 * width, channels)


def convolve_3x3(x: Array, kernel: Array, dilation: int = 1) -> Array:
  """Convolution of stride 1 that keeps the size, by a 3x3 kernel transformed for tiles of 4x4.

  Args:
    x: [N, H, W, C].
    kernel: `transform_kernel(weights, (4, 4))`.
    dilation: 1 or 2.
  """
  height, width = x.shape[1:3]
  if dilation == 2:
    x = split_phases(jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0))))
  x = convolve(x, kernel, (4, 4), (3, 3), ((1, 1), (1, 1)))
  return join_phases(x)[:, :height, :width] if dilation == 2 else x


def transform_phases(weights: Weights, tile: int) -> tuple[Weights, ...]:
  """The kernels of `up_convolve` for tiles of so many outputs, from [3, 3, C, F]."""
  return tuple(
    transform_kernel(weights[np.ix_(rows, columns)], _phase_tile((len(rows), len(columns)), tile))
    for rows in _PHASE_TAPS
    for columns in _PHASE_TAPS
  )


def up_convolve(x: Array, kernels: Sequence[Array], tile: int) -> Array:
  """The transposed convolution of `layers.UpBlock`, [N, H, W, C] → [N, 2 H, 2 W, F].

  Each of the four phases of the outputs is a convolution of its own, of 1x1 to 2x2 taps.
  """
  sizes = [(len(rows), len(columns)) for rows in _PHASE_TAPS for columns in _PHASE_TAPS]
  phases = [
    convolve(x, kernel, _phase_tile(size, tile), size, ((0, size[0] - 1), (0, size[1] - 1)))
    for size, kernel in zip(sizes, kernels, strict=True)
  ]
  y = jnp.stack([jnp.stack(phases[:2], axis=3), jnp.stack(phases[2:], axis=3)], axis=2)  # [N, H, 2, W, 2, F]
  return y.reshape(x.shape[0], 2 * x.shape[1], 2 * x.shape[2], -1)


def _phase_tile(taps: Pair, tile: int) -> Pair:
  """An axis of one tap needs no tiles."""
  return (1 if taps[0] == 1 else tile, 1 if taps[1] == 1 else tile)
