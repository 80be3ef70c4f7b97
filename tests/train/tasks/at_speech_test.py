"""AT-net on the frozen speech encoder: its terms are their formulas, and a run goes on as if it had never stopped."""

import json

import jax
import numpy as np
import pytest
import synthetic

from atvg_jax import landmarks as lm
from atvg_jax.train import loop, losses
from atvg_jax.train.tasks import at_task
from data_pipelines import features


def test_concordance_is_lins_formula():
  rng = np.random.default_rng(0)
  true = rng.normal(size=(3, 40)).astype(np.float32)
  ours = (0.5 * true + 0.3 + 0.2 * rng.normal(size=true.shape)).astype(np.float32)
  frames = np.ones_like(true)
  frames[:, 30:] = 0
  x, y = ours[:, :30], true[:, :30]
  covariance = np.mean((x - x.mean(1, keepdims=True)) * (y - y.mean(1, keepdims=True)), axis=1)
  expected = 2 * covariance / (x.var(axis=1) + y.var(axis=1) + (x.mean(axis=1) - y.mean(axis=1)) ** 2 + 0.02)
  assert float(losses.concordance_loss(ours, true, frames)) == pytest.approx(float(np.mean(1 - expected)), rel=1e-4)
  assert float(losses.concordance_loss(ours, 0 * true, frames)) == 0


def test_detection_weighs_both_kinds_of_frames_alike():
  true, frames = np.zeros((2, 20), np.float32), np.ones((2, 20), np.float32)
  true[0, :4] = 1
  frames[1, 10:] = 0
  logits = np.random.default_rng(0).normal(size=true.shape).astype(np.float32)
  terms = np.log1p(np.exp(np.where(true > 0, -logits, logits)))[frames > 0]
  ones = true[frames > 0] > 0
  expected = (terms[ones].mean() + terms[~ones].mean()) / 2
  assert float(losses.detection_loss(logits, true, frames)) == pytest.approx(float(expected), rel=1e-4)


def test_targets_refer_to_a_closed_mouth():
  config = synthetic.config('speech_at')
  basis = synthetic.basis()._replace(rest_gap=np.float32(-0.25 / 64))
  task = at_task.AtTask(config, None, None, basis, None, {})
  rest = synthetic.batch(0, config)[features.REST_LANDMARKS]
  batch = {features.REST_LANDMARKS: rest, features.LANDMARKS: np.repeat(rest[:, None], 2, axis=1)}
  gaps = np.stack([np.full(2, 5 / 64), np.full(2, -1.0)]).astype(np.float32)
  true = np.asarray(task._true_coefficients(batch | {features.REST_GAPS: gaps}))
  np.testing.assert_allclose(true[1], 0, atol=1e-5)
  expected = lm.to_coefficients(basis.opening * (5.25 / 64), 0, basis)
  np.testing.assert_allclose(true[0], np.tile(expected, (2, 1)), atol=1e-4)


def test_a_run_goes_on_bit_for_bit(tmp_path):
  config = synthetic.config('speech_at', data__window=4)
  runs = []
  for name, ends in (('whole', (4,)), ('parts', (2, 4))):
    for end in ends:
      with config.unlocked():
        config.num_steps, config.checkpoint_every, config.eval_every = end, 2, 4
      part = config.copy_and_resolve_references()
      with part.unlocked():
        part.optimizer.schedule = 'constant'
      state, summary = loop.train(part, str(tmp_path / name), **synthetic.arguments(part))
    runs.append(state)
    assert summary['step'] == 4 and np.isfinite(summary['eval_fake/opening_range_ratio'])
  jax.tree.map(np.testing.assert_array_equal, *runs)
  rows = [json.loads(line) for line in (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines()]
  assert {
    'train/g_speaking_loss',
    'train/g_concordance_loss',
    'train/g_gap_loss',
    'train/g_gap_velocity_loss',
  } <= set().union(*rows)
