"""PSNR and SSIM against other libraries and formulas, and of parts as if they were cut out."""

import numpy as np
import pytest

from atvg_jax.metrics import image_metrics, published_metrics
from data_pipelines import features


def _floats(image):
  return image.astype(np.float32) / 255


def test_psnr(pairs):
  for generated, reference, scores in pairs:
    assert image_metrics.psnr(_floats(generated), _floats(reference)) == pytest.approx(scores['psnr_rgb'], abs=1e-3)
    grey = [_floats(published_metrics.published_grey(image))[..., None] for image in (generated, reference)]
    assert image_metrics.psnr(*grey) == pytest.approx(scores['psnr_gray256'], abs=1e-3)


def test_ssim(pairs):
  for generated, reference, scores in pairs:
    score = image_metrics.ssim(_floats(generated), _floats(reference))
    assert score == pytest.approx(scores['ssim_gaussian_sigma1_5_rgb'], abs=1e-5)


def test_scores_keep_leading_axes(pairs):
  videos = [np.stack([_floats(pair[side]) for pair in pairs[:6]]).reshape(2, 3, 128, 128, 3) for side in range(2)]
  for metric, name in ((image_metrics.psnr, 'psnr_rgb'), (image_metrics.ssim, 'ssim_gaussian_sigma1_5_rgb')):
    expected = np.reshape([pair[2][name] for pair in pairs[:6]], (2, 3))
    np.testing.assert_allclose(metric(*videos), expected, rtol=1e-3)


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
