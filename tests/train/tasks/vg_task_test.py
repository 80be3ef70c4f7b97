"""VG-net's game: D is updated before G learns from it, terms have their weights, the still frame is scored beside."""

import jax
import numpy as np
import pytest
import synthetic

from atvg_jax import models
from atvg_jax.models import discriminator, mouth_sheets
from atvg_jax.runtime import parallel, rng
from atvg_jax.train import losses
from atvg_jax.train.tasks import vg_task
from data_pipelines import features


def _setting(**fields):
  config = synthetic.config('vg_grid', data__window=2, model__dropout_rate=0.0, **fields)
  task = vg_task.make(config)
  state = jax.jit(task.init)(rng.stream_key(0, 'init'))
  batch = synthetic.batch(0, config)
  del batch[features.CLIP_ID]
  return config, task, state, batch


@pytest.fixture(scope='module')
def stepped():
  """(config, batch, state before, state after, metrics) of one step against the discriminator."""
  config, task, state, batch = _setting(loss__gradient=2.0, loss__mouth_weight=3.0, loss__inside=0.5)
  before = jax.tree.map(np.asarray, state)
  after, metrics = parallel.pmap_train_step(task.train_step)(parallel.replicate(before), parallel.shard_batch(batch))
  return config, batch, before, after, {name: float(value) for name, value in metrics.items()}


def _float(images):
  return images.astype(np.float32) / 127.5 - 1


def _generate(config, state, batch):
  net = models.make_net(config)
  outputs, _ = jax.jit(
    lambda *inputs: net.apply(*inputs, train=True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(0)})
  )(
    {'params': state.g_params, 'batch_stats': state.g_batch_stats},
    _float(batch['example_image']),
    batch['example_landmarks'],
    batch['landmarks'],
  )
  return outputs


def _discriminate(config, params, batch_stats, video, batch):
  net = discriminator.RegressionDiscriminator(**config.discriminator)
  outputs, updates = jax.jit(lambda *inputs: net.apply(*inputs, train=True, mutable=['batch_stats']))(
    {'params': params, 'batch_stats': batch_stats}, video, batch['example_landmarks']
  )
  return outputs, updates['batch_stats']


def test_d_learns_first_and_g_learns_from_the_updated_d(stepped):
  config, batch, before, after, terms = stepped
  outputs = _generate(config, before, batch)
  real, statistics = _discriminate(config, before.d_params, before.d_batch_stats, _float(batch['video']), batch)
  fake, statistics = _discriminate(config, before.d_params, statistics, outputs['video'], batch)
  assert terms['d_real_loss'] == pytest.approx(float(losses.bce_with_logits(real['logits'], 1)), rel=1e-4)
  assert terms['d_fake_loss'] == pytest.approx(float(losses.bce_with_logits(fake['logits'], 0)), rel=1e-4)
  assert terms['d_landmark_real_loss'] == pytest.approx(
    float(losses.landmark_loss(real['landmarks'], batch['landmarks'])), rel=1e-4
  )

  judged, _ = _discriminate(config, after.d_params, statistics, outputs['video'], batch)
  stale, _ = _discriminate(config, before.d_params, statistics, outputs['video'], batch)
  landmark_loss = float(losses.landmark_loss(judged['landmarks'], batch['landmarks']))
  assert terms['g_landmark_loss'] == pytest.approx(landmark_loss, rel=1e-5)
  assert landmark_loss != pytest.approx(float(losses.landmark_loss(stale['landmarks'], batch['landmarks'])), rel=1e-5)
  assert terms['g_adversarial_loss'] == pytest.approx(float(losses.bce_with_logits(judged['logits'], 1)), rel=1e-4)


def test_the_terms_are_summed_with_their_weights(stepped):
  config, batch, before, _, terms = stepped
  outputs, real = _generate(config, before, batch), _float(batch['video'])
  weight = losses.mouth_weight(batch['landmarks'], 32, 3.0) + 0.5 * 3.0 * mouth_sheets.hole(batch['landmarks'], 32)
  assert terms['g_pixel_loss'] == pytest.approx(
    float(losses.dynamic_pixel_loss(outputs['video'], real, outputs['attention'], weight)), rel=1e-4
  )
  assert terms['g_gradient_loss'] == pytest.approx(
    float(losses.gradient_loss(outputs['video'], real, weight)), rel=1e-4
  )
  assert terms['g_loss'] == pytest.approx(
    10 * terms['g_pixel_loss'] + 2 * terms['g_gradient_loss'] + terms['g_adversarial_loss'] + terms['g_landmark_loss'],
    rel=1e-5,
  )


def test_everything_that_should_moves(stepped):
  _, _, before, after, _ = stepped
  for name in ('g_params', 'd_params', 'g_batch_stats', 'd_batch_stats'):
    changes = jax.tree.map(
      lambda a, b: float(np.abs(np.asarray(a) - b).max()), getattr(after, name), getattr(before, name)
    )
    assert np.mean([change > 0 for change in jax.tree.leaves(changes)]) > 0.9, name
  assert int(after.step) == 1


def test_without_a_discriminator_there_is_none():
  _, task, state, batch = _setting(discriminator=None)
  assert state.d_params is None and state.d_opt_state is None
  state, metrics = parallel.pmap_train_step(task.train_step)(parallel.replicate(state), parallel.shard_batch(batch))
  assert set(metrics) == {'g_pixel_loss', 'g_loss', 'g_grad_norm'}
  assert state.d_params is None


def test_the_still_frame_is_scored_beside_and_padding_is_not():
  _config, task, state, batch = _setting(discriminator=None)
  eval_step, state = parallel.pmap_eval_step(task.eval_step), parallel.replicate(state)
  batch['video'][0] = batch['example_image'][0]  # a face that does not move: the still picture is perfect
  batch['mask'][1] = 0
  sums = eval_step(state, parallel.shard_batch(batch))
  scores = {name: float(total / count) for name, (total, count) in sums.items()}
  assert scores['ssim_still'] == pytest.approx(1, abs=1e-3) and scores['ssim_mouth_still'] == pytest.approx(1, abs=1e-3)
  assert scores['ssim'] < 0.9 and scores['psnr'] < scores['psnr_still']
  assert {name.removesuffix('_still') for name in scores if name.endswith('_still')} == {
    'psnr',
    'psnr_mouth',
    'ssim',
    'ssim_mouth',
  }
  sample = jax.jit(task.sample_step)(state, batch)
  assert sample['video'].shape == batch['video'].shape and sample['attention'].shape[-1] == 1
  assert float(np.abs(sample['true_video']).max()) <= 1.00001
