"""The face in its picture: a still one is the picture, a speaking one changes nothing around it, and no seam shows."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from atvg_jax.generate import demo
from atvg_jax.generate.effects import paste
from atvg_jax.generate.portrait import find_face
from data_pipelines import features
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def picture():
  return video_reader.read_image(demo.portrait())


def _rotated(picture, angle, scale):
  turned = Image.fromarray(picture).rotate(angle, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90))
  size = (round(turned.width * scale), round(turned.height * scale))
  return np.asarray(turned.resize(size, Image.Resampling.LANCZOS))


def _opened(points, pixels):
  """The lower lip and the chin go down."""
  opened = points.copy()
  opened[[55, 56, 57, 58, 59, 65, 66, 67], 1] += pixels
  opened[4:13, 1] += 0.8 * pixels
  return opened


@pytest.mark.parametrize('angle, scale', [(0, 1), (12, 1.5), (-7, 0.45), (0, 0.2)])
def test_a_still_face_is_the_picture_and_the_background_is_untouched(picture, angle, scale):
  image = _rotated(picture, angle, scale)
  portrait = find_face(image)
  points = face_alignment.denormalise(portrait.landmarks)
  paster = paste.Paster(image, portrait.matrix, points)
  still = paster(portrait.crop, points)
  assert np.abs(still.astype(int) - image).max() <= 3  # resampling at the same place
  before = image.copy()
  out = paster(portrait.crop[::-1].copy(), _opened(points, 8))
  left, top, right, bottom = paster.box
  outside = np.ones(image.shape[:2], bool)
  outside[top:bottom, left:right] = False
  assert outside.any() and (out[outside] == image[outside]).all()
  assert (image == before).all() and out.shape == image.shape and out.dtype == np.uint8
  # It does change the mouth, and on the blend's border, where a seam would be, next to nothing.
  change = np.abs(out.astype(int) - image).max(axis=-1)[top:bottom, left:right]
  assert change.max() > 20
  assert max(change[0].max(), change[-1].max(), change[:, 0].max(), change[:, -1].max()) <= 4


def test_the_lips_move_with_the_landmarks_and_the_net_fills_the_mouth(picture):
  portrait = find_face(picture)
  points = face_alignment.denormalise(portrait.landmarks)
  green = np.zeros((128, 128, 3), np.uint8)
  green[..., 1] = 200
  opened = _opened(points, 10)
  out = paste.Paster(picture, portrait.matrix, points)(green, opened)
  crop, before = face_alignment.warp(out, portrait.matrix).astype(int), portrait.crop.astype(int)
  x, y = opened[[61, 62, 63, 65, 66, 67]].mean(axis=0).astype(int)
  middle = crop[y, x]
  assert middle[1] > middle[0] + 50 and middle[1] > middle[2] + 50
  # Below the lower lip is what was there before ten pixels higher.
  x, y = points[57].astype(int)
  now = crop[y + 9 : y + 14, x - 6 : x + 7]
  moved, unmoved = (before[y + shift : y + shift + 5, x - 6 : x + 7] for shift in (-1, 9))
  assert np.abs(now - moved).mean() < np.abs(now - unmoved).mean() / 2
  # Eyes and brows are the picture's.
  assert (np.abs(crop - before)[: int(points[features.EYES, 1].max())] <= 1).all()


def test_a_mouth_that_opens_as_wide_as_mouths_do_is_filled_to_its_lower_lip(picture):
  portrait = find_face(picture)
  points = face_alignment.denormalise(portrait.landmarks)
  green = np.zeros((128, 128, 3), np.uint8)
  green[..., 1] = 200
  opened = _opened(points, 24)  # half the distance of the eyes
  crop = face_alignment.warp(paste.Paster(picture, portrait.matrix, points)(green, opened), portrait.matrix).astype(int)
  x = int(opened[66, 0])
  column = crop[int(opened[62, 1]) + 4 : int(opened[66, 1]) - 1, x]
  assert len(column) > 15 and (column[:, 1] > column[:, [0, 2]].max(axis=1) + 50).all()


def test_faces_at_the_edge_of_a_picture(picture):
  portrait = find_face(picture)
  left, top = face_alignment.apply(face_alignment.invert(portrait.matrix), np.array([[48.0, 40.0]]))[0].astype(int)
  cut = np.ascontiguousarray(picture[top:, left:])  # half of the face is outside
  matrix = portrait.matrix.copy()
  matrix[:, 2] += portrait.matrix[:, :2] @ (left, top)
  points = face_alignment.denormalise(portrait.landmarks)
  out = paste.Paster(cut, matrix, points)(portrait.crop, _opened(points, 5))
  assert out.shape == cut.shape


def test_a_mouth_that_is_shut_shows_nothing_of_the_net(picture):
  portrait = find_face(picture)
  shut = face_alignment.denormalise(portrait.landmarks)
  for upper, lower in features.INNER_LIP_PAIRS:
    shut[[upper, lower], 1] = shut[[upper, lower], 1].mean()
  green = np.zeros((128, 128, 3), np.uint8)
  green[..., 1] = 200
  out = paste.Paster(picture, portrait.matrix, shut)(green, shut)
  assert np.abs(out.astype(int) - picture).max() <= 1


def test_lips_cover_the_teeth_of_a_smile_and_leave_them_where_they_are(picture):
  portrait = find_face(picture)
  points = face_alignment.denormalise(portrait.landmarks)
  smiling = _opened(points, 6)
  green, black = np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128, 3), np.uint8)
  green[..., 1] = 200
  smile = paste.Paster(picture, portrait.matrix, points)(green, smiling)  # green teeth
  paster = paste.Paster(smile, portrait.matrix, smiling)

  def green_of(shown):
    crop = face_alignment.warp(paster(black, shown), portrait.matrix).astype(int)
    x, y = points[[61, 62, 63, 65, 66, 67]].mean(axis=0).astype(int)
    part = crop[y - 4 : y + 14, x - 4 : x + 5]
    return (part[..., 1] - part[..., 0]).mean(axis=1)  # row by row

  shown, shut, opened = green_of(smiling), green_of(points), green_of(_opened(points, 12))
  rows = slice(6, 9)  # of the teeth
  assert shown[rows].min() > 60 and shut.max() < 0
  np.testing.assert_allclose(opened[rows], shown[rows], atol=12)  # the same teeth in the same place


def test_a_smiles_dark_corners_are_gone_where_it_shuts():
  """Its mouth is open from corner to corner, farther than the inner lips' landmarks say."""
  shut = face_alignment.denormalise(find_face(video_reader.read_image(demo.portrait())).landmarks)
  for upper, lower in features.INNER_LIP_PAIRS:
    shut[[upper, lower], 1] = shut[[upper, lower], 1].mean()
  smiling = shut.copy()
  smiling[[60, 64], 0] = shut[[48, 54], 0] + [5, -5]
  smiling[[65, 66, 67, 55, 56, 57, 58, 59], 1] += 6
  picture = Image.new('L', (512, 512), 160)
  edge = smiling[[48, 61, 62, 63, 54, 65, 66, 67]]
  ImageDraw.Draw(picture).polygon([tuple(point) for point in 4 * edge], fill=0)
  picture = np.repeat(np.asarray(picture)[..., None], 3, axis=-1)
  paster = paste.Paster(picture, np.array([[0.25, 0, 0], [0, 0.25, 0]]), smiling)
  frame = np.full((128, 128, 3), 160, np.uint8)

  def dark(target):
    return (paster(frame, target)[..., 0] < 80).sum()

  assert dark(shut) < 0.01 * dark(smiling)
  ajar = [dark(shut + share * (smiling - shut)) for share in (0.25, 0.5, 0.75)]
  assert np.all(np.diff([dark(shut), *ajar, dark(smiling)]) > 0)
