"""Bending an image to landmarks: lips meet, teeth stay, and what does not move is the image."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from atvg_jax.models import landmark_warp, mouth_sheets
from atvg_jax.models.landmark_warp import unknown_mouth
from data_pipelines import features

_SIZE = 64
warped = jax.jit(landmark_warp.warped)


def _scene(seed=0):
  rng = np.random.default_rng(seed)
  image = ndimage.gaussian_filter(rng.normal(size=(2, _SIZE, _SIZE, 3)), (0, 2, 2, 0)).astype(np.float32)
  example = rng.uniform(-0.6, 0.6, (2, features.LANDMARK_SIZE)).astype(np.float32)
  moves = 0.06 * rng.normal(size=(2, 3, features.LANDMARK_SIZE)).astype(np.float32)
  return image, example, example[:, None] + moves


def test_a_face_that_does_not_move_is_the_image():
  image, example, _ = _scene()
  frames, moved = warped(image, example, np.repeat(example[:, None], 2, axis=1))
  np.testing.assert_allclose(frames, np.repeat(image[:, None], 2, axis=1), atol=1e-5)
  assert not np.any(moved)


def test_products_of_matrices_sample_as_gathers_do():
  rng = np.random.default_rng(0)
  levels = rng.integers(0, 256, (2, 12, 20, 3))
  images = (levels / 127.5 - 1).astype(np.float32)
  x, y = (rng.uniform(0, size - 1, (2, 3, 5, 7)).astype(np.float32) for size in (20, 12))
  x[:, 0], y[:, 0] = np.rint(x[:, 0]), np.rint(y[:, 0])
  found = np.asarray(landmark_warp._by_products(images, x, y))
  np.testing.assert_allclose(found, landmark_warp._sample(images, x, y), atol=0.5 / 127.5)
  pixels = np.stack(
    [image[rows, columns] for image, rows, columns in zip(levels, y[:, 0].astype(int), x[:, 0].astype(int))]
  )
  np.testing.assert_allclose((found[:, 0] + 1) * 127.5, pixels, atol=0.25)


def test_what_is_far_from_mouth_jaw_and_nose_stays():
  image, example, landmarks = _scene()
  points = landmarks.reshape(2, 3, features.NUM_LANDMARKS, 2)
  points[..., 1] = (
    np.abs(points[..., 1]) * 0.4 + 0.3
  )  # all in the lower half, but for brows and eyes, which move nothing
  points[..., 17:27, 1] = points[..., 36:48, 1].mean() - 1
  frames, moved = warped(image, example, points.reshape(landmarks.shape))
  np.testing.assert_allclose(frames[:, :, :20], np.repeat(image[:, None, :20], 3, axis=1), atol=1e-3)
  assert moved[:, :, :20].max() < 1e-3 < moved.max()


def test_no_gradient_flows_back():
  image, example, landmarks = _scene()
  gradients = jax.grad(lambda *inputs: jnp.sum(warped(*inputs)[0]), argnums=(0, 1, 2))(image, example, landmarks)
  assert not any(np.any(gradient) for gradient in gradients)


def _mouth(gap):
  """[136]: a face that is nothing but a mouth, 0.6 wide, in the middle of the lower half."""
  points = np.full((features.NUM_LANDMARKS, 2), -0.9, np.float32)
  for first, count, height in ((48, 12, 0.1 + gap / 2), (60, 8, gap / 2)):
    angle = np.pi + 2 * np.pi * np.arange(count) / count
    points[first : first + count] = np.stack([0.3 * np.cos(angle), 0.4 + height * np.sin(angle)], axis=1)
  return points.reshape(-1)


def _smile():
  """[1, 64, 64, 3] and its landmarks: skin of 0, lips of -0.5, and teeth of 0.6 to 1, brighter to the right."""
  gap, scale = 0.16, _SIZE / 2
  x, y = np.meshgrid(*[(np.arange(_SIZE) + 0.5) / scale - 1] * 2)
  image = np.zeros((_SIZE, _SIZE))
  image[np.hypot(x / 0.3, (y - 0.4) / (0.1 + gap / 2)) < 1] = -0.5
  teeth = np.hypot(x / 0.3, (y - 0.4) / (gap / 2)) < 1
  image[teeth] = (0.8 + x / 1.5)[teeth]
  return np.repeat(image[None, ..., None], 3, axis=-1).astype(np.float32), _mouth(gap)[None]


def test_lips_that_meet_leave_no_teeth_between_them():
  image, example = _smile()
  frame = np.asarray(warped(image, example, _mouth(0.0)[None, None])[0])[0, 0]
  row, columns = round(1.4 * _SIZE / 2), slice(_SIZE // 2 - 5, _SIZE // 2 + 5)
  assert image[0, row, columns].min() > 0.6 and frame[:, columns].max() < 0.05
  assert frame[row - 1 : row + 1, columns].mean() < -0.3  # on the mouth's line there is lip


def test_one_sheet_cannot_shut_a_mouth():
  image, example = _smile()
  row, columns = round(1.4 * _SIZE / 2), slice(_SIZE // 2 - 5, _SIZE // 2 + 5)
  frame = np.asarray(landmark_warp.warped(image, example, _mouth(0.0)[None, None], sheets=1)[0])[0, 0]
  assert frame[row - 1 : row + 1, columns].min() > 0.5  # what lies between the lips stays
  same, moved = landmark_warp.warped(image, example, example[:, None], sheets=1)
  np.testing.assert_allclose(same[:, 0], image, atol=1e-5)
  assert not np.any(moved)


def test_teeth_stay_where_they_are_while_the_lower_lip_goes_down():
  image, example = _smile()
  opened = example.copy().reshape(-1, 2)
  opened[[65, 66, 67, 55, 56, 57, 58, 59], 1] += 0.2
  frame = np.asarray(warped(image, example, opened.reshape(1, 1, -1))[0])[0, 0]
  middle, teeth = slice(_SIZE // 2 - 4, _SIZE // 2 + 4), slice(43, 46)
  np.testing.assert_allclose(frame[teeth, middle], image[0, teeth, middle], atol=0.02)
  below = frame[50:52, middle]
  assert below.max() < -0.5  # nobody knows what is there: dark
  lip = frame[54:56, middle]
  np.testing.assert_allclose(lip, -0.5, atol=0.1)


def test_the_sheets_are_exact_at_the_lips_and_one_beside_the_mouth():
  source, target = _mouth(0.16).reshape(-1, 2), _mouth(0.04).reshape(-1, 2)
  centres = ((np.arange(128) + 0.5) / 64 - 1).astype(np.float32)
  upper, lower = (
    np.asarray(mouth_sheets.offset(sheet)) for sheet in mouth_sheets.sheets(source, target, centres, centres)
  )
  for sheet, lip in ((upper, [50, 51, 52]), (lower, [56, 57, 58])):
    for point in lip:
      column, row = ((target[point] + 1) * 64).astype(int)
      assert abs(sheet[1, row, column] - (source - target)[point, 1]) < 0.4 / 64  # of 0.06, 3.8 pixels
  row = int(1.4 * 64)
  assert np.abs(upper - lower)[1, row, 64] > 0.08
  beside = np.abs(centres) > 0.3 + 2.1 / 64
  np.testing.assert_allclose(upper[..., beside], lower[..., beside], atol=1e-6)


def test_a_mouth_is_unknown_where_it_opens_and_the_image_shows_it_shut():
  frames = np.stack([_mouth(0.0), _mouth(0.3), _mouth(0.02)])[None]
  row, column = round(1.4 * _SIZE / 2), _SIZE // 2
  shut = np.asarray(unknown_mouth(_mouth(0.0)[None], frames, _SIZE))
  assert shut.shape == (1, 3, _SIZE, _SIZE, 1)
  assert not shut[0, 0].any()
  assert shut[0, 1, row, column] == 1 and not shut[0, 1, : row - 12].any() and not shut[0, 1, :, : column - 14].any()
  assert 0.1 < shut[0, 2].max() < 0.6  # a pixel of 128 is half way
  assert not np.any(unknown_mouth(_mouth(0.1)[None], frames, _SIZE))  # what is inside was seen
  gradient = jax.grad(lambda points: unknown_mouth(points[:, 0], points, _SIZE).sum())(jnp.asarray(frames))
  assert not gradient.any()


def test_lips_meet_on_their_line_the_more_the_nearer_they_are():
  pixel = 2 / 128
  masks = [np.asarray(mouth_sheets.meeting(_mouth(gap * pixel), 128))[..., 0] for gap in (-1, 0, 0.75, 1.5, 9)]
  row, column = 89, 64  # a tenth of a pixel from the line
  overlapping, touching, half, apart, wide = masks
  np.testing.assert_allclose(
    touching[row - 4 : row + 5, column], np.exp(-0.5 * np.square((np.arange(-4, 5) - 0.1) / 2)), atol=1e-3
  )
  np.testing.assert_allclose(overlapping, touching, atol=1e-5)
  np.testing.assert_allclose(half[row, column], touching[row, column] / 2, atol=0.02)
  # Gaps are those of the middle: towards the corners lips that are apart there do meet.
  assert not apart[:, 60:68].any() and not wide[:, 50:78].any()
  assert touching[row - 8 : row + 9].sum() > 0.99 * touching.sum()
  assert not touching[:, :43].any() and not touching[:, 85:].any()
  gradient = jax.grad(lambda points: mouth_sheets.meeting(points, 32).sum())(jnp.asarray(_mouth(0.0)))
  assert not gradient.any()
