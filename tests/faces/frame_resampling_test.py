"""The compiled samplers give Pillow's picture wherever the square lies: to rounding, and to the bit."""

import platform

import numpy as np
import pytest
from PIL import Image

from data_pipelines.faces import face_alignment, frame_resampling

_SQUARES = [(60, 50, 80, 0), (60, 50, 80, 17), (10, 95, 90, -30), (60, 50, 300, 45), (-500, 0, 40, 0), (119, 99, 3, 5)]


def _picture() -> Image.Image:
  noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
  return Image.fromarray(noise).resize((120, 100), Image.Resampling.BICUBIC)


def _matrix(x, y, side, degrees):
  """From a square of 64 pixels to one of `side` around a place."""
  turn = (
    np.array(
      [
        [np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))],
        [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))],
      ]
    )
    * side
    / 64
  )
  return np.concatenate([turn, (np.array([x, y]) - turn @ [32, 32])[:, None]], axis=1)


def _by_pillow(picture, matrix, resampling):
  return np.asarray(picture.transform((64, 64), Image.Transform.AFFINE, tuple(matrix.reshape(-1)), resampling))


@pytest.mark.parametrize('x, y, side, degrees', _SQUARES)
def test_it_is_what_pillow_does(x, y, side, degrees):
  picture, matrix = _picture(), _matrix(x, y, side, degrees)
  expected = _by_pillow(picture, matrix, Image.Resampling.BILINEAR)
  found = frame_resampling.bilinear(picture, matrix, 64)
  assert found.dtype == np.float32 and found.shape == (64, 64, 3)
  difference = found * 255 - np.asarray(expected, float)
  assert difference.min() > -0.3 and difference.max() < 1.3  # Pillow rounds down


@pytest.mark.parametrize('x, y, side, degrees', [*_SQUARES, (32, 32, 64, 0), (40.5, 30.5, 64, 90)])
@pytest.mark.parametrize('noise', [False, True])
def test_bicubic_pixels_are_those_of_pillow(x, y, side, degrees, noise):
  """Records must not change with the code that cuts their pictures out."""
  picture = _picture()
  if noise:  # overshoots at both ends of the range
    picture = Image.fromarray(np.random.default_rng(1).choice([0, 255], (100, 120, 3)).astype(np.uint8))
  matrix = _matrix(x, y, side, degrees)
  found = frame_resampling.bicubic(np.asarray(picture), matrix, 64)
  assert found.dtype == np.uint8
  # Where a compiler may fuse a product and a sum, Pillow's own rounding depends on the machine.
  allowed = 0 if platform.machine() in ('x86_64', 'AMD64') else 1
  expected = _by_pillow(picture, matrix, Image.Resampling.BICUBIC)
  np.testing.assert_allclose(found.astype(int), expected.astype(int), rtol=0, atol=allowed)


@pytest.mark.parametrize('scale', [0.4, 1.7])
def test_a_crop_is_the_same_by_either(scale):
  matrix = np.array([[scale, 0.05, 3.3], [-0.05, scale, -20.7]])
  image = np.asarray(_picture())
  allowed = 0 if platform.machine() in ('x86_64', 'AMD64') else 1
  crops = [face_alignment.warp(image, matrix, sample=sample).astype(int) for sample in (None, frame_resampling.bicubic)]
  np.testing.assert_allclose(crops[0], crops[1], rtol=0, atol=allowed)
  assert crops[0].std() > 10


def test_a_picture_of_one_pixel():
  picture = Image.new('RGB', (1, 1), (255, 0, 51))
  matrix = np.array([[0.01, 0, 0], [0, 0.01, 0.0]])
  found = frame_resampling.bilinear(picture, matrix, 64)
  np.testing.assert_allclose(found, np.broadcast_to([1, 0, 0.2], (64, 64, 3)), atol=1e-6)
  np.testing.assert_array_equal(
    frame_resampling.bicubic(np.asarray(picture), matrix, 64), np.broadcast_to(np.uint8([255, 0, 51]), (64, 64, 3))
  )
