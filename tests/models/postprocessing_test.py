"""What is done to finished frames: the unsharp mask against SciPy's Gaussian, darkened mouths and lit seams."""

import jax
import numpy as np
from scipy import ndimage

from atvg_jax.models import mouth_sheets, postprocessing
from atvg_jax.models.composition import compose


def _finished(outputs):
  """As they are, and sharpened."""
  points = np.zeros((1, 136), np.float32)
  return [
    jax.device_get(postprocessing.finish(outputs, points, points[:, None], sharpen=amount)) for amount in (0.0, 0.4)
  ]


def test_sharpened_is_an_unsharp_mask():
  video = np.random.default_rng(0).uniform(-0.4, 0.4, (2, 3, 20, 24, 3)).astype(np.float32)
  soft = ndimage.gaussian_filter(video, (0, 0, 1, 1, 0))
  inner = np.s_[:, :, 4:-4, 4:-4]  # beyond the border the two differ
  np.testing.assert_allclose(
    postprocessing.sharpened(video, 0.5)[inner], (video + 0.5 * (video - soft))[inner], atol=1e-5
  )
  np.testing.assert_array_equal(postprocessing.sharpened(video, 0), video)
  np.testing.assert_allclose(postprocessing.sharpened(np.full_like(video, 0.3), 2), 0.3, atol=1e-6)
  assert np.abs(postprocessing.sharpened(video, 9)).max() == 1  # what would be beyond white or black is not
  half = np.zeros((2, 3, 20, 24, 1), np.float32)
  half[..., 12:, :] = 0.5
  np.testing.assert_allclose(
    postprocessing.sharpened(video, half)[..., 12:, :], postprocessing.sharpened(video, 0.5)[..., 12:, :], atol=1e-6
  )
  np.testing.assert_array_equal(postprocessing.sharpened(video, half)[..., :12, :], video[..., :12, :])


def test_frames_are_sharpened_where_they_are_drawn():
  rng = np.random.default_rng(0)
  heads = rng.normal(size=(1, 2, 32, 32, 4)).astype(np.float32)
  heads[..., 16:, 3] = -12  # the right half is the example's
  image = rng.uniform(-1, 1, (1, 1, 32, 32, 3)).astype(np.float32)
  plain, sharp = _finished(compose(heads, image))
  mask = np.minimum(1, 5 * plain['attention'])
  assert 0.2 < np.mean(mask == 1) < 0.5
  expected = postprocessing.sharpened(plain['video'], 0.4 * mask)
  np.testing.assert_allclose(sharp['video'], expected, atol=1e-6)
  np.testing.assert_allclose(sharp['video'][..., 16:, :], plain['video'][..., 16:, :], atol=1e-3)
  assert np.abs(sharp['video'] - plain['video'])[..., :16, :].mean() > 0.02
  np.testing.assert_array_equal(sharp['color'], plain['color'])


def test_what_was_moved_is_sharpened_too():
  rng = np.random.default_rng(0)
  heads = np.full((1, 1, 32, 32, 4), -12, np.float32)  # all of it is the example's
  image = rng.uniform(-1, 1, (1, 1, 32, 32, 3)).astype(np.float32)
  moved = np.zeros((1, 1, 32, 32, 1), np.float32)
  moved[..., :8, :], moved[..., 8:16, :] = 3, 0.1
  plain, sharp = (outputs['video'] for outputs in _finished({**compose(heads, image), 'displacement': moved}))
  expected = postprocessing.sharpened(plain, 0.4 * np.minimum(1, 5 * moved))
  np.testing.assert_allclose(sharp, expected, atol=1e-3)


def test_a_shade_takes_brightness_away():
  heads = np.random.default_rng(0).normal(size=(1, 2, 16, 16, 4)).astype(np.float32)
  image = np.random.default_rng(1).uniform(-1, 1, (1, 1, 16, 16, 3)).astype(np.float32)
  shade = np.zeros((1, 2, 16, 16, 1), np.float32)
  shade[:, 1, 4:8] = 0.6
  plain = jax.device_get(compose(heads, image)['video'])
  dark = jax.device_get(postprocessing.darkened(plain, shade))
  np.testing.assert_allclose((dark + 1) / (plain + 1), np.broadcast_to(1 - shade, dark.shape), atol=1e-4)


def _lips(gap):
  """[1, 1, 136]: the inner lips of a mouth 0.6 wide, so far apart in half crops."""
  points = np.zeros((1, 1, 68, 2), np.float32)
  points[..., 60:65, 0] = np.linspace(-0.3, 0.3, 5)
  points[..., 65:68, 0] = 0.15, 0.0, -0.15
  points[..., 60:68, 1] = 0.4
  points[..., 61:64, 1] -= gap / 2
  points[..., 65:68, 1] += gap / 2
  return points.reshape(1, 1, 136)


def test_the_line_of_lips_that_meet_is_not_sharpened_and_as_light_as_what_was_warped():
  rng = np.random.default_rng(0)
  heads = rng.normal(size=(1, 1, 128, 128, 4)).astype(np.float32)
  image = rng.uniform(-1, 1, (1, 1, 128, 128, 3)).astype(np.float32)
  outputs = compose(heads, image) | {'background': image}

  def finished(landmarks, **amounts):
    return np.asarray(postprocessing.finish(outputs, landmarks[:, 0], landmarks, **amounts)['video'])

  shut, opened, plain = _lips(0.0), _lips(0.2), np.asarray(outputs['video'])
  line = np.asarray(mouth_sheets.meeting(shut, 128))
  share = finished(shut, seam=0.2) - plain
  brighter = image.mean(-1, keepdims=True) > plain.mean(-1, keepdims=True)
  assert line.max() > 0.8 and (share > -1e-6).all() and not share[np.broadcast_to(~brighter, share.shape)].any()
  much = np.broadcast_to((image + 1).mean(-1, keepdims=True) > 1.3 * (plain + 1).mean(-1, keepdims=True), share.shape)
  np.testing.assert_allclose(share[much], np.minimum(0.2 * line**2 * (plain + 1), 1 - plain)[much], atol=1e-5)
  mask = np.minimum(1, 5 * np.asarray(outputs['attention']))
  sharp = np.asarray(postprocessing.sharpened(plain, 0.4 * mask * (1 - line)))
  lit = np.asarray(postprocessing.lit(sharp, image, 0.2, line**2))
  np.testing.assert_allclose(finished(shut, seam=0.2, sharpen=0.4), lit, atol=1e-5)
  middle = np.s_[..., 60:68, :]  # towards the corners lips are near each other in any mouth
  np.testing.assert_array_equal(finished(opened, seam=0.2, sharpen=0.4)[middle], finished(opened, sharpen=0.4)[middle])
