"""Ways to take a step: in parts, against D as it was, with D ahead, in bfloat16, rematerialised, or not at all."""

import jax
import numpy as np
import pytest
import synthetic

from atvg_jax.runtime import flops, parallel, rng
from atvg_jax.runtime.parallel import AXIS
from atvg_jax.train import losses
from atvg_jax.train.task import SKIPPED, skipping_nonfinite
from atvg_jax.train.tasks import make_task, vg_task
from data_pipelines import features


def _step(name, *, wrap=lambda step: step, poison=False, **fields):
  """One step of a smoke config → (config, batch, state before, state after, metrics)."""
  config = synthetic.config(name, data__window=2, **fields)
  task = make_task(config, synthetic.basis())
  before = jax.tree.map(np.asarray, jax.jit(task.init)(rng.stream_key(0, 'init')))
  batch = {name: array for name, array in synthetic.batch(0, config).items() if name != features.CLIP_ID}
  if poison:
    batch[features.LANDMARKS][0, 0, 100] = np.nan
  placed = parallel.replicate(before)
  after, metrics = parallel.pmap_train_step(wrap(task.train_step))(placed, parallel.shard_batch(batch))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(placed)), 'the state passed in is used up'
  return config, batch, before, after, {name: float(value) for name, value in metrics.items()}


def _largest_difference(left, right):
  def difference(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())

  return max(jax.tree.leaves(jax.tree.map(difference, left, right)))


def test_a_batch_in_two_parts_is_the_whole_batch():
  """Nets without batch norm and dropout: the average over parts is the average over clips."""
  whole, parts = (
    _step('at_grid', accumulate=parts, data__batch_size=4, optimizer__clip_norm=1.0, model__norm='group')
    for parts in (1, 2)
  )
  assert parts[4] == pytest.approx(whole[4], rel=1e-5)
  assert _largest_difference(parts[3].g_params, whole[3].g_params) < 1e-6


def test_both_nets_learn_in_parts_and_statistics_go_on_from_part_to_part():
  _, _, before, after, metrics = _step('vg_grid', accumulate=2, d_steps=2, model__dropout_rate=0.0)
  assert all(np.isfinite(value) for value in metrics.values())
  assert int(after.d_opt_state[1][0].count) == 2 and int(after.g_opt_state[1][0].count) == 1
  for name in ('g_params', 'd_params', 'g_batch_stats', 'd_batch_stats'):
    assert _largest_difference(getattr(after, name), getattr(before, name)) > 0, name
  # Momentum 0.9, variances near 0 in this layer, and six passes: D's two steps draw in two parts each, G's one too.
  np.testing.assert_allclose(after.g_batch_stats['stem']['norm']['var'], 0.9**6, atol=0.02)


def test_what_all_passes_of_a_step_have_in_common_is_computed_once_and_counts_for_all(monkeypatch):
  """Layers before the first dropout, with batch norm, whose statistics move as in D's two passes and G's one."""
  shared = _step('vg_grid', d_steps=2)
  monkeypatch.setattr(vg_task.VgTask, '_start', lambda self, state, batch: (state, None))
  apart = _step('vg_grid', d_steps=2)
  assert shared[4] == pytest.approx(apart[4], rel=1e-4)
  for name in ('g_opt_state', 'd_opt_state'):  # the gradients' means: parameters move by the gradients' signs
    assert _largest_difference(getattr(shared[3], name), getattr(apart[3], name)) < 1e-4, name
  # Some norms see the example and then the frames, in every pass: the order of their statistics counts.
  for found, wanted in zip(*(jax.tree.leaves(step[3].g_batch_stats) for step in (shared, apart)), strict=True):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_at_once_both_learn_against_the_other_as_it_was():
  published, once = (
    _step('vg_grid', simultaneous=simultaneous, model__dropout_rate=0.0) for simultaneous in (False, True)
  )
  # Without dropout both orders draw the same frames, so D learns the same; G is judged by D before its update.
  for name in ('d_loss', 'd_grad_norm', 'g_pixel_loss'):
    assert once[4][name] == pytest.approx(published[4][name], rel=1e-4), name
  judged = _judged_by_the_old(once)
  assert once[4]['g_adversarial_loss'] == pytest.approx(judged, rel=1e-6)
  assert published[4]['g_adversarial_loss'] != pytest.approx(judged, rel=1e-5)
  assert _largest_difference(once[3].d_params, published[3].d_params) < 1e-5


def _judged_by_the_old(step):
  from atvg_jax.models import make_net
  from atvg_jax.models.discriminator import RegressionDiscriminator

  config, batch, before, _, _ = step
  image = batch['example_image'].astype(np.float32) / 127.5 - 1

  @jax.jit
  def logits(g_params, d_params):
    outputs, _ = make_net(config).apply(
      {'params': g_params, 'batch_stats': before.g_batch_stats},
      image,
      batch['example_landmarks'],
      batch['landmarks'],
      train=True,
      mutable=['batch_stats'],
      rngs={'dropout': jax.random.key(0)},
    )
    judged, _ = RegressionDiscriminator(**config.discriminator).apply(
      {'params': d_params, 'batch_stats': before.d_batch_stats},
      outputs['video'],
      batch['example_landmarks'],
      train=True,
      mutable=['batch_stats'],
    )
    return judged['logits']

  return float(losses.bce_with_logits(logits(before.g_params, before.d_params), 1.0))


@pytest.fixture(scope='module')
def plain():
  """A generator's step with dropout."""
  return _step('vg_grid', discriminator=None, ema_decay=0.9)


def test_what_is_computed_again_is_the_same(plain):
  again = _step('vg_grid', discriminator=None, ema_decay=0.9, remat=True)
  assert again[4] == pytest.approx(plain[4], rel=1e-5)
  assert _largest_difference(again[3].g_batch_stats, plain[3].g_batch_stats) < 1e-5
  assert _largest_difference(again[3].g_ema_params, plain[3].g_ema_params) < 1e-5


def test_bfloat16_computes_and_float32_keeps(plain):
  narrow = _step('vg_grid', discriminator=None, ema_decay=0.9, dtype='bfloat16')
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(narrow[3])} == {'float32', 'int32'}
  assert narrow[4]['g_loss'] == pytest.approx(plain[4]['g_loss'], rel=0.02)
  assert narrow[4]['g_loss'] != plain[4]['g_loss']
  assert _largest_difference(narrow[3].g_batch_stats, plain[3].g_batch_stats) < 0.02


def test_a_step_that_is_not_finite_is_left_out_on_the_device():
  _, _, before, after, metrics = _step('at_grid', wrap=skipping_nonfinite, poison=True, ema_decay=0.9)
  assert metrics[SKIPPED] == 1 and np.isnan(metrics['g_loss'])
  assert int(after.step) == 1
  assert _largest_difference(after.replace(step=before.step), before) == 0
  _, _, before, after, metrics = _step('at_grid', wrap=skipping_nonfinite, ema_decay=0.9)
  assert metrics[SKIPPED] == 0 and _largest_difference(after.g_params, before.g_params) > 0


def test_rematerialising_costs_operations():
  config = synthetic.config('vg_grid', data__window=2, discriminator=None)
  counts = []
  for remat in (False, True):
    task = make_task(synthetic.config('vg_grid', data__window=2, discriminator=None, remat=remat), None)
    state = jax.eval_shape(task.init, rng.stream_key(0, 'init'))
    batch = {name: array for name, array in synthetic.batch(0, config).items() if name != features.CLIP_ID}
    counts.append(flops.count(task.train_step, state, batch, axis_sizes=((AXIS, 1),)))
  assert counts[0] < counts[1] < 4 / 3 * counts[0]
