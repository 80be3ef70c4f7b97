"""PyTorch's layers on arrays [B, H, W, C]; their weights are taken by name out of a state dict, and checked."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from data_pipelines.errors import InputError

Pair = tuple[int, int]


class StateDict:
  """Named arrays, in PyTorch's layout."""

  def __init__(self, arrays: Mapping[str, np.ndarray | jax.Array], path: str):
    """Takes the arrays of a file; error messages name `path`."""
    self._arrays = arrays
    self._path = path

  def take(self, name: str, shape: tuple[int, ...]) -> jax.Array:
    """An array of this shape.

    Raises:
      InputError: there is none.
    """
    if name not in self._arrays:
      raise InputError(f'{self._path} has no {name}: it holds the weights of another network')
    array = self._arrays[name]
    if tuple(array.shape) != shape:
      raise InputError(
        f'{self._path}: {name} has the shape {list(array.shape)}, not {list(shape)}: it holds the weights of '
        'another network'
      )
    return jnp.asarray(array)


def conv(
  weights: StateDict,
  name: str,
  x: jax.Array,
  features: int,
  kernel: Pair,
  stride: Pair = (1, 1),
  padding: Pair = (0, 0),
  *,
  bias: bool = True,
  depth: int = 0,
) -> jax.Array:
  """A convolution; with `depth`, one in three dimensions whose kernel spans all of the depth.

  The depth is folded into the channels of `x` as [depth, C].
  """
  inputs = x.shape[-1] // max(depth, 1)
  kernel_weights = weights.take(f'{name}.weight', (features, inputs, *((depth,) if depth else ()), *kernel))
  if depth:  # [O, C, D, H, W] → [O, D C, H, W]
    kernel_weights = kernel_weights.transpose(0, 2, 1, 3, 4).reshape(features, depth * inputs, *kernel)
  x = lax.conv_general_dilated(
    x, kernel_weights, stride, [(pad, pad) for pad in padding], dimension_numbers=('NHWC', 'OIHW', 'NHWC')
  )
  return x + weights.take(f'{name}.bias', (features,)) if bias else x


def dense(weights: StateDict, name: str, x: jax.Array, features: int) -> jax.Array:
  """[B, C] → [B, features]."""
  return x @ weights.take(f'{name}.weight', (features, x.shape[-1])).T + weights.take(f'{name}.bias', (features,))


def batch_norm(weights: StateDict, name: str, x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
  """Batch norm as it is after training."""
  scale, bias, mean, variance = (
    weights.take(f'{name}.{part}', x.shape[-1:]) for part in ('weight', 'bias', 'running_mean', 'running_var')
  )
  scale = scale / jnp.sqrt(variance + epsilon)
  return x * scale + (bias - mean * scale)


def max_pool(x: jax.Array, kernel: int, stride: Pair, padding: Pair = (0, 0)) -> jax.Array:
  """Maxima of square windows; what is beyond the border does not count."""
  return lax.reduce_window(
    x, -jnp.inf, lax.max, (1, kernel, kernel, 1), (1, *stride, 1), [(0, 0), *((pad, pad) for pad in padding), (0, 0)]
  )


def mean_pool(x: jax.Array) -> jax.Array:
  """Means of the 3x3 windows around every place, of what is inside the border."""

  def sums(values: jax.Array) -> jax.Array:
    return lax.reduce_window(values, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), [(0, 0), (1, 1), (1, 1), (0, 0)])

  return sums(x) / sums(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def resize(images: jax.Array, size: int) -> jax.Array:
  """Enlarges images [B, H, W, C] bilinearly to size x size."""
  return jax.image.resize(images, (len(images), size, size, images.shape[-1]), 'bilinear')
