import functools

import golden_recipe as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atvg_jax.models import recurrent


def _normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope='module')
def gru():
  x = _normal(2, 5, 6, 6, 3)
  net = recurrent.ConvGru(4, kernel_init=jax.nn.initializers.normal(0.3))
  params = net.init(jax.random.key(0), x)['params']
  biases = {name: _normal(12, seed=7 + len(name)) for name in ('input_bias', 'hidden_bias')}
  return net, {'params': params | biases}, x


def _convolve(x, kernel, dilation=2):
  """A dilated convolution by its definition."""
  height, width = x.shape[1:3]
  x = np.pad(x, ((0, 0), (dilation, dilation), (dilation, dilation), (0, 0)))
  return sum(
    x[:, i * dilation : i * dilation + height, j * dilation : j * dilation + width] @ kernel[i, j]
    for i in range(3)
    for j in range(3)
  )


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))


def _gru_loop(params, x, state):
  """The cell, frame by frame, from its published equations."""
  params = jax.tree.map(np.asarray, params)
  states, n = [], state.shape[-1]
  for t in range(x.shape[1]):
    sums = _convolve(x[:, t], params['input_kernel']) + params['input_bias']
    hidden = _convolve(state, params['hidden_kernel']) + params['hidden_bias']
    reset = _sigmoid(sums[..., :n] + hidden[..., :n])
    update = _sigmoid(sums[..., n : 2 * n] + hidden[..., n : 2 * n])
    new = np.tanh(sums[..., 2 * n :] + reset * hidden[..., 2 * n :])
    state = (1 - update) * new + update * state
    states.append(state)
  return np.stack(states, axis=1)


def test_conv_gru_over_time_is_a_loop_over_the_cell(gru):
  net, variables, x = gru
  states, carry = net.apply(variables, x)
  expected = _gru_loop(variables['params'], np.asarray(x), np.zeros((2, 6, 6, 4), np.float32))
  np.testing.assert_allclose(states, expected, atol=1e-5)
  np.testing.assert_array_equal(carry, states[:, -1])


def test_conv_gru_of_published_widths_is_a_loop_over_the_cell():
  weights = golden.state_dict('vg_net', 'convGRU')
  params = {
    f'{ours}_{kind}': weights[f'convGRU.{theirs}_l0']
    for ours, side in (('input', 'ih'), ('hidden', 'hh'))
    for kind, theirs in (('kernel', f'weight_{side}'), ('bias', f'bias_{side}'))
  }
  params = {name: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for name, value in params.items()}
  x = np.asarray(_normal(1, 4, 8, 8, 128))
  apply = jax.jit(functools.partial(recurrent.ConvGru(512).apply, {'params': params}))
  states, last = apply(x)
  expected = _gru_loop(params, x, np.zeros((1, 8, 8, 512), np.float32))
  np.testing.assert_allclose(states, expected, atol=1e-5)
  first, carry = apply(x[:, :2])
  second, carry = apply(x[:, 2:], carry)
  np.testing.assert_allclose(np.concatenate([first, second], 1), states, atol=1e-5)
  np.testing.assert_allclose(carry, last, atol=1e-5)


def test_each_frame_changes_all_later_frames_and_no_earlier_one(gru):
  net, variables, x = gru
  states, _ = net.apply(variables, x)
  for changed in (0, 2):
    others, _ = net.apply(variables, x.at[:, changed].add(1))
    by_frame = np.abs(others - states).max(axis=(0, 2, 3, 4))
    assert (by_frame[:changed] == 0).all()
    assert (by_frame[changed:] > 1e-4).all()


def test_conv_gru_in_windows_equals_the_whole(gru):
  net, variables, x = gru
  whole, last = net.apply(variables, x)
  first, carry = net.apply(variables, x[:, :2])
  second, carry = net.apply(variables, x[:, 2:], carry)
  np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=1e-5)
  np.testing.assert_allclose(carry, last, atol=1e-5)


def test_recurrence_over_the_batch_is_the_one_over_time_with_axes_exchanged(gru):
  net, variables, x = gru
  states, _ = net.clone(recurrence='batch').apply(variables, x)
  expected, _ = net.apply(variables, x.swapaxes(0, 1))
  np.testing.assert_allclose(states, expected.swapaxes(0, 1), atol=1e-6)


def test_no_recurrence_gives_each_frame_the_first_frames_answer(gru):
  net, variables, x = gru
  states, _ = net.clone(recurrence='none').apply(variables, x)
  for t in range(5):
    np.testing.assert_allclose(states[:, t], net.apply(variables, x[:, t : t + 1])[0][:, 0], atol=1e-6)


def test_unknown_recurrence_is_refused(gru):
  net, variables, x = gru
  with pytest.raises(ValueError, match="'space'"):
    net.clone(recurrence='space').apply(variables, x)


def test_lstm_is_a_loop_over_its_cells():
  x = _normal(2, 4, 3)
  net = recurrent.Lstm(5, layers=2)
  variables = net.init(jax.random.key(0), x)
  outputs, carry = net.apply(variables, x)
  params, inputs = jax.tree.map(np.asarray, variables['params']), np.asarray(x)
  for layer in range(2):
    hidden = cell = np.zeros((2, 5))
    states = []
    for t in range(4):
      sums = inputs[:, t] @ params[f'input_kernel{layer}'] + hidden @ params[f'hidden_kernel{layer}']
      i, f, g, o = np.split(sums + params[f'bias{layer}'], 4, axis=-1)
      cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
      hidden = _sigmoid(o) * np.tanh(cell)
      states.append(hidden)
    inputs = np.stack(states, axis=1)
    np.testing.assert_allclose(carry[layer], np.stack([hidden, cell]), atol=1e-5)
  np.testing.assert_allclose(outputs, inputs, atol=1e-5)


def test_lstm_in_windows_equals_the_whole():
  x = _normal(2, 6, 3)
  net = recurrent.Lstm(5)
  variables = net.init(jax.random.key(0), x)
  whole, _ = net.apply(variables, x)
  first, carry = net.apply(variables, x[:, :4])
  second, _ = net.apply(variables, x[:, 4:], carry)
  np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=1e-6)
