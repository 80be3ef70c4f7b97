"""Operations are counted as a pencil would, and in scans as often as they run."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from atvg_jax.runtime import flops

_X = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
_KERNEL = jax.ShapeDtypeStruct((3, 3, 3, 5), jnp.float32)


def _convolve(x, kernel, stride=1):
  return lax.conv_general_dilated(x, kernel, (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def test_products():
  a, b = jax.ShapeDtypeStruct((7, 4, 3), jnp.float32), jax.ShapeDtypeStruct((7, 3, 5), jnp.float32)
  assert flops.count(jnp.matmul, a, b) == 2 * 7 * 4 * 3 * 5


@pytest.mark.parametrize('stride', [1, 2])
def test_a_convolution_and_its_gradients_cost_the_same_each(stride):
  once = 2 * (2 * (8 // stride) ** 2 * 5) * (3 * 3 * 3)
  assert flops.count(lambda x, k: _convolve(x, k, stride), _X, _KERNEL) == once
  gradients = jax.grad(lambda x, k: jnp.sum(_convolve(x, k, stride) ** 2), (0, 1))
  assert flops.count(gradients, _X, _KERNEL) == pytest.approx(3 * once)


def test_a_scans_body_counts_as_often_as_it_runs_and_a_branch_once():
  def run(x):
    x, _ = lax.scan(lambda carry, _: (jax.checkpoint(jnp.matmul)(carry, carry), None), x, None, length=10)
    return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

  assert flops.count(run, jax.ShapeDtypeStruct((4, 4), jnp.float32)) == (10 + 2) * 2 * 4**3


def test_of_forms_for_platforms_that_of_the_platform_counts():
  def run(x):
    return lax.platform_dependent(x, tpu=lambda x: x @ x, cpu=lambda x: x @ x @ x @ x, default=lambda x: x @ x @ x)

  for platform, products in {'tpu': 1, 'cpu': 3, 'cuda': 2, '': 2}.items():
    assert flops.count(run, jax.ShapeDtypeStruct((4, 4), jnp.float32), platform=platform) == products * 2 * 4**3


def test_a_mapped_axis_counts_one_device():
  assert (
    flops.count(
      lambda x: lax.pmean(x @ x, 'batch'), jax.ShapeDtypeStruct((4, 4), jnp.float32), axis_sizes=(('batch', 8),)
    )
    == 2 * 4**3
  )


def test_the_machine_multiplies():
  assert flops.matmul_peak(size=64, seconds=0.01) > 1e6
