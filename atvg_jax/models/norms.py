"""Norms that know about time: batch norm frame by frame or over the clip, and group norm.

Pictures are [B, H, W, C] or, with time, [B, T, H, W, C]; a fifth axis is always time.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

Array = jax.Array
Dtype = Any
ModuleDef = Any
NormKind = Literal['batch', 'group', 'none']


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
    """[B, (T,) H, W, C] -> the same shape; `train`: by the batch's statistics, which the running ones follow."""
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
    """[..., H, W, C] -> the same shape; the same in training."""
    del train
    features = x.shape[-1]
    scale = self.param('scale', scale_init, (features,), self.param_dtype)
    bias = self.param('bias', nn.initializers.zeros, (features,), self.param_dtype)
    return group_normalise(x.astype(self.dtype or x.dtype), scale, bias, self.group_size, self.epsilon)


def group_normalise(
  x: Array, scale: Array | np.ndarray, bias: Array | np.ndarray, group_size: int = 8, epsilon: float = 1e-5
) -> Array:
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
