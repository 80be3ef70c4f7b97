"""Pictures that show a face too badly are refused with what to do, unless they are forced."""

import pathlib

import drawn_clips
import numpy as np
import pytest
import random_nets
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from atvg_jax import cli
from atvg_jax.generate import demo, fitness, portrait, video_maker
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker, lips
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def landmarker():
  return face_landmarker.FaceLandmarker()


@pytest.fixture(scope='module')
def face(landmarker):
  return portrait.find_face(video_reader.read_image(demo.portrait()), landmarker)


def _masked(landmarker, cloth):
  """The demo's portrait with a mask of a colour, or of a cloth as large as the picture."""
  picture = video_reader.read_image(demo.portrait())
  points = landmarker.landmarks(picture).points
  image = Image.fromarray(picture)
  where = Image.new('L', image.size)
  ImageDraw.Draw(where).polygon([tuple(point) for point in (*points[1:16].tolist(), points[28].tolist())], 255)
  image.paste(cloth if isinstance(cloth, Image.Image) else Image.new('RGB', image.size, cloth), mask=where)
  return np.asarray(image.filter(ImageFilter.GaussianBlur(1)))


def _cloth(pattern):
  """Two colours by turns, as large as the demo's portrait."""
  width, height = Image.open(demo.portrait()).size
  down, right = np.mgrid[:height, :width] // 11
  turns = {'stripes': down, 'checks': down + right, 'dots': (down % 2) * (right % 2)}[pattern]
  colours = np.array([(235, 230, 215), (225, 120, 60) if pattern == 'checks' else (40, 60, 140)], np.uint8)
  return Image.fromarray(colours[turns % 2])


def test_a_face_from_the_front_is_fine(face, landmarker):
  fitness.check(face)
  fitness.check(portrait.find_face(drawn_clips.face(0.03), landmarker))


@pytest.mark.parametrize('colour', [(150, 190, 215), (235, 235, 235), (30, 30, 32), (90, 140, 110)])
def test_a_mask_is_told(landmarker, colour):
  masked = _masked(landmarker, colour)
  with pytest.raises(InputError, match='mouth seems to be covered, by a mask or a hand: .* --force'):
    fitness.check(portrait.find_face(masked, landmarker))
  for picture in (masked, _grey(masked), _pale(masked), _painted(masked)):
    assert lips.covered(picture, landmarker.landmarks(picture).points)


@pytest.mark.parametrize('pattern', ['stripes', 'checks', 'dots'])
def test_a_mask_with_a_pattern_is_told(landmarker, pattern):
  masked = _masked(landmarker, _cloth(pattern))
  for picture in (masked, _grey(masked)):
    assert lips.covered(picture, landmarker.landmarks(picture).points)


def _grey(picture):
  return np.asarray(Image.fromarray(picture).convert('L').convert('RGB'))


def _pale(picture):
  return (128 + 0.5 * (_grey(picture).astype(float) - 128)).astype(np.uint8)


def _painted(picture):
  image = Image.fromarray(picture).reduce(2).filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.ModeFilter(5))
  return np.asarray(ImageEnhance.Color(image).enhance(0.45))


@pytest.mark.parametrize('name', ['painted.png', 'smiling.jpg', 'shut.jpg', 'bearded.jpg', 'nobody.jpg'])
@pytest.mark.parametrize('style', [np.asarray, _grey, _pale])
def test_a_mouth_without_colour_is_no_mask(landmarker, name, style):
  picture = style(video_reader.read_image(pathlib.Path(__file__).parents[2] / 'docs' / 'gallery' / name))
  assert not lips.covered(picture, landmarker.landmarks(picture).points)


def test_a_painted_portrait_is_no_mask(landmarker):
  picture = _painted(video_reader.read_image(demo.portrait()))
  assert not lips.covered(picture, landmarker.landmarks(picture).points)


def test_fingers_over_the_mouth_are_told(landmarker):
  picture = video_reader.read_image(demo.portrait()).copy()
  points = landmarker.landmarks(picture).points
  width, (x, y) = np.linalg.norm(points[54] - points[48]), points[48:60].mean(axis=0)
  down, right = np.mgrid[: len(picture), : picture.shape[1]]
  across = (down - y) / (0.3 * width)
  skin = np.median(picture[right.shape[0] // 2 - 20 : right.shape[0] // 2, int(x) - 20 : int(x) + 20], axis=(0, 1))
  light = 0.82 + 0.28 * np.sqrt(1 - (2 * (across % 1) - 1) ** 2)
  where = (np.abs(across) < 2) & (right > x - width)
  picture[where] = np.clip(skin * light[where][:, None], 0, 255)
  for covered in (picture, _grey(picture)):
    assert lips.covered(covered, landmarker.landmarks(covered).points)


def test_what_is_turned_or_small_is_told(face):
  with pytest.raises(InputError, match=r'turned by 55 degrees, 40 are allowed: .* --force'):
    fitness.check(face._replace(yaw=-55.0))
  with pytest.raises(InputError, match=r'too small, 12.0 pixels between the eyes where 16 are needed: .* --force'):
    fitness.check(face._replace(eye_distance=12.0))


def test_force_goes_on(landmarker, tmp_path, capsys):
  nets = random_nets.save(tmp_path)
  Image.fromarray(_masked(landmarker, (150, 190, 215))).save(tmp_path / 'masked.png')
  argv = ['generate', '--image', str(tmp_path / 'masked.png'), '--audio', demo.speech(), '--weights', *nets]
  assert cli.main([*argv, '--out', str(tmp_path / 'a.mp4')]) == 2
  told = capsys.readouterr().err
  assert 'masked.png: the mouth seems to be covered' in told and not (tmp_path / 'a.mp4').exists()
  assert cli.main([*argv, '--force', '--out', str(tmp_path / 'a.mp4')]) == 0


def test_the_face_of_a_picture_is_chosen_and_who_is_not_there_is_told(tmp_path):
  maker = video_maker.VideoMaker(random_nets.save(tmp_path))
  picture = np.concatenate([drawn_clips.face(), drawn_clips.face(0.03)], axis=1)
  path = str(tmp_path / 'two.png')
  Image.fromarray(picture).save(path)
  middles = {}
  for which in ('left', 'right', '2', '96,100'):
    matrix = face_alignment.invert(maker.face(path, which)[0].matrix)
    middles[which] = float((matrix @ [64, 64, 1])[0])
  assert middles['left'] == middles['96,100'] < 192 < middles['right'] == middles['2']
  with pytest.raises(InputError, match='two.png: there is no face number 3: 2 faces are seen'):
    maker.face(path, '3')
