"""The program for generation draws what `VgNet.apply(train=False)` draws, by every algorithm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atvg_jax import models
from atvg_jax.models import fast_vg, folded_layers, norms, recurrent, winograd

# Channels on both sides of every limit at which an algorithm is chosen.
_NET = {
  'encoder_features': (8, 16, 64),
  'deep_features': (16, 64),
  'landmark_features': (64, 64),
  'landmark_attention_features': (64, 64),
  'bottleneck_features': 64,
  'recurrent_features': 64,
  'residual_blocks': 2,
  'decoder_features': (64, 64),
  'upsample_features': (64, 16),
  'init_stddev': None,
}


def _numbers(rng, path, shape):
  """Weights that show every mistake: no norm's scale, shift, mean or variance is that of its start."""
  name = path[-1].key
  if name in ('scale', 'var'):
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  fan_in = max(1, int(np.prod(shape[:-1])))
  return (rng.normal(size=shape) * (0.2 if len(shape) == 1 else fan_in**-0.5)).astype(np.float32)


def _inputs(batch=2, time=4, size=32):
  rng = np.random.default_rng(1)
  return (
    rng.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32),
    (0.4 * rng.normal(size=(batch, 136))).astype(np.float32),
    (0.4 * rng.normal(size=(batch, time, 136))).astype(np.float32),
  )


def _made(net, inputs):
  shapes = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), *inputs)
  rng = np.random.default_rng(0)
  return jax.tree.map_with_path(lambda path, leaf: _numbers(rng, path, leaf.shape), shapes)


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
@pytest.mark.parametrize(
  'options',
  [
    {},
    {
      'norm': 'group',
      'landmark_maps': True,
      'skip': True,
      'upsample_features': (16,),
      'head_kernel': 3,
    },
    {'landmark_maps': True, 'skip': True},
    {
      'norm': 'group',
      'landmark_maps': True,
      'skip': True,
      'upsample_features': (16,),
      'head_kernel': 3,
      'warp': True,
    },
    {'warp': True},
    {'norm': 'none', 'attention': False, 'skip': True, 'upsample_features': ()},
    {'recurrence': 'batch'},
    {'recurrence': 'none', 'landmark_maps': True},
  ],
)
def test_equals_the_net(backend, options):
  net = models.make_net({'task': 'vg', 'model': _NET | options, 'dtype': 'float32'})
  image, example, landmarks = inputs = _inputs()
  variables = _made(net, inputs)
  want = jax.jit(functools.partial(net.apply, train=False))(variables, *inputs)
  prepared = fast_vg.prepare(net, variables, backend)
  shared = jax.jit(functools.partial(fast_vg.start, net))(prepared, image, example)
  draw = jax.jit(functools.partial(fast_vg.draw, net))
  got = draw(prepared, shared, landmarks, fast_vg.zero_carry(net, 2, 32, 32))
  assert got.keys() == want.keys()
  for name, value in want.items():
    np.testing.assert_allclose(got[name], value, atol=1e-4, err_msg=name)
  assert np.std(want['video'] - image[:, None]) > 0.1  # there was something to compare
  # Windows carry the state.
  carry, frames = fast_vg.zero_carry(net, 2, 32, 32), []
  for window in (landmarks[:, :2], landmarks[:, 2:]):
    outputs = draw(prepared, shared, window, carry)
    carry = outputs['carry']
    frames.append(outputs['video'])
  np.testing.assert_allclose(np.concatenate(frames, axis=1), want['video'], atol=1e-4)


@pytest.mark.parametrize('dilation', [1, 2])
def test_a_folded_recurrence_of_any_dilation_is_the_net(dilation):
  net = recurrent.ConvGru(64, dilation=dilation, dtype=jnp.float32)
  inputs = (np.random.default_rng(1).normal(size=(2, 3, 8, 8, 64)).astype(np.float32), None)
  variables = _made(net, inputs)
  weights = folded_layers.fold_net(net, variables, 'cpu', *inputs)
  assert list(weights.layers) == [''] and weights.layers[''].inputs.algorithm == 'winograd'
  for got, want in zip(
    folded_layers.apply_net(net, weights, inputs[0], jnp.zeros((2, 8, 8, 64))),
    net.apply(variables, *inputs),
    strict=True,
  ):
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize('recurrence', ['time', 'batch'])
def test_frames_that_are_their_own_examples_are_one_clip(recurrence):
  options = {'landmark_maps': True, 'skip': True, 'warp': True, 'recurrence': recurrence}
  net = models.make_net({'task': 'vg', 'model': _NET | options, 'dtype': 'float32'})
  inputs = images, examples, landmarks = _inputs(batch=4, time=1)
  variables = _made(net, inputs)
  prepared = fast_vg.prepare(net, variables)
  shared = jax.jit(functools.partial(fast_vg.start, net))(prepared, images, examples)
  draw = jax.jit(functools.partial(fast_vg.draw, net, chained=True))
  got = draw(prepared, shared, landmarks, fast_vg.zero_carry(net, 1, 32, 32))
  apply, carry = jax.jit(functools.partial(net.apply, train=False)), fast_vg.zero_carry(net, 1, 32, 32)
  for index in range(4):
    one = slice(index, index + 1)
    want = apply(variables, images[one], examples[one], landmarks[one], carry=carry)
    carry = want['carry']
    np.testing.assert_allclose(got['video'][one], want['video'], atol=1e-4)
  np.testing.assert_allclose(got['carry'], carry, atol=1e-4)


def test_algorithms_are_chosen_by_backend_and_shape():
  assert folded_layers.choose('cpu', (3, 3, 512, 512)) == 'winograd'
  assert folded_layers.choose('cpu', (3, 3, 116, 48), up=True) == 'winograd'
  assert folded_layers.choose('cpu', (3, 3, 64, 16)) == folded_layers.choose('cpu', (7, 7, 64, 16)) == 'rows'
  assert folded_layers.choose('gpu', (3, 3, 512, 512)) == 'direct'
  assert folded_layers.choose('cpu', (3, 3, 512, 512), stride=2) == 'direct'


@pytest.mark.parametrize(('tile', 'taps'), [((2, 2), (3, 3)), ((4, 4), (3, 3)), ((4, 1), (2, 1)), ((6, 4), (3, 2))])
def test_winograd_is_the_convolution(tile, taps):
  rng = np.random.default_rng(0)
  x, weights = rng.normal(size=(2, 7, 9, 5)).astype(np.float32), rng.normal(size=(*taps, 5, 3)).astype(np.float32)
  padding = ((1, 1), (0, 2))
  want = jax.lax.conv_general_dilated(x, weights, (1, 1), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  for kernel in (winograd.transform_kernel(weights, tile), winograd.transform_kernel(jnp.asarray(weights), tile)):
    got = winograd.convolve(jnp.asarray(x), kernel, tile, taps, padding)
    np.testing.assert_allclose(got, want, atol=2e-4)


def test_phases_come_together_again():
  x = jnp.arange(2 * 4 * 6 * 3, dtype=jnp.float32).reshape(2, 4, 6, 3)
  phases = winograd.split_phases(x)
  np.testing.assert_array_equal(phases[1], x[0, 0::2, 1::2])
  np.testing.assert_array_equal(winograd.join_phases(phases), x)


def test_group_norm_is_that_of_the_layer():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 16)), jnp.float32)
  norm = norms.GroupNorm()
  variables = norm.init(jax.random.key(0), x, train=False)
  scale, bias = (variables['params'][name] for name in ('scale', 'bias'))
  np.testing.assert_array_equal(norms.group_normalise(x, scale, bias), norm.apply(variables, x, train=False))
