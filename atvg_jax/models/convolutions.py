"""Convolutions and transposed convolutions as functions, by the algorithm that suits the machine.

Paddings are PyTorch's, so that published weights give published results.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from atvg_jax.models import winograd

Array = jax.Array

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
_MANY_CHANNELS = 128  # from which on Winograd's algorithm pays


def convolve_3x3(x: Array, weights: Array, dilation: int = 1, *, fast: bool) -> Array:
  """Convolution of stride 1 that keeps the size, [N, H, W, C] by [3, 3, C, F] -> [N, H, W, F].

  With `fast`, of many channels, it is Winograd's F(4x4, 3x3) on CPUs: more than twice as fast, forward and backward.
  Otherwise the direct sum, whose rounding is smaller; `fast_vg` is the fast way to generate.
  """

  def plain(x: Array, weights: Array) -> Array:
    sides, steps = ((dilation, dilation),) * 2, (dilation, dilation)
    return lax.conv_general_dilated(x, weights, (1, 1), sides, rhs_dilation=steps, dimension_numbers=DIMENSIONS)

  def by_winograd(x: Array, weights: Array) -> Array:
    return winograd.convolve_3x3(x, winograd.transform_kernel(weights, (4, 4)), dilation)

  if not fast or min(weights.shape[2:]) < _MANY_CHANNELS or dilation > 2:
    return plain(x, weights)
  # By where the program will run, which is not always where it is compiled.
  return lax.platform_dependent(x, weights, cpu=by_winograd, default=plain)


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


def up_convolve(x: Array, weights: Array, *, fast: bool) -> Array:
  """The transposed convolution of `layers.UpBlock`, [N, H, W, C] by [3, 3, C, F] -> [N, 2 H, 2 W, F]; `fast` too."""
  channels, features = weights.shape[2:]

  def plain(x: Array, weights: Array) -> Array:
    return depth_to_space(
      lax.conv_general_dilated(x, sub_pixel_kernel(weights), (1, 1), ((0, 1), (0, 1)), dimension_numbers=DIMENSIONS)
    )

  def by_phases(x: Array, weights: Array) -> Array:
    return winograd.up_convolve(x, winograd.transform_phases(weights, 2), 2)

  def by_rows(x: Array, weights: Array) -> Array:
    # Even rows of outputs depend on one row of inputs, odd ones on two.
    kernel, sides = sub_pixel_kernel(weights), (0, 1)
    even, odd = (
      lax.conv_general_dilated(x, part, (1, 1), pads, dimension_numbers=DIMENSIONS)
      for part, pads in (
        (kernel[:1, ..., : 2 * features], ((0, 0), sides)),
        (kernel[..., 2 * features :], (sides, sides)),
      )
    )
    return jnp.stack([even, odd], axis=2).reshape(x.shape[0], 2 * x.shape[1], 2 * x.shape[2], features)

  if not fast or channels < 64:
    return plain(x, weights)
  on_cpu = by_phases if features >= 48 else by_rows
  return lax.platform_dependent(x, weights, cpu=on_cpu, default=plain)


def sub_pixel_kernel(weights: winograd.Weights) -> winograd.Weights:
  """The 2x2 kernel [2, 2, C, 4 F] whose phases are the transposed convolution by `weights` [3, 3, C, F].

  `weights` are as PyTorch applies them: input i reaches output 2i - 1 + k through tap k. NumPy stays NumPy.
  """
  xp: Any = np if isinstance(weights, np.ndarray) else jnp
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
          tap_row, tap_column = taps[a][row], taps[b][column]
          phases.append(none if tap_row is None or tap_column is None else weights[tap_row, tap_column])
      columns.append(xp.concatenate(phases, axis=-1))
    rows.append(xp.stack(columns))
  return xp.stack(rows)
