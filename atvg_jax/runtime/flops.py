"""Floating-point operations (FLOPs) of a function's matrix products and convolutions, and a device's peak of them."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jax_core


def count(
  function: Callable[..., Any], *arguments: Any, axis_sizes: tuple[tuple[str, int], ...] = (), platform: str = ''
) -> float:
  """Multiplications and additions of the matrix products and convolutions that one call runs.

  Counted on the jaxpr, so that a scan's body counts as often as it runs (XLA's own cost analysis counts it once).
  What rematerialisation computes again counts; elementwise operations do not.

  Args:
    function: traceable.
    arguments: arrays or `jax.ShapeDtypeStruct`s.
    axis_sizes: (name, size) of the mapped axes that the function uses; the count is one device's.
    platform: such as 'tpu': where the function has forms for platforms (`lax.platform_dependent`), that one counts;
      else, and where there is none, the form for all others does.
  """
  return _count(jax.make_jaxpr(function, axis_env=list(axis_sizes))(*arguments).jaxpr, platform)


def _count(jaxpr: Any, platform: str) -> float:
  total = 0.0
  for equation in jaxpr.eqns:
    primitive, params = equation.primitive.name, equation.params
    if primitive == 'dot_general':
      (contracted, _), _ = params['dimension_numbers']
      left = equation.invars[0].aval.shape
      total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    elif primitive == 'conv_general_dilated':
      total += _convolution(equation)
    elif primitive == 'cond':
      counts = [_count(branch.jaxpr, platform) for branch in params['branches']]
      total += max(counts) if params.get('branches_platforms') is None else counts[_form(params, platform)]
    else:
      inner = sum(_count(sub, platform) for sub in jax_core.jaxprs_in_params(params))
      total += inner * (params['length'] if primitive == 'scan' else 1)
  return total


def _form(params: dict[str, Any], platform: str) -> int:
  """Which branch of a condition on platforms is run; None is that of all others."""
  forms = list(params['branches_platforms'])
  named = (number for number, names in enumerate(forms) if names and platform in names)
  return next(named, forms.index(None) if None in forms else 0)


def _convolution(equation: Any) -> float:
  """Each output is a sum over the kernel's area and input channels; zeros of a gradient's dilated input are free."""
  kernel, numbers = equation.invars[1].aval.shape, equation.params['dimension_numbers'].rhs_spec
  products = math.prod(kernel[axis] for axis in numbers[1:])
  return 2 * math.prod(equation.outvars[0].aval.shape) * products / math.prod(equation.params['lhs_dilation'])


def matmul_peak(dtype: Any = jnp.float32, *, size: int | None = None, seconds: float = 0.3) -> float:
  """The peak rate of square matrix products on one local device [operations a second], measured.

  Args:
    dtype: of the matrices.
    size: their side; by default 1024 on a CPU and 8192 on an accelerator.
    seconds: how long to measure; the fastest product counts.
  """
  device = jax.local_devices()[0]
  if size is None:
    size = 1024 if device.platform == 'cpu' else 8192
  with jax.default_device(device):
    left = jnp.ones((size, size), dtype)
    multiply = jax.jit(lambda left: left @ left * jnp.asarray(1 / size, dtype))
    jax.block_until_ready(multiply(left))
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
      start = time.perf_counter()
      jax.block_until_ready(multiply(multiply(left)))
      best = min(best, (time.perf_counter() - start) / 2)
  return 2 * size**3 / best
