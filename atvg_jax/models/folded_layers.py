"""Layers for generation: batch norm folded into the weights, and the algorithm that is fastest where they run.

The net's own code runs (`apply_net`); only its layers are replaced, by Flax's method interceptors. `fold_net` prepares
the weights, once when they are loaded.

XLA's CPU backend computes a convolution as patches times matrix. The same sums come cheaper by Winograd's
algorithm where the kernel is 3x3 (or, of a transposed convolution, the phases' 2x2) and channels are many, and
by rows where the outputs are few. Graphics cards and TPUs have good convolutions of their own.
docs/performance.md has the measurements.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax import lax

from atvg_jax.models import winograd
from atvg_jax.models.convolutions import DIMENSIONS, depth_to_space, sub_pixel_kernel
from atvg_jax.models.landmark_maps import NUM_MAPS
from atvg_jax.models.layers import ConvBlock, UpBlock, add_shared, fold_time
from atvg_jax.models.norms import group_normalise
from atvg_jax.models.recurrent import ConvGru

Array = jax.Array
Algorithm = Literal['direct', 'winograd', 'rows']

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
  bias: Array | np.ndarray
  norm: tuple[Array | np.ndarray, Array | np.ndarray] | None
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
    stride: of the convolution.
    dilation: of the convolution.
    up: whether it is an `UpBlock`.
    reflect: whether the picture is padded by reflection.
    epsilon: added to the variance.
  """
  kernel = np.asarray(params['kernel'], np.float64)[:, :, channels]
  bias = np.asarray(params.get('bias', np.zeros(kernel.shape[-1])), np.float64)
  norm: tuple[np.ndarray, np.ndarray] | None = None
  if stats:
    scale, shift, mean, var = (
      np.asarray(value, np.float64)
      for value in (params['norm']['scale'], params['norm']['bias'], stats['norm']['mean'], stats['norm']['var'])
    )
    factor = scale / np.sqrt(var + epsilon)
    kernel, bias = kernel * factor, (bias - mean) * factor + shift
  elif 'norm' in params:
    norm = (np.asarray(params['norm']['scale'], np.float32), np.asarray(params['norm']['bias'], np.float32))
  chosen = 'direct' if reflect else algorithm(kernel.shape, stride=stride, up=up)
  arranged = jax.tree.map(lambda array: array.astype(dtype), _arranged(kernel.astype(np.float32), chosen, up))
  return Layer(arranged, bias.astype(dtype), norm, chosen, kernel.shape[0], stride, dilation, up, reflect)


def _arranged(kernel: np.ndarray, algorithm: Algorithm, up: bool) -> Any:
  if up and algorithm == 'winograd':
    return winograd.transform_phases(kernel, _TILE)
  if up:
    return sub_pixel_kernel(kernel)
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
    x, layer.kernel, (layer.stride,) * 2, sides, rhs_dilation=(layer.dilation,) * 2, dimension_numbers=DIMENSIONS
  )


def _rows(layer: Layer, x: Array) -> Array:
  """Every row's share in the outputs of `size` rows, then their sum."""
  pad = layer.size // 2
  rows = lax.conv_general_dilated(x, layer.kernel, (1, 1), ((pad, pad), (pad, pad)), dimension_numbers=DIMENSIONS)
  features = rows.shape[-1] // layer.size
  parts = [rows[:, k : k + x.shape[1], :, k * features : (k + 1) * features] for k in range(layer.size)]
  return functools.reduce(jnp.add, parts)


def _up(layer: Layer, x: Array) -> Array:
  if layer.algorithm == 'direct':
    return depth_to_space(
      lax.conv_general_dilated(x, layer.kernel, (1, 1), ((0, 1), (0, 1)), dimension_numbers=DIMENSIONS)
    )
  return winograd.up_convolve(x, layer.kernel, _TILE)


def apply(
  layer: Layer, x: Array, shared_sums: Array | None = None, *, activation: Callable[[Array], Array] | None = nn.relu
) -> Array:
  """Convolution, norm, activation.

  Args:
    layer: what to compute.
    x: [B, (T,) H, W, C].
    shared_sums: [B, H', W', F], to be added to the sums of every frame of a clip.
    activation: after the norm.
  """
  y = convolve(layer, fold_time(x)) + layer.bias
  y = y.reshape(*x.shape[:-3], *y.shape[1:])
  if shared_sums is not None:
    y = add_shared(y, shared_sums)
  if layer.norm is not None:
    y = group_normalise(y, *layer.norm)
  return y if activation is None else activation(y)


class FoldedBlock(NamedTuple):
  """A `ConvBlock` or `UpBlock`: the layer, and its part for the channels that the frames of a clip share, if any."""

  frames: Layer
  shared: Layer | None


class FoldedGru(NamedTuple):
  """A `ConvGru`: the inputs' layer, and matrix and bias of the state's, see `ConvGru.scan`."""

  inputs: Layer
  hidden_matrix: Array | np.ndarray
  hidden_bias: Array | np.ndarray


class FoldedNet(NamedTuple):
  """A net's weights for `apply_net`, as NumPy arrays: by path the folded layers, and the parameters of all others."""

  layers: dict[str, FoldedBlock | FoldedGru]
  params: dict[str, Any]


def fold_net(net: nn.Module, variables: Mapping[str, Any], backend: str, *inputs: Any) -> FoldedNet:
  """Folds all layers that a call of a net meets.

  Args:
    net: the net.
    variables: its variables, 'params' and 'batch_stats'.
    backend: 'cpu', 'gpu' or 'tpu', for which to choose the algorithms.
    *inputs: shapes and types of the call's inputs.
  """
  params = flax.traverse_util.flatten_dict(variables['params'], sep='/')
  stats = flax.traverse_util.flatten_dict(variables.get('batch_stats', {}), sep='/')
  folded: dict[str, FoldedBlock | FoldedGru] = {}

  def fold_one(next_call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    module = context.module
    if context.method_name in _BLANKS:
      return _BLANKS[context.method_name](*args)
    if context.method_name != '__call__' or not isinstance(module, (ConvBlock, UpBlock, ConvGru)):
      return next_call(*args, **kwargs)
    path = '/'.join(module.path)
    if path not in folded:
      own = (_below(path, params), _below(path, stats))
      folded[path] = (
        _fold_gru(module, own[0], backend)
        if isinstance(module, ConvGru)
        else _fold_block(module, *own, backend, args[0].shape[-1])
      )
    return _blank(module, args)

  with nn.intercept_methods(fold_one):
    jax.eval_shape(functools.partial(net.apply, variables, train=False), *inputs)
  rest = {path: value for path, value in params.items() if not any(path.startswith(f'{name}/') for name in folded)}
  return FoldedNet(folded, flax.traverse_util.unflatten_dict(rest, sep='/'))


def apply_net(net: nn.Module, weights: FoldedNet, *args: Any, **kwargs: Any) -> Any:
  """`net.apply` by folded layers, in evaluation mode; blocks take the sums of shared channels, see `shared_sums`."""

  def replace(next_call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    module, layer = context.module, weights.layers.get('/'.join(context.module.path))
    if context.method_name != '__call__' or layer is None:
      return next_call(*args, **kwargs)
    if isinstance(layer, FoldedGru):
      x, carry = args
      return module.scan(apply(layer.inputs, x, activation=None), layer.hidden_matrix, layer.hidden_bias, carry)
    return apply(layer.frames, *args, activation=module.activation)

  with nn.intercept_methods(replace):
    return net.apply({'params': weights.params}, *args, train=False, **kwargs)


def shared_sums(weights: FoldedNet, inputs: Mapping[str, Array]) -> dict[str, Array]:
  """Name of a block -> its sums of the channels [B, H, W, C] that the frames of a clip share."""
  sums = {}
  for name, x in inputs.items():
    layer = weights.layers[name]
    assert isinstance(layer, FoldedBlock) and layer.shared is not None, f'{name} has no shared channels'
    sums[name] = convolve(layer.shared, x)
  return sums


def _below(path: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
  prefix = f'{path}/' if path else ''
  own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
  return flax.traverse_util.unflatten_dict(own, sep='/')


def _fold_block(
  module: ConvBlock | UpBlock, params: Mapping[str, Any], stats: Mapping[str, Any], backend: str, channels: int
) -> FoldedBlock:
  """Folds a block whose frames have so many channels of their own."""
  options: dict[str, Any] = {'algorithm': functools.partial(choose, backend), 'dtype': np.dtype(module.dtype)}
  if isinstance(module, UpBlock):
    options['up'] = True
  else:
    options |= {'stride': module.stride, 'reflect': module.padding == 'reflect'}
  frames, shared = fold(params, stats, channels=slice(channels), **options), None
  if params['kernel'].shape[2] > channels:
    shared = fold(params, stats, channels=slice(channels, None), **options)
  return FoldedBlock(frames, shared)


def _fold_gru(module: ConvGru, params: Mapping[str, Any], backend: str) -> FoldedGru:
  dtype, hidden = np.dtype(module.dtype), np.asarray(params['hidden_kernel'])
  inputs = fold(
    {'kernel': params['input_kernel'], 'bias': params['input_bias']},
    None,
    functools.partial(choose, backend),
    dtype=dtype,
    dilation=module.dilation,
  )
  return FoldedGru(
    inputs, hidden.reshape(-1, hidden.shape[-1]).astype(dtype), np.asarray(params['hidden_bias']).astype(dtype)
  )


def _blank(module: ConvBlock | UpBlock | ConvGru, args: Any) -> Any:
  """Zeros of the shape that a layer returns: to fold a net its layers need not be traced."""
  *lead, height, width, _ = args[0].shape
  if isinstance(module, ConvGru):
    states = jnp.zeros((*args[0].shape[:-1], module.features), module.dtype)
    return states, states[:, -1]
  if isinstance(module, UpBlock):
    return jnp.zeros((*lead, 2 * height, 2 * width, module.features), module.dtype)
  return jnp.zeros((*lead, -(-height // module.stride), -(-width // module.stride), module.features), module.dtype)


def _blank_maps(landmarks: Array, size: int) -> Array:
  return jnp.zeros((*landmarks.shape[:-1], size, size, NUM_MAPS))


def _blank_warp(image: Array, example_landmarks: Array, landmarks: Array) -> tuple[Array, Array]:
  shape = (*landmarks.shape[:2], *image.shape[1:3])
  return jnp.zeros((*shape, image.shape[-1])), jnp.zeros((*shape, 1))


# Methods of `ReleaseVgNet` without parameters, as zeros of their shapes: to trace them takes longer than all else of
# folding a net, and somebody waits.
_BLANKS: dict[str, Callable[..., Any]] = {'draw_landmarks': _blank_maps, 'warp_image': _blank_warp}
