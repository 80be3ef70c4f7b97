"""Recurrences over time: a convolutional GRU and a stack of LSTMs.

What does not depend on the state is computed for all steps at once, before the scan.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from atvg_jax.models.convolutions import DIMENSIONS, convolve_3x3
from atvg_jax.models.layers import Array, Dtype, Initializer, weight_init

Recurrence = Literal['time', 'batch', 'none']


def patches(x: Array, kernel: int, dilation: int) -> Array:
  """[B, H, W, C] -> [B, H, W, kernel * kernel * C], zeros beyond the border, taps row by row."""
  height, width = x.shape[1:3]
  pad = dilation * (kernel // 2)
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  offsets = [dilation * k for k in range(kernel)]
  return jnp.concatenate([x[:, i : i + height, j : j + width] for i in offsets for j in offsets], axis=-1)


def gru_update(inputs: Array, hidden: Array, state: Array) -> Array:
  """One GRU step from both sides' sums [..., 3 F] (reset, update, new) and the state [..., F].

  new = tanh(inputs_n + reset * hidden_n), state <- (1 - update) * new + update * state (PyTorch's GRU).
  """
  input_gates, input_new = jnp.split(inputs, [2 * state.shape[-1]], axis=-1)
  hidden_gates, hidden_new = jnp.split(hidden, [2 * state.shape[-1]], axis=-1)
  reset, update = jnp.split(nn.sigmoid(input_gates + hidden_gates), 2, axis=-1)
  new = jnp.tanh(input_new + reset * hidden_new)
  return new + update * (state - new)


class ConvGru(nn.Module):
  """Convolutional GRU with the same dilated kernel on inputs and state.

  Attributes:
    features: channels of the state.
    kernel, dilation: of both convolutions.
    recurrence: 'time' runs over time; 'batch' runs over the batch with frames side by side, which is what the
      published code does to batch-first data; 'none' gives every frame a zero state.
    winograd: see `layers.LayerOptions`.
  """

  features: int
  kernel: int = 3
  dilation: int = 2
  recurrence: Recurrence = 'time'
  winograd: bool = True
  kernel_init: Initializer = weight_init(0.02)
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, carry: Array | None = None, *, train: bool = False) -> tuple[Array, Array]:
    """Runs over a window.

    Args:
      x: [B, T, H, W, C].
      carry: the state [B, H, W, features] after the frames before, None for a zero start. Only 'time' uses it.
      train: see `LayerOptions.winograd`.

    Returns:
      The states [B, T, H, W, features], and the last of them to carry on from (the carry as it came where
      the recurrence is not over time).
    """
    channels, dtype = x.shape[-1], self.dtype or x.dtype
    area, gates = (self.kernel, self.kernel), 3 * self.features
    zeros = nn.initializers.zeros
    input_kernel = self.param('input_kernel', self.kernel_init, (*area, channels, gates), self.param_dtype)
    hidden_kernel = self.param('hidden_kernel', self.kernel_init, (*area, self.features, gates), self.param_dtype)
    input_bias = self.param('input_bias', zeros, (gates,), self.param_dtype).astype(dtype)
    hidden_bias = self.param('hidden_bias', zeros, (gates,), self.param_dtype).astype(dtype)
    pictures = x.reshape(-1, *x.shape[2:]).astype(dtype)
    if self.kernel == 3:
      inputs = convolve_3x3(pictures, input_kernel.astype(dtype), self.dilation, fast=train and self.winograd)
    else:
      pad = self.dilation * (self.kernel // 2)
      inputs = lax.conv_general_dilated(
        pictures,
        input_kernel.astype(dtype),
        (1, 1),
        ((pad, pad), (pad, pad)),
        rhs_dilation=(self.dilation, self.dilation),
        dimension_numbers=DIMENSIONS,
      )
    inputs = (inputs + input_bias).reshape(*x.shape[:-1], gates)
    if carry is None:
      carry = jnp.zeros((x.shape[0], *x.shape[2:4], self.features), dtype)
    # A convolution in a scan has a very slow gradient on XLA's CPU; patches and a matmul do not.
    return self.scan(inputs, hidden_kernel.astype(dtype).reshape(-1, gates), hidden_bias, carry.astype(dtype))

  @nn.nowrap
  def scan(self, inputs: Array, hidden_matrix: Array, hidden_bias: Array, carry: Array) -> tuple[Array, Array]:
    """The steps of the recurrence, from what does not depend on the state.

    Args:
      inputs: the inputs' sums with their bias, [B, T, H, W, 3 F].
      hidden_matrix: the state's kernel as a matrix [kernel * kernel * F, 3 F], see `patches`.
      hidden_bias: [3 F].
      carry: as `__call__`, but not None.

    Returns:
      As `__call__`.
    """

    def step(state: Array, inputs: Array) -> tuple[Array, Array]:
      hidden = patches(state, self.kernel, self.dilation) @ hidden_matrix + hidden_bias
      state = gru_update(inputs, hidden, state)
      return state, state

    if self.recurrence == 'time':
      carry, states = lax.scan(step, carry, inputs.swapaxes(0, 1))
      return states.swapaxes(0, 1), carry
    if self.recurrence == 'batch':
      _, states = lax.scan(step, jnp.zeros((inputs.shape[1], *carry.shape[1:]), carry.dtype), inputs)
      return states, carry
    if self.recurrence == 'none':
      return gru_update(inputs, hidden_bias, jnp.zeros((*inputs.shape[:2], *carry.shape[1:]), carry.dtype)), carry
    raise ValueError(f"recurrence must be 'time', 'batch' or 'none', not {self.recurrence!r}")


def _uniform(features: int) -> Initializer:
  """PyTorch's initialiser of an LSTM, which the published nets leave as it is: U(-1, 1) / sqrt(features)."""
  bound = features**-0.5

  def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class Lstm(nn.Module):
  """A stack of LSTMs with gates in the order input, forget, new, output."""

  features: int
  layers: int = 3
  dtype: Dtype = None
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array, carry: Array | None = None) -> tuple[Array, Array]:
    """Runs over a window.

    Args:
      x: [B, T, C].
      carry: [layers, 2, B, features], state and cell of each layer after the frames before; None for zeros.

    Returns:
      The top layer's states [B, T, features] and the carry after the last frame.
    """
    dtype = self.dtype or x.dtype
    if carry is None:
      carry = jnp.zeros((self.layers, 2, x.shape[0], self.features), dtype)
    init = _uniform(self.features)
    x = x.swapaxes(0, 1).astype(dtype)  # [T, B, C]
    carries = []
    for layer in range(self.layers):
      gates = 4 * self.features
      input_kernel = self.param(f'input_kernel{layer}', init, (x.shape[-1], gates), self.param_dtype)
      hidden_kernel = self.param(f'hidden_kernel{layer}', init, (self.features, gates), self.param_dtype)
      bias = self.param(f'bias{layer}', nn.initializers.zeros, (gates,), self.param_dtype)
      hidden_kernel = hidden_kernel.astype(dtype)

      def step(state: tuple[Array, Array], inputs: Array, kernel: Array = hidden_kernel):
        hidden, cell = state
        i, f, g, o = jnp.split(inputs + hidden @ kernel, 4, axis=-1)
        cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
        hidden = nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

      inputs = x @ input_kernel.astype(dtype) + bias.astype(dtype)
      state, x = lax.scan(step, (carry[layer, 0].astype(dtype), carry[layer, 1].astype(dtype)), inputs)
      carries.append(jnp.stack(state))
    return x.swapaxes(0, 1), jnp.stack(carries)
