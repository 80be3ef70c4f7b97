"""The published script's formulas against its numbers (tests/golden/metrics.json)."""

import numpy as np
import pytest

from atvg_jax.metrics import landmark_metrics, published_metrics


def test_published_psnr_wraps(pairs):
  for generated, reference, scores in pairs:
    score = published_metrics.psnr_published(
      published_metrics.published_grey(generated), published_metrics.published_grey(reference)
    )
    assert score == pytest.approx(scores['psnr_published_uint8_gray256'], abs=1e-9)
  with pytest.raises(ValueError, match='uint8'):
    published_metrics.psnr_published(np.zeros((4, 4)), np.zeros((4, 4)))


def test_published_ssim(pairs):
  for generated, reference, scores in pairs:
    score = published_metrics.ssim_published(
      published_metrics.published_image(generated), published_metrics.published_image(reference)
    )
    assert score == pytest.approx(scores['ssim_published_uniform7_rgb256'], abs=1e-9)


def test_published_image_needs_a_side_that_divides_256():
  with pytest.raises(ValueError, match='100x128'):
    published_metrics.published_image(np.zeros((100, 128, 3), np.uint8))


def test_published_lmd_sums_over_twenty_points():
  true = np.zeros((136,), np.float32)
  predicted = true.reshape(68, 2).copy()
  predicted[48:58, 0], predicted[58:68, 0] = 2 / 64, -2 / 64  # already centred
  predicted = predicted.reshape(136)
  assert landmark_metrics.lmd(predicted, true) == pytest.approx(2, rel=1e-5)
  assert published_metrics.lmd_published_sum(predicted, true) == pytest.approx(40, rel=1e-5)
