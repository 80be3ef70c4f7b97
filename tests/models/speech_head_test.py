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


def gated(coefficients, logits, samples):
  """`moved` of a head with a gate; `samples` [B, T, 640]."""
  outputs = {'coefficients': jnp.asarray(coefficients), 'speaking': jnp.asarray(logits)}
  return np.asarray(speech_head.moved(outputs, samples.reshape(len(samples), -1)))


def test_the_gate_rests_the_mouth_where_nobody_speaks():
  coefficients, samples = jnp.ones((2, 80, 3)), np.full((2, 80, 640), 0.01, np.float32)
  logits = np.full((2, 80), -9.0, np.float32)
  logits[:, 40:50] = 9
  samples[1, :10] = 0  # the second recording begins with the eleventh frame
  assert speech_head.moved({'coefficients': coefficients}, samples.reshape(2, -1)) is coefficients
  kept = gated(coefficients, logits, samples)
  assert kept.shape == coefficients.shape
  np.testing.assert_allclose(kept[:, 40:51], 1, atol=1e-3)  # and a frame after it, less what smoothes the edge
  np.testing.assert_allclose(kept[:, 55:], 0, atol=1e-3)
  np.testing.assert_allclose(kept[0, :35], 0, atol=1e-3)
  np.testing.assert_allclose(kept[1, :34], 1, atol=1e-3)  # the second after digital silence is exempt
  assert kept[0, 38, 0] == pytest.approx(1 / 3, abs=1e-3)


def test_little_movement_at_the_begin_is_no_breath():
  samples, logits = np.full((1, 40, 640), 0.01, np.float32), np.full((1, 40), -9.0, np.float32)
  samples[:, :10] = 0
  np.testing.assert_allclose(gated(np.full((1, 40, 3), 0.1, np.float32), logits, samples), 0, atol=5e-3)
  coefficients = np.full((1, 40, 3), 0.35, np.float32)
  kept = gated(coefficients, logits, samples)[0, :, 0]
  np.testing.assert_allclose(kept[10:34], 0.35, atol=0.03)  # a breath
  samples[:, 10:25] = 1e-4  # 40 dB below: what is heard there is no breath
  kept = gated(coefficients, logits, samples)[0, :, 0]
  assert (kept[11:24] < 0.02).all() and (kept[26:34] > 0.3).all()
  for size, moves in ((0.45, False), (0.8, True)):
    kept = gated(np.full((1, 40, 3), size, np.float32), logits, samples)[0, 11:24, 0]
    assert (kept > 0.75).all() if moves else (kept < 0.05).all()


def test_quiet_frames_rest_unless_it_is_sure_that_somebody_speaks():
  coefficients = np.ones((1, 60, 3), np.float32)
  samples, logits = np.full((1, 60, 640), 0.1, np.float32), np.full((1, 60), 5.0, np.float32)
  samples[:, 10:20] = 0.003  # 30 dB below
  samples[:, 30:35] = 0.003  # too short for a pause
  samples[:, 45:] = 0  # digital silence, as beside a recording
  kept = gated(coefficients, logits, samples)[0, :, 0]
  assert (kept[11:19] < 0.15).all() and (kept[:9] > 0.95).all() and (kept[21:] > 0.95).all()
  logits[:, 10:20] = 9  # soft speech after loud
  assert (gated(coefficients, logits, samples) > 0.95).all()
  samples[:, 10:20] = 0.006  # noise
  logits[:, 10:20] = 5
  assert (gated(coefficients, logits, samples) > 0.95).all()


def test_the_gate_looks_seven_frames_ahead_at_most():
  rng = np.random.default_rng(0)
  coefficients, logits = np.ones((1, 60, 3), np.float32), rng.normal(2, 3, (1, 60)).astype(np.float32)
  samples = (rng.standard_normal((1, 60, 640)) * np.repeat(10 ** rng.uniform(-3, -1, 10), 6)[:, None]).astype(
    np.float32
  )
  samples[:, 0] = 1  # the loudest is heard already
  answer = gated(coefficients, logits, samples)
  logits[:, 47:], samples[:, 47:] = -9, 1e-4
  np.testing.assert_allclose(gated(coefficients, logits, samples)[:, :40], answer[:, :40], atol=1e-6)


def test_a_head_with_a_gate_says_where_somebody_speaks():
  net = speech_head.SpeechHead(dense_features=8, recurrent_features=4, speech_gate=True)
  heard, example = jnp.ones((2, 6, 10)), jnp.zeros((2, 6))
  outputs, variables = net.init_with_output(jax.random.key(0), example, heard, train=False)
  assert outputs['speaking'].shape == (2, 6) and variables['params']['speaking']['kernel'].shape == (8 + 10, 1)
