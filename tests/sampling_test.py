"""The compiled sampler gives Pillow's picture, to rounding, wherever the square lies."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines import sampling


@pytest.mark.parametrize('x, y, side, degrees', [
    (60, 50, 80, 0), (60, 50, 80, 17), (10, 95, 90, -30), (60, 50, 300, 45), (-500, 0, 40, 0), (119, 99, 3, 5)])
def test_it_is_what_pillow_does(x, y, side, degrees):
  noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
  picture = Image.fromarray(noise).resize((120, 100), Image.Resampling.BICUBIC)
  turn = np.array([[np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))],
                   [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))]]) * side / 64
  matrix = np.concatenate([turn, (np.array([x, y]) - turn @ [32, 32])[:, None]], axis=1)
  expected = picture.transform((64, 64), Image.Transform.AFFINE, tuple(matrix.reshape(-1)), Image.Resampling.BILINEAR)
  found = sampling.bilinear(picture, matrix, 64)
  assert found.dtype == np.float32 and found.shape == (64, 64, 3)
  difference = found * 255 - np.asarray(expected, float)
  assert difference.min() > -0.3 and difference.max() < 1.3  # Pillow rounds down


def test_a_picture_of_one_pixel():
  picture = Image.new('RGB', (1, 1), (255, 0, 51))
  found = sampling.bilinear(picture, np.array([[0.01, 0, 0], [0, 0.01, 0.0]]), 64)
  np.testing.assert_allclose(found, np.broadcast_to([1, 0, 0.2], (64, 64, 3)), atol=1e-6)
