"""Bending an image to landmarks, against the same sums pixel by pixel and SciPy's interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from atvg_jax.models.landmark_warp import unknown_mouth, warped
from data_pipelines import features

_SIZE = 64
_ACTIVE = [*range(2, 15), *range(30, 36), *range(48, 68)]


def _scene(seed=0):
  rng = np.random.default_rng(seed)
  image = ndimage.gaussian_filter(rng.normal(size=(2, _SIZE, _SIZE, 3)), (0, 2, 2, 0)).astype(np.float32)
  example = rng.uniform(-0.6, 0.6, (2, features.LANDMARK_SIZE)).astype(np.float32)
  moves = 0.06 * rng.normal(size=(2, 3, features.LANDMARK_SIZE)).astype(np.float32)
  return image, example, example[:, None] + moves


def test_every_pixel_comes_from_where_the_landmarks_around_it_came_from():
  image, example, landmarks = _scene()
  frames, moved = jax.device_get(jax.jit(warped)(image, example, landmarks))
  assert frames.shape == (2, 3, _SIZE, _SIZE, 3) and moved.shape == (2, 3, _SIZE, _SIZE, 1)
  pixels = np.stack(np.meshgrid(np.arange(_SIZE), np.arange(_SIZE)), axis=-1)  # x, y
  for clip, frame in np.ndindex(2, 3):
    points, sources = (
      (values.reshape(-1, 2)[_ACTIVE] + 1) * _SIZE / 2 - 0.5 for values in (landmarks[clip, frame], example[clip])
    )
    square = np.square(pixels[None] - points[:, None, None]).sum(axis=-1)
    weights = np.exp(-0.5 * square / (_SIZE / 32) ** 2)
    offset = np.einsum('nyx,nc->yxc', weights, sources - points) / (weights.sum(axis=0) + 0.01)[..., None]
    np.testing.assert_allclose(moved[clip, frame, ..., 0], np.linalg.norm(offset, axis=-1), atol=1e-3)
    x, y = np.moveaxis(pixels + offset, -1, 0)
    for channel in range(3):
      want = ndimage.map_coordinates(image[clip, ..., channel], (y, x), order=1, mode='nearest')
      np.testing.assert_allclose(frames[clip, frame, ..., channel], want, atol=1e-3)
  assert moved.max() > 2 and np.abs(frames - image[:, None]).max() > 0.1  # there was something to compare


def test_a_face_that_does_not_move_is_the_image():
  image, example, _ = _scene()
  frames, moved = warped(image, example, np.repeat(example[:, None], 2, axis=1))
  np.testing.assert_allclose(frames, np.repeat(image[:, None], 2, axis=1), atol=1e-6)
  assert not np.any(moved)


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
