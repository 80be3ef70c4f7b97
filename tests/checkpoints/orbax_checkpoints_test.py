"""Checkpoints lose nothing, keep the newest, survive what a kill leaves behind, and tell damage from difference."""

import os
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atvg_jax.checkpoints import orbax_checkpoints
from atvg_jax.runtime import parallel
from atvg_jax.train import optimizers
from atvg_jax.train.train_state import TrainState
from configs import common
from data_pipelines.errors import InputError

# Orbax' reading threads complain to an event loop that a torn file has ended.
_TORN = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')


def _state(step=0, width=3, ema=True):
  params = {'dense': {'kernel': jnp.full((2, width), step + 0.1), 'bias': jnp.zeros(width)}}
  optimizer = optimizers.make(common.base('at').optimizer, 100)
  return parallel.replicate(
    TrainState(
      step=jnp.int32(step),
      g_params=params,
      g_batch_stats={'norm': {'mean': jnp.ones(width)}},
      g_opt_state=optimizer.init(params),
      g_ema_params=jax.tree.map(lambda leaf: leaf + 1, params) if ema else None,
    )
  )


@pytest.fixture
def saved(tmp_path):
  """A workdir with the checkpoints 2, 3 and 4; 1 was dropped."""
  opened = orbax_checkpoints.Checkpoints(str(tmp_path), keep=3)
  for step in (1, 2, 3, 4):
    opened.save(step, _state(step))
  opened.close()
  return tmp_path


def _damage(workdir, step):
  for folder, _, names in os.walk(workdir / 'checkpoints' / str(step)):
    if os.path.basename(folder) == 'd':
      for name in names:
        os.truncate(os.path.join(folder, name), 7)


def _restore(workdir, like):
  opened = orbax_checkpoints.Checkpoints(str(workdir), keep=3)
  try:
    return opened.restore(jax.eval_shape(lambda: like)), opened.steps()
  finally:
    opened.close()


def test_the_newest_comes_back_whole(saved):
  restored, steps = _restore(saved, _state())
  assert steps == [2, 3, 4]
  assert jax.tree.structure(restored) == jax.tree.structure(_state())
  jax.tree.map(np.testing.assert_array_equal, restored, jax.device_get(_state(4)))


def test_an_empty_workdir_restores_nothing(tmp_path):
  assert _restore(tmp_path, _state()) == (None, [])
  assert not orbax_checkpoints.has_checkpoint(str(tmp_path))
  with pytest.raises(InputError, match='no checkpoint'):
    orbax_checkpoints.restore_generator(str(tmp_path))


@_TORN
def test_a_full_disk_is_told_and_the_last_good_one_stays(saved):
  """A limit on the size of files stands for the disk: writing fails in the same place, in the background."""
  opened = orbax_checkpoints.Checkpoints(str(saved), keep=3)
  big = _state(5).replace(g_batch_stats={'norm': {'mean': jnp.asarray(np.random.default_rng(0).normal(size=10**5))}})
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
  try:
    with pytest.raises(InputError, match=r'could not be written .* \(File too large\).* resumes from step 4'):
      opened.save(5, big)
      opened.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  opened.close()
  restored, steps = _restore(saved, _state())
  assert int(restored.step) == 4 and steps == [2, 3, 4]


def test_the_best_is_kept_by_its_score_and_survives_a_start(tmp_path):
  best = orbax_checkpoints.Best(str(tmp_path), 'eval_a/ssim')
  for step, score in ((1, 0.5), (2, 0.7), (3, 0.6)):
    best.offer(step, _state(step), {'eval_a/ssim': score, 'eval_a/lmd': step})
  best = orbax_checkpoints.Best(str(tmp_path), 'eval_a/ssim')
  assert best.summary() == {'best_step': 2, 'best_eval_a/ssim': 0.7}
  best.offer(4, _state(4), {'eval_a/ssim': 0.7})  # as good is not better
  assert os.listdir(tmp_path / 'best') == ['2']
  step, generator = orbax_checkpoints.restore_generator(str(tmp_path), best=True)
  assert step == 2 and set(generator) == {'g_params', 'g_batch_stats', 'g_ema_params'}
  np.testing.assert_allclose(generator['g_params']['dense']['kernel'], 2.1, rtol=1e-6)
  less = orbax_checkpoints.Best(str(tmp_path / 'less'), '-eval_a/lmd')
  for step, score in ((1, 0.5), (2, 0.7)):
    less.offer(step, _state(step), {'eval_a/lmd': score})
  assert less.summary() == {'best_step': 1, 'best_eval_a/lmd': 0.5}
  with pytest.raises(InputError, match='use one of eval_a/lmd'):
    orbax_checkpoints.Best(str(tmp_path), 'eval_b/ssim').offer(5, _state(5), {'eval_a/lmd': 1.0})


@_TORN
def test_damaged_ones_are_put_aside(saved, caplog):
  _damage(saved, 4)
  _damage(saved, 3)
  restored, steps = _restore(saved, _state())
  assert int(restored.step) == 2 and steps == [2]
  assert sorted(os.listdir(saved / 'damaged_checkpoints')) == ['3', '4']
  assert 'checkpoint 4' in caplog.text and 'checkpoint 3' in caplog.text


@_TORN
def test_when_all_are_damaged_nothing_is_started_over(saved):
  for step in (2, 3, 4):
    _damage(saved, step)
  with pytest.raises(InputError, match='no checkpoint .* can be read'):
    _restore(saved, _state())
  assert sorted(os.listdir(saved / 'checkpoints')) == ['2', '3', '4']


def test_another_nets_checkpoint_is_not_called_damaged(saved):
  for other in (_state(width=5), _state(ema=False)):
    with pytest.raises(InputError, match='another net'):
      _restore(saved, other)
  assert sorted(os.listdir(saved / 'checkpoints')) == ['2', '3', '4']


def test_a_save_that_was_killed_is_no_checkpoint_and_in_nobodys_way(saved):
  """What SIGKILL in the middle of a save leaves: a folder under a temporary name."""
  os.rename(saved / 'checkpoints' / '4', saved / 'checkpoints' / '4.orbax-checkpoint-tmp')
  restored, steps = _restore(saved, _state())
  assert int(restored.step) == 3 and steps == [2, 3]
  assert orbax_checkpoints.restore_generator(str(saved))[0] == 3
  opened = orbax_checkpoints.Checkpoints(str(saved), keep=3)
  opened.save(4, _state(4))
  opened.close()
  assert int(_restore(saved, _state())[0].step) == 4


@_TORN
def test_generation_takes_the_newest_readable_generator(saved):
  step, generator = orbax_checkpoints.restore_generator(str(saved))
  assert step == 4 and set(generator) == {'g_params', 'g_batch_stats', 'g_ema_params'}
  np.testing.assert_allclose(generator['g_ema_params']['dense']['kernel'], 5.1, rtol=1e-6)
  _damage(saved, 4)
  assert orbax_checkpoints.restore_generator(str(saved))[0] == 3


def test_a_run_can_go_on_with_another_clipping_and_schedule(saved):
  config = common.base('at').optimizer
  config.clip_norm, config.schedule, config.warmup_steps = 1.0, 'cosine', 10
  params = _state().g_params
  like = _state().replace(g_opt_state=optimizers.make(config, 50).init(params))
  assert int(_restore(saved, like)[0].step) == 4
