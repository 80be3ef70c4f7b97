"""CPBD against the package `cpbd-py312`, and the published variant against a plain loop over its definition."""

import cpbd as reference_cpbd
import golden_recipe as golden
import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image, ImageFilter

from atvg_jax.metrics import cpbd, published_metrics


@pytest.fixture(scope='module')
def portrait():
  with matplotlib.cbook.get_sample_data('grace_hopper.jpg') as file:
    return Image.open(file).convert('L')


@pytest.mark.parametrize('blur', [0, 1, 2.5])
def test_standard_cpbd_is_the_packages(portrait, blur):
  image = np.asarray(portrait.filter(ImageFilter.GaussianBlur(blur)).crop((96, 40, 352, 360)))
  assert cpbd.cpbd(image) == pytest.approx(reference_cpbd.compute(image), abs=1e-9)


def test_standard_cpbd_on_noise_and_flat_pictures():
  with np.load(golden.path('metrics_images.npz'), allow_pickle=False) as file:
    noisy = published_metrics.published_grey(file['generated'][2])
  for image in (noisy, np.zeros((64, 64)), np.tile(np.arange(128.0), (128, 1))):
    assert cpbd.cpbd(image) == pytest.approx(reference_cpbd.compute(image), abs=1e-9)


def test_blur_lowers_sharpness(portrait):
  scores = [cpbd.cpbd(np.asarray(portrait.filter(ImageFilter.GaussianBlur(blur)))) for blur in (0, 1.5, 3)]
  assert scores[0] > scores[1] > scores[2]


def _published_width(image, row, column):
  """One edge's width by the published script's loops."""

  def margin(direction, goes_on):
    for k in range(101):
      inner, outer = column + direction * (1 + k), column + direction * (2 + k)
      if not 0 <= outer < image.shape[1] or not goes_on(image[row, outer] - image[row, inner]):
        break
    return k + 1

  down, across = (gradient[row, column] for gradient in np.gradient(image))
  angle = 45 * np.round(np.degrees(np.arctan2(down, across)) / 45) if across else 0
  if angle == 0:
    return margin(1, lambda d: d > 0) + margin(-1, lambda d: d < 0)
  if abs(angle) == 180:
    return margin(-1, lambda d: d > 0) + margin(1, lambda d: d <= 0)
  return 0


def test_published_widths_are_those_of_its_loops():
  image = np.random.default_rng(0).integers(0, 4, (24, 130)).astype(float)
  image[3:6] = np.minimum(np.arange(130), 120)  # a long rise
  image[8:11] = 0  # level
  widths = cpbd._edge_widths(image[None], np.ones((1, *image.shape), bool), level_is_edge=True)[0]
  expected = np.zeros_like(image)
  for row in range(1, 23):
    for column in range(1, 129):
      expected[row, column] = _published_width(image, row, column)
  np.testing.assert_array_equal(widths, expected)


def test_the_two_variants_are_not_the_same_metric(portrait):
  image = np.asarray(portrait)
  assert cpbd.cpbd_published(image) < 0.7 * cpbd.cpbd(image)


def test_small_or_coloured_pictures_are_refused():
  for shape in ((63, 64), (64, 64, 3)):
    with pytest.raises(ValueError, match='64x64'):
      cpbd.cpbd(np.zeros(shape))


def test_a_part_is_scored_with_the_whole(portrait):
  image = np.asarray(portrait)[40:168, 200:328]
  whole, all_of_it = cpbd.cpbd_with_part(image[:64, :64], (0, 64, 0, 64))
  assert whole == all_of_it == cpbd.cpbd(image[:64, :64])
  whole, part = cpbd.cpbd_with_part(image, (40, 90, 30, 100))
  assert whole == cpbd.cpbd(image) and 0 < part <= 1
  soft = np.array(image)
  soft[30:100, 20:110] = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))[30:100, 20:110]
  assert cpbd.cpbd_with_part(soft, (40, 90, 30, 100))[1] < part
