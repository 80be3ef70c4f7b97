"""LMD, correlation, lag, closures and jitter against their formulas."""

import numpy as np
import pytest

from atvg_jax.metrics import landmark_metrics, published_metrics
from data_pipelines import features


def test_lmd_is_a_mean_per_mouth_point_in_pixels():
  true = np.random.default_rng(0).normal(size=(2, 3, 136)).astype(np.float32)
  predicted = true.reshape(2, 3, 68, 2).copy()
  predicted[..., features.MOUTH, :] += np.array([3, 4]) / 64  # 5 pixels of 128
  predicted[..., features.JAW, :] += 1  # no mouth
  predicted = predicted.reshape(true.shape)
  np.testing.assert_allclose(landmark_metrics.lmd(predicted, true), np.full((2, 3), 5), rtol=1e-4)
  # The published sum centres both mouths first: shifts count nothing.
  np.testing.assert_allclose(published_metrics.lmd_published_sum(predicted, true), np.zeros((2, 3)), atol=1e-3)


def test_correlation_is_pearsons():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 3, 50)).astype(np.float32)
  expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
  np.testing.assert_allclose(landmark_metrics.correlation(x, y), expected, atol=1e-5)
  mask = np.ones_like(x)
  mask[:, 30:] = 0
  expected = [np.corrcoef(a[:30], b[:30])[0, 1] for a, b in zip(x, y, strict=True)]
  np.testing.assert_allclose(landmark_metrics.correlation(x, y, mask), expected, atol=1e-5)
  assert landmark_metrics.correlation(np.ones(5, np.float32), y[0, :5]) == 0


@pytest.mark.parametrize('lag', [-3, 0, 2])
def test_best_lag_finds_a_delay(lag):
  sound = np.random.default_rng(0).normal(size=60).astype(np.float32)
  found, r = landmark_metrics.best_lag(np.roll(sound, lag), sound)
  assert found == lag
  assert r == pytest.approx(1, abs=1e-5)


def test_closures_are_shares_of_shut_and_of_open_frames():
  true = np.float32([[-0.01, 0.0, 0.004, 0.03, 0.05, 0.2], [0.1, 0.2, 0.3, 0.03, 0.02, 0.01]])
  kept, false = landmark_metrics.closures(true, true)
  np.testing.assert_array_equal(kept, [1, np.nan])
  np.testing.assert_array_equal(false, [0, 0])
  drawn = np.float32([[0.019, 0.021, 0.1, 0.0, 0.0, 0.1], [0.1, 0.0, 0.3, 0.0, 0.0, 0.0]])
  kept, false = landmark_metrics.closures(drawn, true)
  np.testing.assert_allclose(kept, [1 / 3, np.nan])
  np.testing.assert_allclose(false, [1 / 2, 1 / 3])


def test_best_lag_needs_frames():
  with pytest.raises(ValueError, match='7 frames'):
    landmark_metrics.best_lag(np.zeros(7), np.zeros(7), max_lag=5)


def test_jitter_is_zero_for_steady_motion_and_counts_trembling():
  face = np.zeros((10, 68, 2), np.float32)
  face[:, features.LEFT_EYE, 0], face[:, features.RIGHT_EYE, 0] = 0.25, -0.25
  moving = face + 0.01 * np.arange(10, dtype=np.float32)[:, None, None]
  assert landmark_metrics.jitter(moving.reshape(10, 136)) == pytest.approx(0, abs=1e-3)
  trembling = face.copy()
  trembling[::2, features.NOSE, 0] += 0.005  # 1 % of the eyes' distance, to and fro; nine of the nineteen points
  assert landmark_metrics.jitter(trembling.reshape(10, 136)) == pytest.approx(9 / 19, rel=1e-4)
