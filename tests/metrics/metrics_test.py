"""Scores against other libraries, formulas and the published script's numbers (tests/golden/metrics.json)."""

import golden_recipe as golden
import numpy as np
import pytest

from atvg_jax.metrics import image_metrics, landmark_metrics, published_metrics
from data_pipelines import features


@pytest.fixture(scope='module')
def pairs():
  """Seven pairs of pictures (generated, reference) uint8 [128, 128, 3] with their published scores."""
  with np.load(golden.path('metrics_images.npz'), allow_pickle=False) as file:
    return list(zip(file['generated'], file['reference'], golden.read_json('metrics.json'), strict=True))


def _floats(image):
  return image.astype(np.float32) / 255


def test_psnr(pairs):
  for generated, reference, scores in pairs:
    assert image_metrics.psnr(_floats(generated), _floats(reference)) == pytest.approx(scores['psnr_rgb'], abs=1e-3)
    grey = [_floats(published_metrics.published_grey(image))[..., None] for image in (generated, reference)]
    assert image_metrics.psnr(*grey) == pytest.approx(scores['psnr_gray256'], abs=1e-3)


def test_published_psnr_wraps(pairs):
  for generated, reference, scores in pairs:
    score = published_metrics.psnr_published(
      published_metrics.published_grey(generated), published_metrics.published_grey(reference)
    )
    assert score == pytest.approx(scores['psnr_published_uint8_gray256'], abs=1e-9)
  with pytest.raises(ValueError, match='uint8'):
    published_metrics.psnr_published(np.zeros((4, 4)), np.zeros((4, 4)))


def test_ssim(pairs):
  for generated, reference, scores in pairs:
    score = image_metrics.ssim(_floats(generated), _floats(reference))
    assert score == pytest.approx(scores['ssim_gaussian_sigma1_5_rgb'], abs=1e-5)


def test_published_ssim(pairs):
  for generated, reference, scores in pairs:
    score = published_metrics.ssim_published(
      published_metrics.published_image(generated), published_metrics.published_image(reference)
    )
    assert score == pytest.approx(scores['ssim_published_uniform7_rgb256'], abs=1e-9)


def test_scores_keep_leading_axes(pairs):
  videos = [np.stack([_floats(pair[side]) for pair in pairs[:6]]).reshape(2, 3, 128, 128, 3) for side in range(2)]
  for metric, name in ((image_metrics.psnr, 'psnr_rgb'), (image_metrics.ssim, 'ssim_gaussian_sigma1_5_rgb')):
    expected = np.reshape([pair[2][name] for pair in pairs[:6]], (2, 3))
    np.testing.assert_allclose(metric(*videos), expected, rtol=1e-3)


def test_published_image_needs_a_side_that_divides_256():
  with pytest.raises(ValueError, match='100x128'):
    published_metrics.published_image(np.zeros((100, 128, 3), np.uint8))


def test_lmd_is_a_mean_per_mouth_point_in_pixels():
  true = np.random.default_rng(0).normal(size=(2, 3, 136)).astype(np.float32)
  predicted = true.reshape(2, 3, 68, 2).copy()
  predicted[..., features.MOUTH, :] += np.array([3, 4]) / 64  # 5 pixels of 128
  predicted[..., features.JAW, :] += 1  # no mouth
  predicted = predicted.reshape(true.shape)
  np.testing.assert_allclose(landmark_metrics.lmd(predicted, true), np.full((2, 3), 5), rtol=1e-4)
  # The published sum centres both mouths first: shifts count nothing.
  np.testing.assert_allclose(published_metrics.lmd_published_sum(predicted, true), np.zeros((2, 3)), atol=1e-3)


def test_published_lmd_sums_over_twenty_points():
  true = np.zeros((136,), np.float32)
  predicted = true.reshape(68, 2).copy()
  predicted[48:58, 0], predicted[58:68, 0] = 2 / 64, -2 / 64  # already centred
  predicted = predicted.reshape(136)
  assert landmark_metrics.lmd(predicted, true) == pytest.approx(2, rel=1e-5)
  assert published_metrics.lmd_published_sum(predicted, true) == pytest.approx(40, rel=1e-5)


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


def test_parts_of_videos_score_as_if_cut_out(pairs):
  ours, true = (np.stack([_floats(pair[side]) for pair in pairs[:4]]).reshape(2, 2, 128, 128, 3) for side in range(2))
  boxes = np.array([[(0, 128, 0, 128), (64, 120, 32, 96)], [(0, 128, 0, 128), (70, 94, 41, 90)]])
  (psnr, ssim), (_, perfect) = image_metrics.region_scores([ours, true], true, boxes)
  np.testing.assert_allclose(perfect, 1, atol=1e-5)
  for clip, parts in enumerate(boxes):
    for part, (top, bottom, left, right) in enumerate(parts):
      pair = [video[clip, :, top:bottom, left:right] for video in (ours, true)]
      np.testing.assert_allclose(psnr[clip, :, part], image_metrics.psnr(*pair), rtol=1e-4)
      np.testing.assert_allclose(ssim[clip, :, part], image_metrics.ssim(*pair), atol=1e-5)


def test_the_lips_box_holds_every_mouth_with_a_margin():
  points = np.zeros((3, 68, 2), np.float32)
  points[:, features.MOUTH] = [64, 90]
  points[:, 48, 0], points[:, 54, 0] = 44, 84  # 40 pixels wide: a margin of 10
  points[1, 57, 1] = 110  # open once
  landmarks = (points / 64 - 1).reshape(3, 136)
  assert image_metrics.lips_box(landmarks) == (80, 120, 34, 94)
  small = points.copy()
  small[:, features.MOUTH] = [64, 90]
  assert image_metrics.lips_box((small / 64 - 1).reshape(3, 136)) == (78, 102, 52, 76)  # 24 pixels at least
  small[:, features.MOUTH] = [126, 125]  # at the corner of the crop: moved in
  assert image_metrics.lips_box((small / 64 - 1).reshape(3, 136)) == (104, 128, 104, 128)
