"""Layers for generation: batch norm folded into the weights, and the algorithm that is fastest where they run.

XLA's CPU backend computes a convolution as patches times matrix. The same sums come cheaper by Winograd's
algorithm where the kernel is 3x3 (or, of a transposed convolution, the phases' 2x2) and channels are many, and
by rows where the outputs are few. Graphics cards and TPUs have good convolutions of their own.
docs/performance.md has the measurements.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax import lax

from atvg_jax.models import layers, winograd

Array = jax.Array
Algorithm = Literal['direct', 'winograd', 'rows']

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
_TILE = 4  # outputs a side of Winograd's tiles


@struct.dataclass
class Layer:
  """A convolution whose norm is folded in.

  Attributes:
    kernel: the weights in the form that the algorithm wants, see `fold`.
    bias: [F].
    norm: scale and bias [F] of a group norm, which depends on the picture and cannot be folded; else None.
    size: side of the kernel.
    up: whether it is a transposed convolution of stride 2, see `layers.UpBlock`.
  """

  kernel: Any
  bias: Array
  norm: tuple[Array, Array] | None
  algorithm: Algorithm = struct.field(pytree_node=False)
  size: int = struct.field(pytree_node=False)
  stride: int = struct.field(pytree_node=False, default=1)
  dilation: int = struct.field(pytree_node=False, default=1)
  up: bool = struct.field(pytree_node=False, default=False)
  reflect: bool = struct.field(pytree_node=False, default=False)


def choose(backend: str, weights_shape: tuple[int, ...], *, stride: int = 1, up: bool = False) -> Algorithm:
  """The fastest algorithm for a layer of weights [k, k, C, F] on a backend ('cpu', 'gpu', 'tpu')."""
  size, _, channels, features = weights_shape
  if backend != 'cpu' or stride != 1:
    return 'direct'
  if size == 3 and min(channels, features) >= (48 if up else 64):
    return 'winograd'
  if not up and size > 1 and features <= 16:
    return 'rows'
  return 'direct'


def fold(
  params: Mapping[str, Any],
  stats: Mapping[str, Any] | None,
  algorithm: Callable[..., Algorithm],
  *,
  channels: slice = slice(None),
  dtype: Any = np.float32,
  stride: int = 1,
  dilation: int = 1,
  up: bool = False,
  reflect: bool = False,
  epsilon: float = 1e-5,
) -> Layer:
  """A layer from the parameters of a `ConvBlock` or `UpBlock`.

  Args:
    params: 'kernel' [k, k, C, F], and 'bias' and 'norm' where there are such.
    stats: batch statistics of the norm; None where it is no batch norm.
    algorithm: see `choose`.
    channels: of the input that this layer is given; the others' share is another layer's.
    dtype: to compute in.
    epsilon: added to the variance.
  """
  kernel = np.asarray(params['kernel'], np.float64)[:, :, channels]
  bias = np.asarray(params.get('bias', np.zeros(kernel.shape[-1])), np.float64)
  norm = None
  if stats:
    scale, shift, mean, var = (
      np.asarray(value, np.float64)
      for value in (params['norm']['scale'], params['norm']['bias'], stats['norm']['mean'], stats['norm']['var'])
    )
    factor = scale / np.sqrt(var + epsilon)
    kernel, bias = kernel * factor, (bias - mean) * factor + shift
  elif 'norm' in params:
    norm = tuple(np.asarray(params['norm'][name], np.float32) for name in ('scale', 'bias'))
  chosen = 'direct' if reflect else algorithm(kernel.shape, stride=stride, up=up)
  size = kernel.shape[0]
  kernel = jax.tree.map(lambda array: array.astype(dtype), _arranged(kernel.astype(np.float32), chosen, up))
  return Layer(kernel, bias.astype(dtype), norm, chosen, size, stride, dilation, up, reflect)


def _arranged(kernel: np.ndarray, algorithm: Algorithm, up: bool) -> Any:
  if up and algorithm == 'winograd':
    return winograd.transform_phases(kernel, _TILE)
  if up:
    return layers.sub_pixel_kernel(kernel)
  if algorithm == 'winograd':
    return winograd.transform_kernel(kernel, (_TILE, _TILE))
  if algorithm == 'rows':  # [k, k, C, F] → [1, k, C, k F]
    return np.concatenate(list(kernel), axis=-1)[None]
  return kernel


def convolve(layer: Layer, x: Array) -> Array:
  """The layer's sums without bias, [N, H, W, C] → [N, H', W', F]."""
  x = x.astype(jax.tree.leaves(layer.kernel)[0].dtype)
  if layer.up:
    return _up(layer, x)
  pad = layer.size // 2
  if layer.algorithm == 'winograd':
    return winograd.convolve_3x3(x, layer.kernel, layer.dilation)
  if layer.algorithm == 'rows':
    return _rows(layer, x)
  sides = ((layer.dilation * pad,) * 2,) * 2
  if layer.reflect:
    x = jnp.pad(x, ((0, 0), *sides, (0, 0)), mode='reflect')
    sides = ((0, 0), (0, 0))
  return lax.conv_general_dilated(
    x, layer.kernel, (layer.stride,) * 2, sides, rhs_dilation=(layer.dilation,) * 2, dimension_numbers=_DIMENSIONS
  )


def _rows(layer: Layer, x: Array) -> Array:
  """Every row's share in the outputs of `size` rows, then their sum."""
  pad = layer.size // 2
  rows = lax.conv_general_dilated(x, layer.kernel, (1, 1), ((pad, pad), (pad, pad)), dimension_numbers=_DIMENSIONS)
  features = rows.shape[-1] // layer.size
  return sum(rows[:, k : k + x.shape[1], :, k * features : (k + 1) * features] for k in range(layer.size))


def _up(layer: Layer, x: Array) -> Array:
  if layer.algorithm == 'direct':
    return layers.depth_to_space(
      lax.conv_general_dilated(x, layer.kernel, (1, 1), ((0, 1), (0, 1)), dimension_numbers=_DIMENSIONS)
    )
  return winograd.up_convolve(x, layer.kernel, _TILE)


def apply(
  layer: Layer, x: Array, still: Array | None = None, *, activation: Callable[[Array], Array] | None = nn.relu
) -> Array:
  """Convolution, norm, activation.

  Args:
    layer: what to compute.
    x: [N, H, W, C], of B clips of N / B frames.
    still: [B, H', W', F], to be added to the sums of every frame of a clip.
    activation: after the norm.
  """
  y = convolve(layer, x) + layer.bias
  if still is not None:
    y = (y.reshape(still.shape[0], -1, *y.shape[1:]) + still[:, None]).reshape(y.shape)
  if layer.norm is not None:
    y = layers.group_normalise(y, *layer.norm)
  return y if activation is None else activation(y)
