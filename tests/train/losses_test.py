import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atvg_jax.train import losses
from data_pipelines import features


def _normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_coefficient_loss_is_the_mean_square():
  a, b = _normal(2, 3, 6), _normal(2, 3, 6, seed=1)
  assert losses.coefficient_loss(a, b) == pytest.approx(np.mean((a - b) ** 2), rel=1e-6)


def test_dynamic_pixel_loss_is_its_formula():
  fake, real, attention = _normal(2, 3, 4, 4, 3), _normal(2, 3, 4, 4, 3, seed=1), _normal(2, 3, 4, 4, 1, seed=2) ** 2
  weight = _normal(2, 3, 4, 4, 1, seed=3) ** 2
  expected = np.mean(np.abs(fake - real) * (attention + 0.5))
  assert losses.dynamic_pixel_loss(fake, real, attention) == pytest.approx(expected, rel=1e-6)
  expected = np.mean(np.abs(fake - real) * (attention + 0.5) * weight)
  assert losses.dynamic_pixel_loss(fake, real, attention, weight) == pytest.approx(expected, rel=1e-6)
  assert losses.dynamic_pixel_loss(fake, real, None) == pytest.approx(np.mean(np.abs(fake - real)), rel=1e-6)


def test_attention_gets_no_gradient_from_weighing_the_pixels():
  fake, real, attention = _normal(1, 2, 4, 4, 3), _normal(1, 2, 4, 4, 3, seed=1), jnp.ones((1, 2, 4, 4, 1))
  assert not jax.grad(losses.dynamic_pixel_loss, argnums=2)(fake, real, attention).any()


def test_landmark_loss_weighs_the_mouths_height_a_hundredfold():
  true = np.zeros((1, 1, 136), np.float32)
  for index in range(136):
    regressed = true.copy()
    regressed[..., index] = 0.5
    point, is_y = divmod(index, 2)
    factor = 100 if is_y and point in range(48, 68) else 1
    assert losses.landmark_loss(regressed, true) == pytest.approx((0.5 * factor) ** 2 / 136, rel=1e-5)


def test_bce_with_logits_is_the_cross_entropy_of_the_sigmoid():
  logits = _normal(7)
  probability = 1 / (1 + np.exp(-logits))
  assert losses.bce_with_logits(logits, 1.0) == pytest.approx(-np.log(probability).mean(), rel=1e-5)
  assert losses.bce_with_logits(logits, 0.0) == pytest.approx(-np.log(1 - probability).mean(), rel=1e-5)
  assert np.isfinite(losses.bce_with_logits(jnp.array([-1e4]), 1.0))


def test_gradient_loss_sees_edges_and_not_brightness():
  real = _normal(2, 3, 8, 8, 3)
  assert losses.gradient_loss(real + 1, real) == pytest.approx(0, abs=1e-6)
  fake = real.copy()
  fake[:, :, 4:] += 0.5  # one edge down: 1 of 7 differences
  assert losses.gradient_loss(fake, real) == pytest.approx(0.5 / 7, rel=1e-5)
  weight = np.zeros((2, 3, 8, 8, 1), np.float32)
  weight[:, :, 3] = 4
  assert losses.gradient_loss(fake, real, weight) == pytest.approx(4 * 0.5 / 7, rel=1e-5)


def test_mouth_weight_is_highest_on_the_mouth():
  points = _normal(2, 3, 68, 2)
  points[..., features.MOUTH, :] = np.random.default_rng(1).uniform((-0.3, 0.2), (0.3, 0.6), (2, 3, 20, 2))
  weight = losses.mouth_weight(points.reshape(2, 3, 136), 64, 5.0)
  assert weight.shape == (2, 3, 64, 64, 1)
  row, column = np.unravel_index(np.argmax(weight[0, 0, ..., 0]), (64, 64))
  centre = (points[0, 0, features.MOUTH].mean(0) + 1) * 32
  assert abs(column + 0.5 - centre[0]) <= 1 and abs(row + 0.5 - centre[1]) <= 1
  assert weight.max() == pytest.approx(5, rel=0.01)
  assert weight[:, :, 0, 0].max() < 1.2


def test_ssim_loss_is_one_minus_the_metric():
  real = np.random.default_rng(0).uniform(-1, 1, (2, 3, 20, 24, 3)).astype(np.float32)
  fake = np.clip(real + 0.3 * _normal(2, 3, 20, 24, 3), -1, 1)
  expected = 1 - np.mean([dm_pix.ssim(a, b) for a, b in zip(fake[0] / 2 + 0.5, real[0] / 2 + 0.5, strict=True)])
  assert losses.ssim_loss(fake[0], real[0]) == pytest.approx(expected, abs=1e-4)
  assert losses.ssim_loss(real, real) == pytest.approx(0, abs=1e-5)
  assert np.isfinite(jax.grad(losses.ssim_loss)(jnp.asarray(fake), jnp.asarray(real))).all()
