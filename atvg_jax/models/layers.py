"""Convolutions, transposed convolutions and norms that know about time.

Pictures are [B, H, W, C] or, with time, [B, T, H, W, C]; a fifth axis is always time. Convolutions fold time
into the batch. Paddings are PyTorch's, so that published weights give published answers.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from atvg_jax.models import winograd

Array = jax.Array
Dtype = Any
ModuleDef = Any
Initializer = Callable[..., Array]
NormKind = Literal['batch', 'group', 'none']

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
# Whether training on a CPU may round more for speed (Winograd's algorithm); comparisons to the last digit turn it off.
FAST_ON_CPU = True
_MANY_CHANNELS = 128


def weight_init(stddev: float | None) -> Initializer:
  """N(0, stddev), as published with 0.02; None gives He's scaled initialiser, for nets without norms."""
  if stddev is None:
    return nn.initializers.he_normal()
  return nn.initializers.normal(stddev)


def scale_init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
  """The published start of a norm's scale: N(1, 0.02)."""
  return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class BatchNorm(nn.Module):
  """Batch norm, with statistics of each frame or of the whole clip.

  Attributes:
    over: 'frame' normalises each time step by its own statistics, as the published nets do, which are called
      frame by frame; the running statistics take one step for each frame, in order of time. 'clip' takes time
      as more batch. The same where the input has no time.
    axis_name: name of the mapped axis to average statistics over; None keeps them of one device.
    momentum: share of the old running statistics kept at each step (PyTorch's 0.1 is 0.9 here).
    epsilon: added to the variance.

  Running variances are unbiased, as PyTorch keeps them; normalising in training uses the biased one.
  """

  over: Literal['frame', 'clip'] = 'frame'
  axis_name: str | None = None
  momentum: float = 0.9
  epsilon: float = 1e-5
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    features = x.shape[-1]
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (features,), jnp.float32)
    running_var = self.variable('batch_stats', 'var', jnp.ones, (features,), jnp.float32)
    scale = self.param('scale', scale_init, (features,), self.param_dtype)
    bias = self.param('bias', nn.initializers.zeros, (features,), self.param_dtype)
    if train:
      by_frame = x.ndim == 5 and self.over == 'frame'
      axes = (0, 2, 3) if by_frame else tuple(range(x.ndim - 1))
      mean, var, count = self._statistics(x.astype(jnp.float32), axes)  # [C] or [T, C]
      if not self.is_initializing():
        self._keep(running_mean, mean)
        self._keep(running_var, var * (count / max(count - 1, 1)))
      if by_frame:
        mean, var = mean[:, None, None, :], var[:, None, None, :]  # [T, 1, 1, C]
    else:
      mean, var = running_mean.value, running_var.value
    dtype = self.dtype or x.dtype
    factor = scale * lax.rsqrt(var + self.epsilon)
    return (x.astype(dtype) - mean.astype(dtype)) * factor.astype(dtype) + bias.astype(dtype)

  def _statistics(self, x: Array, axes: tuple[int, ...]) -> tuple[Array, Array, int]:
    count = 1
    for axis in axes:
      count *= x.shape[axis]
    mean = _mean_by_rows(x, axes)
    if self.axis_name is None or self.is_initializing():
      # Centred first: the difference of two large means loses digits.
      return mean, _mean_by_rows(jnp.square(x - jnp.expand_dims(mean, axes)), axes), count
    square = _mean_by_rows(jnp.square(x), axes)
    mean, square = lax.pmean((mean, square), self.axis_name)
    count *= lax.axis_size(self.axis_name)
    return mean, jnp.maximum(square - jnp.square(mean), 0), count

  def _keep(self, running: Any, values: Array) -> None:
    """Running <- momentum * running + (1 - momentum) * value, for each value in turn, in closed form."""
    values = values.reshape(-1, values.shape[-1])  # [steps, C]
    steps = values.shape[0]
    weights = (1 - self.momentum) * self.momentum ** jnp.arange(steps - 1, -1, -1, dtype=jnp.float32)
    running.value = self.momentum**steps * running.value + weights @ values


def _mean_by_rows(x: Array, axes: tuple[int, ...]) -> Array:
  """Mean over all of `axes`, of which the last is next to the channels: rows first, so that float32 sums stay short."""
  return jnp.mean(jnp.mean(x, axes[-1]), axes[:-1])


class GroupNorm(nn.Module):
  """Group norm of each picture by itself: nothing depends on the batch or on other frames."""

  group_size: int = 8
  epsilon: float = 1e-5
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    del train
    features = x.shape[-1]
    scale = self.param('scale', scale_init, (features,), self.param_dtype)
    bias = self.param('bias', nn.initializers.zeros, (features,), self.param_dtype)
    return group_normalise(x.astype(self.dtype or x.dtype), scale, bias, self.group_size, self.epsilon)


def group_normalise(x: Array, scale: Array, bias: Array, group_size: int = 8, epsilon: float = 1e-5) -> Array:
  """Group norm of pictures [..., H, W, C] by scale and bias [C]."""
  features = x.shape[-1]
  groups = max(features // group_size, 1)
  if features % groups:
    groups = 1
  axes = (-3, -2)
  wide = x.astype(jnp.float32)
  # Moments per channel first, groups of channels after: the large reductions stay contiguous.
  mean, square = jnp.mean(wide, axes), jnp.mean(jnp.square(wide), axes)  # [..., C]
  grouped = (*mean.shape[:-1], groups, features // groups)
  mean, square = mean.reshape(grouped).mean(-1), square.reshape(grouped).mean(-1)
  inverse = lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0) + epsilon)
  mean, inverse = (jnp.repeat(v, features // groups, axis=-1) for v in (mean, inverse))
  factor = scale * inverse
  shift = bias - mean * factor
  factor, shift = (jnp.expand_dims(v, axes).astype(x.dtype) for v in (factor, shift))
  return x * factor + shift


def make_norm(
  kind: NormKind,
  *,
  over: Literal['frame', 'clip'] = 'frame',
  axis_name: str | None = None,
  dtype: Dtype = None,
  param_dtype: Dtype = jnp.float32,
) -> ModuleDef | None:
  """The class of norm that a net uses, with its options filled in; None for no norm."""
  if kind == 'batch':
    return functools.partial(BatchNorm, over=over, axis_name=axis_name, dtype=dtype, param_dtype=param_dtype)
  if kind == 'group':
    return functools.partial(GroupNorm, dtype=dtype, param_dtype=param_dtype)
  if kind == 'none':
    return None
  raise ValueError(f"norm must be 'batch', 'group' or 'none', not {kind!r}")


def _fold(x: Array) -> Array:
  """[..., H, W, C] -> [N, H, W, C]."""
  return x.reshape(-1, *x.shape[-3:])


def _join(frames: Array, still: Array) -> Array:
  """Adds what is the same in every frame, [B, H, W, C], to [B, T, H, W, C]."""
  return frames + (still[:, None] if frames.ndim == 5 else still)


class ConvBlock(nn.Module):
  """Convolution, norm, activation; the bias is there when the norm is not.

  Attributes:
    features: channels out.
    kernel: side of the square kernel, or its height and width; padding keeps the size (kernel // 2 at each side).
    stride: 1 or 2, along the kernel's sides that are longer than a pixel.
    padding: 'zero' or 'reflect'.
    norm: class of norm, or None.
    activation: after the norm.
  """

  features: int
  kernel: int | tuple[int, int] = 3
  stride: int = 1
  padding: Literal['zero', 'reflect'] = 'zero'
  norm: ModuleDef | None = None
  activation: Callable[[Array], Array] | None = nn.relu
  kernel_init: Initializer = weight_init(0.02)
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, still: Array | None = None, *, train: bool) -> Array:
    """Convolves.

    Args:
      x: [B, (T,) H, W, C].
      still: [B, H, W, C'], channels that every frame has after its own. Their share is computed once a clip.
      train: whether a batch norm uses the batch's statistics.

    Returns:
      [B, (T,) H / stride, W / stride, features].
    """
    channels = x.shape[-1] + (0 if still is None else still.shape[-1])
    shape = (*self._sides, channels, self.features)
    weights = self.param('kernel', self.kernel_init, shape, self.param_dtype)
    y = self._convolve(x, weights[:, :, : x.shape[-1]], train)
    if still is not None:
      y = _join(y, self._convolve(still, weights[:, :, x.shape[-1] :], train))
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
    x = _fold(x).astype(dtype)
    sides = tuple((side // 2, side // 2) for side in self._sides)
    if self.padding == 'reflect':
      x = jnp.pad(x, ((0, 0), *sides, (0, 0)), mode='reflect')
      sides = ((0, 0), (0, 0))
    if self._sides == (3, 3) and self.stride == 1 and self.padding == 'zero':
      y = convolve_3x3(x, weights.astype(dtype), train=train)
    else:
      strides = tuple(1 if side == 1 else self.stride for side in self._sides)
      y = lax.conv_general_dilated(x, weights.astype(dtype), strides, sides, dimension_numbers=_DIMENSIONS)
    return y.reshape(*lead, *y.shape[1:])


def convolve_3x3(x: Array, weights: Array, dilation: int = 1, *, train: bool) -> Array:
  """Convolution of stride 1 that keeps the size, [N, H, W, C] by [3, 3, C, F] -> [N, H, W, F].

  In training, of many channels, it is Winograd's F(4x4, 3x3) on CPUs: more than twice as fast, there and back. Otherwise the
  direct sum, whose rounding is smaller; `fast_vg` is the fast way to generate.
  """

  def plain(x: Array, weights: Array) -> Array:
    sides, steps = ((dilation, dilation),) * 2, (dilation, dilation)
    return lax.conv_general_dilated(x, weights, (1, 1), sides, rhs_dilation=steps, dimension_numbers=_DIMENSIONS)

  def fast(x: Array, weights: Array) -> Array:
    return winograd.convolve_3x3(x, winograd.transform_kernel(weights, (4, 4)), dilation)

  if not (train and FAST_ON_CPU) or min(weights.shape[2:]) < _MANY_CHANNELS or dilation > 2:
    return plain(x, weights)
  # By where the program will run, which is not always where it is compiled.
  return lax.platform_dependent(x, weights, cpu=fast, default=plain)


def depth_to_space(x: Array, factor: int = 2) -> Array:
  """[..., H, W, factor * factor * C] -> [..., factor * H, factor * W, C]; phases are row by row."""
  *lead, height, width, channels = x.shape
  out = channels // (factor * factor)
  x = x.reshape(-1, height, width, factor, factor, out)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(*lead, factor * height, factor * width, out)


def space_to_depth(x: Array, factor: int = 2) -> Array:
  """[..., factor * H, factor * W, C] -> [..., H, W, factor * factor * C]; the inverse of `depth_to_space`."""
  *lead, height, width, channels = x.shape
  x = x.reshape(-1, height // factor, factor, width // factor, factor, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(*lead, height // factor, width // factor, factor * factor * channels)


class UpBlock(nn.Module):
  """Transposed convolution (kernel 3, stride 2, padding 1, output padding 1), norm, ReLU: twice the size.

  Output pixel (2i + a, 2j + b) depends on the inputs (i..i+a, j..j+b) only, so that the whole is one 2x2
  convolution to four times the channels and a depth-to-space: the same sum as the input-dilated form, and on
  a CPU several times as fast.

  Attributes:
    use_bias: the published attention branch has a bias before its norm; None means 'when there is no norm'.
  """

  features: int
  norm: ModuleDef | None = None
  use_bias: bool | None = None
  activation: Callable[[Array], Array] | None = nn.relu
  kernel_init: Initializer = weight_init(0.02)
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, still: Array | None = None, *, train: bool) -> Array:
    """[B, (T,) H, W, C] and what is the same in every frame [B, H, W, C'] -> [B, (T,) 2H, 2W, features]."""
    channels = x.shape[-1] + (0 if still is None else still.shape[-1])
    weights = self.param('kernel', self.kernel_init, (3, 3, channels, self.features), self.param_dtype)
    y = self._phases(x, weights[:, :, : x.shape[-1]], train)
    if still is not None:
      y = _join(y, self._phases(still, weights[:, :, x.shape[-1] :], train))
    if self.norm is None if self.use_bias is None else self.use_bias:
      y = y + self.param('bias', nn.initializers.zeros, (self.features,), self.param_dtype).astype(y.dtype)
    if self.norm is not None:
      y = self.norm(name='norm')(y, train=train)
    return y if self.activation is None else self.activation(y)

  def _phases(self, x: Array, weights: Array, train: bool) -> Array:
    dtype = self.dtype or x.dtype
    lead = x.shape[:-3]
    y = up_convolve(_fold(x).astype(dtype), weights.astype(dtype), train=train)
    return y.reshape(*lead, *y.shape[1:])


def up_convolve(x: Array, weights: Array, *, train: bool) -> Array:
  """The transposed convolution of `UpBlock`, [N, H, W, C] by [3, 3, C, F] -> [N, 2 H, 2 W, F]; `train` as above."""
  channels, features = weights.shape[2:]

  def plain(x: Array, weights: Array) -> Array:
    return depth_to_space(
      lax.conv_general_dilated(x, sub_pixel_kernel(weights), (1, 1), ((0, 1), (0, 1)), dimension_numbers=_DIMENSIONS)
    )

  def by_phases(x: Array, weights: Array) -> Array:
    return winograd.up_convolve(x, winograd.transform_phases(weights, 2), 2)

  def by_rows(x: Array, weights: Array) -> Array:
    # Even rows of outputs depend on one row of inputs, odd ones on two.
    kernel, sides = sub_pixel_kernel(weights), (0, 1)
    even, odd = (
      lax.conv_general_dilated(x, part, (1, 1), pads, dimension_numbers=_DIMENSIONS)
      for part, pads in (
        (kernel[:1, ..., : 2 * features], ((0, 0), sides)),
        (kernel[..., 2 * features :], (sides, sides)),
      )
    )
    return jnp.stack([even, odd], axis=2).reshape(x.shape[0], 2 * x.shape[1], 2 * x.shape[2], features)

  if not (train and FAST_ON_CPU) or channels < 64:
    return plain(x, weights)
  fast = by_phases if features >= 48 else by_rows
  return lax.platform_dependent(x, weights, cpu=fast, default=plain)


def sub_pixel_kernel(weights: Array | np.ndarray) -> Array | np.ndarray:
  """The 2x2 kernel [2, 2, C, 4 F] whose phases are the transposed convolution by `weights` [3, 3, C, F].

  `weights` are as PyTorch applies them: input i reaches output 2i - 1 + k through tap k. NumPy stays NumPy.
  """
  xp = np if isinstance(weights, np.ndarray) else jnp
  # Along one axis: even outputs see tap 1 of input i; odd ones tap 2 of input i and tap 0 of input i + 1.
  taps = ((1, None), (2, 0))  # taps[phase][offset of the input]
  none = xp.zeros(weights.shape[2:], weights.dtype)
  rows = []
  for row in range(2):
    columns = []
    for column in range(2):
      phases = []
      for a in range(2):
        for b in range(2):
          k, l = taps[a][row], taps[b][column]
          phases.append(none if k is None or l is None else weights[k, l])
      columns.append(xp.concatenate(phases, axis=-1))
    rows.append(xp.stack(columns))
  return xp.stack(rows)


class ResidualBlock(nn.Module):
  """x + norm(conv(dropout(relu(norm(conv(x)))))), as published."""

  features: int
  conv: ModuleDef = ConvBlock
  dropout_rate: float = 0.5

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    y = self.conv(self.features, name='conv1')(x, train=train)
    y = nn.Dropout(self.dropout_rate, deterministic=not train)(y)
    return x + self.conv(self.features, activation=None, name='conv2')(y, train=train)
