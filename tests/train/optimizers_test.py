"""Schedules rise, stay and fall as their names say; clipping bounds the gradient."""

import jax.numpy as jnp
import optax
import pytest

from atvg_jax.train import optimizers
from configs import common
from data_pipelines.errors import InputError


def _config(**fields):
  config = common.base('at').optimizer
  config.update(fields)
  return config


def test_constant_with_warm_up():
  rate = optimizers.schedule(_config(learning_rate=1e-3, warmup_steps=10), 100)
  assert float(rate(0)) == 0 and float(rate(5)) == pytest.approx(5e-4)
  assert float(rate(10)) == float(rate(99)) == pytest.approx(1e-3)


def test_cosine_falls_to_zero_at_the_last_step():
  rate = optimizers.schedule(_config(learning_rate=1e-3, schedule='cosine', warmup_steps=10), 110)
  assert float(rate(10)) == pytest.approx(1e-3) and float(rate(60)) == pytest.approx(5e-4)
  assert float(rate(110)) == pytest.approx(0, abs=1e-9)


def test_an_unknown_schedule_is_refused():
  with pytest.raises(InputError, match="'linear'"):
    optimizers.schedule(_config(schedule='linear'), 10)


def test_the_published_step_is_adams_and_clipping_keeps_small_gradients():
  params, grads = {'x': jnp.ones(4)}, {'x': jnp.full(4, 0.01)}
  for clip_norm in (None, 1.0):
    optimizer = optimizers.make(_config(clip_norm=clip_norm), 10)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert updates['x'] == pytest.approx(-2e-4, rel=1e-4)  # Adam's first step is the learning rate
  clipped, _ = optax.clip_by_global_norm(1.0).update({'x': jnp.full(4, 100.0)}, None)
  assert float(optax.tree.norm(clipped)) == pytest.approx(1)
