"""Layers of the nets, and the options that all layers of a net share.

Pictures are [B, H, W, C] or, with time, [B, T, H, W, C]; a fifth axis is always time, which convolutions fold into the
batch. Paddings are PyTorch's, so that published weights give published results.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from atvg_jax.models.convolutions import DIMENSIONS, convolve_3x3, up_convolve
from atvg_jax.models.norms import NormKind, make_norm

Array = jax.Array
Dtype = Any
ModuleDef = Any
Initializer = Callable[..., Array]
Activation = Callable[[Array], Array]


def weight_init(stddev: float | None) -> Initializer:
  """N(0, stddev), as published with 0.02; None gives He's scaled initialiser, for nets without norms."""
  if stddev is None:
    return nn.initializers.he_normal()
  return nn.initializers.normal(stddev)


@dataclasses.dataclass(frozen=True)
class LayerOptions:
  """What the layers of a net have in common: the field `layers` of every net.

  Attributes:
    norm: of all convolutions but the heads. `norm_over`, `axis_name`: see `norms.BatchNorm`.
    init_stddev: see `weight_init`.
    winograd: whether training on a CPU convolves by Winograd's algorithm, which is faster and rounds more.
    remat: keep only the inputs of VG-net's decoder blocks for the gradient, and compute what is inside again.
    dtype: of the computation.
    param_dtype: of the parameters.
  """

  norm: NormKind = 'batch'
  norm_over: Literal['frame', 'clip'] = 'frame'
  axis_name: str | None = None
  init_stddev: float | None = 0.02
  winograd: bool = True
  remat: bool = False
  dtype: Dtype = jnp.float32
  param_dtype: Dtype = jnp.float32

  def conv(self, features: int, kernel: int | tuple[int, int] = 3, stride: int = 1, **options: Any) -> 'ConvBlock':
    """A convolution with this norm and a ReLU; `options` are other attributes of `ConvBlock`."""
    return ConvBlock(features, kernel, stride, **self._common(), **{'norm': self._norm(), **options})

  def up(self, features: int, **options: Any) -> 'UpBlock':
    """A transposed convolution with this norm and a ReLU; `options` are other attributes of `UpBlock`."""
    return UpBlock(features, **self._common(), **{'norm': self._norm(), **options})

  def dense(self, features: int, **options: Any) -> nn.Dense:
    """A dense layer, without norm and activation."""
    return nn.Dense(features, kernel_init=weight_init(self.init_stddev), **self.dtypes, **options)

  def run(self, block: nn.Module, *inputs: Array | None, train: bool) -> Array:
    """What a block makes of its inputs, by `remat` in training."""

    def call(block: nn.Module, *inputs: Array | None) -> Array:
      return block(*inputs, train=train)

    return (nn.remat(call) if self.remat and train else call)(block, *inputs)

  @property
  def dtypes(self) -> dict[str, Dtype]:
    """Keywords for any module that takes both types."""
    return {'dtype': self.dtype, 'param_dtype': self.param_dtype}

  def _norm(self) -> ModuleDef | None:
    return make_norm(self.norm, over=self.norm_over, axis_name=self.axis_name, **self.dtypes)

  def _common(self) -> dict[str, Any]:
    return {'winograd': self.winograd, 'kernel_init': weight_init(self.init_stddev), **self.dtypes}


class ConvBlock(nn.Module):
  """Convolution, norm, activation; the bias is there when the norm is not.

  Attributes:
    features: channels out.
    kernel: side of the square kernel, or its height and width; padding keeps the size (kernel // 2 at each side).
    stride: 1 or 2, along the kernel's sides that are longer than a pixel.
    padding: 'zero' or 'reflect'.
    norm: class of norm, or None.
    activation: after the norm.
    winograd: see `LayerOptions`.
  """

  features: int
  kernel: int | tuple[int, int] = 3
  stride: int = 1
  padding: Literal['zero', 'reflect'] = 'zero'
  norm: ModuleDef | None = None
  activation: Activation | None = nn.relu
  winograd: bool = True
  kernel_init: Initializer = weight_init(0.02)
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, shared: Array | None = None, *, train: bool) -> Array:
    """Convolves.

    Args:
      x: [B, (T,) H, W, C].
      shared: [B, H, W, C'], channels that every frame of a clip has after its own. Their sums are computed once a clip.
      train: whether a batch norm uses the batch's statistics.

    Returns:
      [B, (T,) H / stride, W / stride, features].
    """
    channels = x.shape[-1] + (0 if shared is None else shared.shape[-1])
    shape = (*self._sides, channels, self.features)
    weights = self.param('kernel', self.kernel_init, shape, self.param_dtype)
    y = self._convolve(x, weights[:, :, : x.shape[-1]], train)
    if shared is not None:
      y = add_shared(y, self._convolve(shared, weights[:, :, x.shape[-1] :], train))
    if self.norm is None:
      y = y + self.param('bias', nn.initializers.zeros, (self.features,), self.param_dtype).astype(y.dtype)
    else:
      y = self.norm(name='norm')(y, train=train)
    return y if self.activation is None else self.activation(y)

  @property
  def _sides(self) -> tuple[int, int]:
    return self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)

  def _convolve(self, x: Array, weights: Array, train: bool) -> Array:
    dtype = self.dtype or x.dtype
    lead = x.shape[:-3]
    x = fold_time(x).astype(dtype)
    sides = tuple((side // 2, side // 2) for side in self._sides)
    if self.padding == 'reflect':
      x = jnp.pad(x, ((0, 0), *sides, (0, 0)), mode='reflect')
      sides = ((0, 0), (0, 0))
    if self._sides == (3, 3) and self.stride == 1 and self.padding == 'zero':
      y = convolve_3x3(x, weights.astype(dtype), fast=train and self.winograd)
    else:
      strides = tuple(1 if side == 1 else self.stride for side in self._sides)
      y = lax.conv_general_dilated(x, weights.astype(dtype), strides, sides, dimension_numbers=DIMENSIONS)
    return y.reshape(*lead, *y.shape[1:])


class UpBlock(nn.Module):
  """Transposed convolution (kernel 3, stride 2, padding 1, output padding 1), norm, ReLU: twice the size.

  Output pixel (2i + a, 2j + b) depends on the inputs (i..i+a, j..j+b) only, so that the whole is one 2x2
  convolution to four times the channels and a depth-to-space: the same sum as the input-dilated form, and on
  a CPU several times as fast.

  Attributes:
    features: channels out.
    norm: class of norm, or None.
    use_bias: the published attention branch has a bias before its norm; None means 'when there is no norm'.
    activation: after the norm.
    winograd: see `LayerOptions`.
  """

  features: int
  norm: ModuleDef | None = None
  use_bias: bool | None = None
  activation: Activation | None = nn.relu
  winograd: bool = True
  kernel_init: Initializer = weight_init(0.02)
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, shared: Array | None = None, *, train: bool) -> Array:
    """[B, (T,) H, W, C] and what every frame of a clip has after it [B, H, W, C'] -> [B, (T,) 2H, 2W, features]."""
    channels = x.shape[-1] + (0 if shared is None else shared.shape[-1])
    weights = self.param('kernel', self.kernel_init, (3, 3, channels, self.features), self.param_dtype)
    y = self._convolve(x, weights[:, :, : x.shape[-1]], train)
    if shared is not None:
      y = add_shared(y, self._convolve(shared, weights[:, :, x.shape[-1] :], train))
    if self.norm is None if self.use_bias is None else self.use_bias:
      y = y + self.param('bias', nn.initializers.zeros, (self.features,), self.param_dtype).astype(y.dtype)
    if self.norm is not None:
      y = self.norm(name='norm')(y, train=train)
    return y if self.activation is None else self.activation(y)

  def _convolve(self, x: Array, weights: Array, train: bool) -> Array:
    dtype = self.dtype or x.dtype
    lead = x.shape[:-3]
    y = up_convolve(fold_time(x).astype(dtype), weights.astype(dtype), fast=train and self.winograd)
    return y.reshape(*lead, *y.shape[1:])


class ResidualBlock(nn.Module):
  """x + norm(conv(dropout(relu(norm(conv(x)))))), as published."""

  features: int
  layers: LayerOptions = LayerOptions()
  dropout_rate: float = 0.5

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[B, (T,) H, W, features] -> the same shape; `train` as in `ConvBlock`, and dropout on."""
    y = self.layers.conv(self.features, name='conv1')(x, train=train)
    if train and self.dropout_rate:
      y = dropout(y, self.dropout_rate, self.make_rng('dropout'))
    return x + self.layers.conv(self.features, activation=None, name='conv2')(y, train=train)


def dropout(x: Array, rate: float, key: Array) -> Array:
  """Zeros where chance says so, and the rest divided by `1 - rate`.

  Random numbers cost a CPU half of what the convolution before them does, so that no more bits are drawn than decide:
  one for each value at a rate of a half, up to eight for multiples of 1/256, else 32.
  """
  width = next((width for width in (1, 2, 4, 8) if (rate * 2**width).is_integer()), 32)
  if width == 32:
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
  else:
    words = jax.random.bits(key, (-(-x.size * width // 32),), jnp.uint32)
    # In pieces: of a broadcast XLA makes one loop with the generator in it, which then draws each word for every value.
    bits = jnp.concatenate([(words >> place) & (2**width - 1) for place in range(0, 32, width)])
    kept = (bits >= int(rate * 2**width))[: x.size].reshape(x.shape)
  return jnp.where(kept, x / (1 - rate), 0)


def fold_time(x: Array) -> Array:
  """[..., H, W, C] -> [N, H, W, C]."""
  return x.reshape(-1, *x.shape[-3:])


def add_shared(frames: Array, shared: Array) -> Array:
  """Adds what is the same in every frame, [B, H, W, C], to [B, (T,) H, W, C]."""
  return frames + (shared[:, None] if frames.ndim == 5 else shared)
