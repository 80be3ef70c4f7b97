"""AT-net's game: the loss is that of its formula, and the scores mean what their names say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from atvg_jax import landmarks, models
from atvg_jax.metrics import landmark_metrics
from atvg_jax.runtime import parallel, rng
from atvg_jax.train.tasks import at_task
from data_pipelines import features


def _mean(scores):
  return {name: float(total) / max(float(count), 1e-12) for name, (total, count) in scores.items()}


def _outputs(config, scale=1):
  """(task, state with parameters `scale` times as large, batch, basis, outputs in training, true coefficients)."""
  basis, batch = synthetic.basis(), synthetic.batch(0, config)
  task = at_task.make(config, basis)
  state = jax.jit(task.init)(rng.stream_key(0, 'init'))
  state = state.replace(g_params=jax.tree.map(lambda values: scale * values, state.g_params))
  # Before the state is donated: what the net says in training mode; the smoke net has no dropout.
  net = models.make_net(config)
  example = landmarks.to_coefficients(batch['example_landmarks'], batch['rest_landmarks'], basis)
  variables = {'params': state.g_params, 'batch_stats': state.g_batch_stats}
  outputs, _ = jax.jit(lambda *inputs: net.apply(*inputs, train=True, mutable=['batch_stats']))(
    variables, example, batch['mfcc']
  )
  true = landmarks.to_coefficients(batch['landmarks'], batch['rest_landmarks'][:, None], basis)
  return task, state, batch, basis, outputs, true


def _step(task, state, batch):
  """The metrics of one step."""
  arrays = {name: array for name, array in batch.items() if name != features.CLIP_ID}
  return parallel.pmap_train_step(task.train_step)(parallel.replicate(state), parallel.shard_batch(arrays))[1]


def test_the_loss_is_the_error_of_the_coefficients_of_their_change_and_of_the_points():
  config = synthetic.config('at_grid', loss__velocity=0.5, loss__distance=0.25)
  task, state, batch, basis, outputs, true = _outputs(config)
  error = np.asarray(outputs['coefficients']) - true
  position, velocity = np.mean(error**2), np.mean(np.diff(error, axis=1) ** 2)
  rest = batch['rest_landmarks'][:, None]
  predicted = landmarks.from_coefficients(np.asarray(outputs['coefficients']), rest, basis)
  off = (predicted - batch['landmarks']).reshape(2, -1, 68, 2)[:, :, 48:] * 64
  distance = np.mean(np.hypot(off[..., 0], off[..., 1]))

  metrics = _step(task, state, batch)
  assert float(metrics['g_coefficient_loss']) == pytest.approx(position, rel=1e-4)
  assert float(metrics['g_velocity_loss']) == pytest.approx(velocity, rel=1e-4)
  assert float(metrics['g_distance_loss']) == pytest.approx(distance, rel=1e-3)
  whole = position + 0.5 * velocity + 0.25 * float(metrics['g_distance_loss'])
  assert float(metrics['g_loss']) == pytest.approx(whole, rel=1e-4)


def test_each_member_learns_by_its_own_error():
  config = synthetic.config('at_grid', model__ensemble_size=3, model__init_stddev=None)
  task, state, batch, _, outputs, true = _outputs(config, scale=5)  # so that their answers differ by much
  errors = [np.mean((np.asarray(answer) - true) ** 2) for answer in outputs['by_member']]
  assert float(_step(task, state, batch)['g_coefficient_loss']) == pytest.approx(np.mean(errors), rel=1e-4)
  assert np.mean(errors) > 1.001 * np.mean((np.asarray(outputs['coefficients']) - true) ** 2)  # which is the mean's own


def test_a_perfect_mouth_scores_one_and_half_a_movement_half():
  rng_ = np.random.default_rng(0)
  true = jnp.asarray(rng_.normal(size=(3, 9)))
  frames = jnp.ones((3, 9)).at[2, 5:].set(0).at[1].set(0)  # a clip is padded, another is padding
  scores = _mean(at_task._opening(true * 0.5 + 3, true.at[2, 5:].set(99), frames))
  assert scores['opening_correlation'] == pytest.approx(1, abs=1e-5)
  assert scores['opening_range_ratio'] == pytest.approx(0.5, abs=1e-5)
  assert _mean(at_task._opening(-true, true, frames))['opening_correlation'] == pytest.approx(-1, abs=1e-5)


def test_the_mouths_distance_is_in_pixels_and_of_the_mouth_only():
  points = np.zeros((2, 68, 2), np.float32)
  points[0, 48:, 0], points[0, 48:, 1] = 3 / 64, 4 / 64
  points[1, :48] = 1
  distance = landmark_metrics.lmd(jnp.asarray(points.reshape(2, 136)), jnp.zeros((2, 136)))
  np.testing.assert_allclose(distance, [5, 0], atol=1e-5)


def test_padding_counts_nothing_in_the_scores():
  config = synthetic.config('at_grid')
  task = at_task.make(config, synthetic.basis())
  state = parallel.replicate(jax.jit(task.init)(rng.stream_key(0, 'init')))
  eval_step = parallel.pmap_eval_step(task.eval_step)
  batch = synthetic.batch(0, config)
  del batch[features.CLIP_ID]
  batch[features.FRAME_MASK] = np.ones((2, config.data.window), np.float32)
  batch[features.FRAME_MASK][0, 3:] = 0
  batch[features.MASK][1] = 0
  scores = _mean(eval_step(state, parallel.shard_batch(batch)))
  batch[features.LANDMARKS][0, 3:] += 5
  batch[features.LANDMARKS][1] += 7
  assert _mean(eval_step(state, parallel.shard_batch(batch))) == pytest.approx(scores, rel=1e-4)
  batch[features.LANDMARKS][0, 0] += 1
  assert _mean(eval_step(state, parallel.shard_batch(batch)))['lmd'] > scores['lmd'] + 1


def test_the_frame_wise_net_trains_too():
  config = synthetic.config('at_grid', arg='')
  config = type(config)(config.to_dict())  # unlocked
  config.model = {'name': 'at_single', 'audio_features': ((4, 4), (4, 4)), 'audio_head_features': (8,)}
  config.data.batch_size = 2
  task = at_task.make(config, synthetic.basis())
  state = parallel.replicate(jax.jit(task.init)(rng.stream_key(0, 'init')))
  batch = synthetic.batch(0, config)
  del batch[features.CLIP_ID]
  state, metrics = parallel.pmap_train_step(task.train_step)(state, parallel.shard_batch(batch))
  assert int(state.step) == 1 and np.isfinite(float(metrics['g_loss']))
