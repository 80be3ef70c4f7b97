import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from atvg_jax.models import convolutions, layers, norms


def _normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_up_block_is_the_transposed_convolution():
  x = _normal(2, 5, 4, 3)
  block = layers.UpBlock(features=6, activation=None)
  variables = block.init(jax.random.key(0), x, train=False)
  kernel = variables['params']['kernel']
  # Its definition: the gradient of a stride-2 convolution, which is a convolution of the input with zeros between.
  expected = lax.conv_general_dilated(
    x, kernel[::-1, ::-1], (1, 1), ((1, 2), (1, 2)), lhs_dilation=(2, 2), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  assert expected.shape == (2, 10, 8, 6)
  np.testing.assert_allclose(block.apply(variables, x, train=False), expected, atol=1e-6)


@pytest.mark.parametrize(
  'block', [layers.ConvBlock(4, stride=2), layers.ConvBlock(4, 7, padding='reflect'), layers.UpBlock(4)]
)
def test_shared_channels_equal_channels_repeated_in_every_frame(block):
  x, shared = _normal(2, 3, 8, 8, 5), _normal(2, 8, 8, 2, seed=1)
  variables = block.init(jax.random.key(0), x, shared, train=False)
  repeated = jnp.broadcast_to(shared[:, None], (2, 3, 8, 8, 2))
  expected = block.apply(variables, jnp.concatenate([x, repeated], -1), train=False)
  np.testing.assert_allclose(block.apply(variables, x, shared, train=False), expected, atol=1e-6)


def test_batch_norm_by_frame_is_batch_norm_called_frame_by_frame():
  x = 2 + 3 * _normal(2, 4, 3, 3, 5)
  ours = norms.BatchNorm(over='frame')
  variables = ours.init(jax.random.key(0), x, train=True)
  y, updates = ours.apply(variables, x, train=True, mutable=['batch_stats'])
  linen = nn.BatchNorm(use_running_average=False, momentum=0.9)
  theirs, count = variables, 2 * 3 * 3
  for t in range(4):
    expected, state = linen.apply(theirs, x[:, t], mutable=['batch_stats'])
    np.testing.assert_allclose(y[:, t], expected, atol=1e-4)
    old, new = theirs['batch_stats']['var'], state['batch_stats']['var']
    unbiased = 0.9 * old + (new - 0.9 * old) * count / (count - 1)
    theirs = variables | {'batch_stats': {'mean': state['batch_stats']['mean'], 'var': unbiased}}
  for name in ('mean', 'var'):
    np.testing.assert_allclose(updates['batch_stats'][name], theirs['batch_stats'][name], rtol=1e-5)


def test_batch_norm_over_the_clip_takes_time_as_batch():
  x = _normal(2, 4, 3, 3, 5)
  clip, plain = norms.BatchNorm(over='clip'), norms.BatchNorm()
  variables = clip.init(jax.random.key(0), x, train=True)
  apply = functools.partial(plain.apply, variables, train=True, mutable=['batch_stats'])
  y, updates = clip.apply(variables, x, train=True, mutable=['batch_stats'])
  expected, expected_updates = apply(x.reshape(8, 3, 3, 5))
  np.testing.assert_allclose(y.reshape(8, 3, 3, 5), expected, atol=1e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), updates, expected_updates)


def test_batch_norm_over_an_axis_has_the_whole_batchs_statistics():
  x = 2 + _normal(4, 3, 3, 3, 5)
  one, many = norms.BatchNorm(), norms.BatchNorm(axis_name='batch')
  variables = one.init(jax.random.key(0), x, train=True)
  expected, expected_updates = one.apply(variables, x, train=True, mutable=['batch_stats'])
  apply = jax.vmap(lambda x: many.apply(variables, x, train=True, mutable=['batch_stats']), axis_name='batch')
  y, updates = apply(x.reshape(2, 2, 3, 3, 3, 5))
  np.testing.assert_allclose(y.reshape(expected.shape), expected, atol=1e-4)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-4), updates, expected_updates)


def test_group_norm_is_linens():
  x = 3 + _normal(2, 4, 6, 6, 16)
  ours = norms.GroupNorm(group_size=8)
  variables = ours.init(jax.random.key(0), x, train=False)
  linen = nn.GroupNorm(num_groups=2, epsilon=1e-5)
  expected = linen.apply(variables, x.reshape(8, 6, 6, 16)).reshape(x.shape)
  np.testing.assert_allclose(ours.apply(variables, x, train=True), expected, atol=1e-4)


def test_depth_to_space_sets_phases_row_by_row():
  x = jnp.arange(2 * 3 * 8, dtype=jnp.float32).reshape(1, 2, 3, 8)
  y = convolutions.depth_to_space(x)
  assert y.shape == (1, 4, 6, 2)
  np.testing.assert_array_equal(y[0, 3, 4], x[0, 1, 2, 4:6])
  np.testing.assert_array_equal(convolutions.depth_to_space(x, 1), x)
  np.testing.assert_array_equal(convolutions.space_to_depth(y), x)


def test_reflect_padding_mirrors_the_picture():
  x = _normal(1, 8, 8, 2)
  block = layers.ConvBlock(3, 7, padding='reflect', activation=None)
  variables = block.init(jax.random.key(0), x, train=False)
  padded = jnp.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)), mode='reflect')
  middle = layers.ConvBlock(3, 7, activation=None).apply(variables, padded, train=False)[:, 3:-3, 3:-3]
  np.testing.assert_allclose(block.apply(variables, x, train=False), middle, atol=1e-6)


def test_initial_values():
  key = jax.random.key(0)
  weights = layers.weight_init(0.02)(key, (3, 3, 64, 64), jnp.float32)
  np.testing.assert_allclose(weights.std(), 0.02, rtol=0.02)
  np.testing.assert_allclose(
    layers.weight_init(None)(key, (3, 3, 64, 64), jnp.float32).std(), (2 / 576) ** 0.5, rtol=0.02
  )
  np.testing.assert_allclose(norms.scale_init(key, (4096,)).mean(), 1, atol=1e-3)


def test_unknown_norm_is_refused():
  with pytest.raises(ValueError, match="'layer'"):
    norms.make_norm('layer')


@pytest.mark.parametrize(
  ('kind', 'channels', 'features'),
  [('3x3', 128, 128), ('3x3', 4, 4), ('dilated', 128, 128), ('up', 64, 48), ('up', 64, 8), ('up', 4, 4)],
)
def test_the_backends_algorithm_is_the_convolution_there_and_back(kind, channels, features):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 6, 6, channels)).astype(np.float32)
  weights = (rng.normal(size=(3, 3, channels, features)) / channels**0.5).astype(np.float32)
  dimensions = ('NHWC', 'HWIO', 'NHWC')
  rate = 2 if kind == 'dilated' else 1

  def direct(x, weights):
    if kind == 'up':  # zeros between the inputs
      return lax.conv_general_dilated(
        x, weights[::-1, ::-1], (1, 1), ((1, 2), (1, 2)), lhs_dilation=(2, 2), dimension_numbers=dimensions
      )
    return lax.conv_general_dilated(
      x, weights, (1, 1), ((rate, rate), (rate, rate)), rhs_dilation=(rate, rate), dimension_numbers=dimensions
    )

  fast = (
    functools.partial(convolutions.up_convolve, fast=True)
    if kind == 'up'
    else functools.partial(convolutions.convolve_3x3, dilation=rate, fast=True)
  )

  def there_and_back(function, x, weights):
    y, back = jax.vjp(function, x, weights)
    return y, *back(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

  got, want = (jax.jit(functools.partial(there_and_back, function))(x, weights) for function in (fast, direct))
  for ours, true in zip(got, want, strict=True):
    np.testing.assert_allclose(ours, true, atol=1e-4)


@pytest.mark.parametrize('rate', [0.5, 0.25, 3 / 256, 0.3])  # by 1, 2, 8 and 32 bits a value
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
  x = jnp.ones((3, 7, 1001))  # no multiple of 32
  first, again, other = (layers.dropout(x, rate, jax.random.key(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert set(np.unique(first)) == {0, np.float32(1 / (1 - rate))}
  share = float((first == 0).mean())
  assert share == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / x.size))
  both = float(((first == 0) & (other == 0)).mean())  # keys are independent, and so are places
  neighbours = float(((first == 0)[..., 1:] & (first == 0)[..., :-1]).mean())
  assert both == pytest.approx(rate**2, abs=0.01) and neighbours == pytest.approx(rate**2, abs=0.01)
