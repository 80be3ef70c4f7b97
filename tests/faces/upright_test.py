"""Pictures that lie or stand on their head are turned; tilted heads are not."""

import numpy as np
import pytest
from PIL import Image

from atvg_jax.generate import demo
from data_pipelines.errors import InputError
from data_pipelines.faces import face_landmarker, upright
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def landmarker():
  return face_landmarker.FaceLandmarker()


@pytest.fixture(scope='module')
def picture():
  return video_reader.read_image(demo.portrait())


@pytest.mark.parametrize('turns', range(4))
def test_a_picture_in_any_position_is_found_upright(landmarker, picture, turns):
  assert upright.quarter_turns(np.ascontiguousarray(np.rot90(picture, -turns)), landmarker) == turns


@pytest.mark.parametrize('angle', [-40, -20, 20, 40])
def test_a_tilted_head_stays(landmarker, picture, angle):
  tilted = Image.fromarray(picture).rotate(angle, expand=True, fillcolor=(120, 120, 120))
  assert upright.quarter_turns(np.asarray(tilted), landmarker) == 0


def test_a_small_face_on_its_head_is_found(landmarker, picture):
  page = np.full((1600, 1200, 3), 200, np.uint8)
  small = np.asarray(Image.fromarray(picture).resize((256, 300)))
  page[1200:1500, 700:956] = small[::-1, ::-1]
  assert upright.quarter_turns(page, landmarker) == 2


@pytest.mark.parametrize('turns', [0, 1, 2])
def test_of_a_video_some_pictures_are_kept_and_asked(landmarker, picture, turns):
  small = np.asarray(Image.fromarray(picture).resize((256, 300)))
  samples = upright.Samples()
  for number in range(300):
    # Two thirds show nobody.
    samples.add(np.rot90(small, turns) if number % 36 == 0 else np.full((300, 256, 3), 128, np.uint8))
  assert 4 <= len(samples._pictures) <= 8
  if turns == 2:
    with pytest.raises(InputError, match='a.mp4 stands on its head: turn it first'):
      samples.check('a.mp4', landmarker)
  else:
    samples.check('a.mp4', landmarker)


def test_nobody_is_told(landmarker):
  with pytest.raises(InputError, match='No face'):
    upright.quarter_turns(np.full((300, 400, 3), 128, np.uint8), landmarker)
