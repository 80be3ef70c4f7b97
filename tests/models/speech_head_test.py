"""The recurrence is that of its formulas, both ways, and the head sees the whole window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atvg_jax.models import speech_head


def test_gru_equals_torch():
  torch = pytest.importorskip('torch')
  x = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)
  net = speech_head.BiGru(4)
  params = net.init(jax.random.key(0), x)['params']
  params['recurrent_bias'] = jnp.asarray(np.random.default_rng(1).standard_normal((2, 1, 4)), jnp.float32)
  gru = torch.nn.GRU(5, 4, batch_first=True, bidirectional=True)
  for direction, suffix in enumerate(('', '_reverse')):
    part = slice(12 * direction, 12 * direction + 12)
    values = {
      'weight_ih_l0': np.asarray(params['input']['kernel'])[:, part].T,
      'bias_ih_l0': np.asarray(params['input']['bias'])[part],
      'weight_hh_l0': np.asarray(params['recurrent'])[direction].T,
      'bias_hh_l0': np.concatenate([np.zeros(8), np.asarray(params['recurrent_bias'])[direction, 0]]),
    }
    for name, value in values.items():
      getattr(gru, name + suffix).data = torch.tensor(np.ascontiguousarray(value, np.float32))
  with torch.no_grad():
    expected = gru(torch.tensor(x))[0].numpy()
  np.testing.assert_allclose(net.apply({'params': params}, x), expected, atol=1e-5)


def test_head_sees_the_whole_window_and_is_quiet_out_of_training():
  net = speech_head.SpeechHead(dense_features=8, recurrent_features=4)
  heard = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 10)), jnp.float32)
  example = jnp.zeros((2, 6))
  variables = net.init(jax.random.key(0), example, heard, train=False)

  def answer(heard, **options):
    if not options:
      return net.apply(variables, example, heard, train=False)['coefficients']
    return net.apply(variables, example, heard, train=True, mutable=['batch_stats'], **options)[0]['coefficients']

  gradient = jax.grad(lambda heard: answer(heard)[:, 3].sum())(heard)
  assert (np.abs(gradient).max(axis=(0, 2)) > 0).all()
  first, second = (answer(heard, rngs={'dropout': jax.random.key(seed)}) for seed in (1, 2))
  assert first.shape == (2, 6, 6) and not np.allclose(first, second)
