"""One picture and one recording give frames of the right number and shape; bad input gives a sentence."""

import os

import numpy as np
import pytest
import random_nets
from PIL import Image

from atvg_jax import landmarks as lm
from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.generate import demo
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.portrait import find_face
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio, video_reader


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
  return random_nets.save(tmp_path_factory.mktemp('nets'))


@pytest.fixture(scope='module')
def generator(nets):
  return Generator.from_pretrained(*nets)


@pytest.fixture(scope='module')
def image():
  return video_reader.read_image(demo.portrait())


@pytest.fixture(scope='module')
def portrait(image):
  return find_face(image)


def _speech(seconds):
  return audio.read_audio(demo.speech())[: int(seconds * features.SAMPLE_RATE)]


@pytest.mark.parametrize('num_samples, num_frames', [(100, 1), (32 * 640, 32), (33 * 640 - 5, 33), (40 * 640 + 1, 41)])
def test_as_many_frames_as_the_sound_is_long(generator, portrait, image, num_samples, num_frames):
  samples = np.full(num_samples, 0.1, np.float32)
  frames = generator(image, samples)
  assert frames.shape == (num_frames, 128, 128, 3) and frames.dtype == np.uint8
  pieces = list(generator.speech_landmarks(portrait, samples))
  assert sum(map(len, pieces)) == num_frames


def test_the_mouth_is_where_the_crop_has_it(portrait):
  points = face_alignment.denormalise(portrait.landmarks)
  assert portrait.crop.shape == (128, 128, 3) and portrait.faces_seen == 1
  assert np.abs(points[features.STEADY] - face_alignment.TEMPLATE[features.STEADY]).mean() < 6
  assert 70 < points[features.MOUTH, 1].mean() < 100


def test_several_faces_the_largest_is_taken(image, portrait):
  small = np.asarray(Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2)))
  both = np.full((image.shape[0], image.shape[1] + small.shape[1], 3), 255, np.uint8)
  both[: small.shape[0], : small.shape[1]] = small
  both[:, small.shape[1] :] = image
  found = find_face(both)
  assert found.faces_seen == 2
  assert np.abs(found.crop.astype(int) - portrait.crop).mean() < 8


def test_a_driving_face_moves_this_one_by_its_own_deviation(generator, portrait):
  rest = generator.normalisation.conditions(portrait.landmarks).rest
  opening = np.linspace(0, 1, 20)[:, None] * generator.basis.components[0] * 0.3
  # A driving face of another shape: its own rest does not come through, its movement does.
  other = rest + 0.01 * np.random.default_rng(0).normal(size=features.LANDMARK_SIZE)
  moved = generator.normalisation.transfer(portrait.landmarks, (other + opening).astype(np.float32))
  gap, wanted = lm.mouth_gap(moved), lm.mouth_gap(rest + opening)
  assert np.corrcoef(gap, wanted)[0, 1] > 0.99
  assert np.ptp(gap) == pytest.approx(np.ptp(wanted), rel=0.15)
  np.testing.assert_allclose(moved[:3], np.tile(rest, (3, 1)), atol=0.06)
  # A head that turns bends nothing: sideways movement of the whole jaw is not in the basis of mouths that open.
  assert np.abs(moved[:, 2 * 27 : 2 * 48] - rest[2 * 27 : 2 * 48]).max() < 1e-3


def test_a_driving_face_that_is_never_seen_shut_moves_this_one_from_shut(generator, portrait):
  conditions = generator.normalisation.conditions(portrait.landmarks)
  opened = lm.closed(portrait.landmarks, generator.basis) + 0.1 * generator.basis.opening
  moved = generator.normalisation.transfer(portrait.landmarks, np.tile(opened, (5, 1)).astype(np.float32))
  assert lm.mouth_gap(moved - conditions.rest) == pytest.approx(np.full(5, 0.1), rel=0.2)


def test_weights_in_either_order_and_bad_ones(nets, tmp_path):
  assert [bundle.kind for bundle in load_nets(nets[::-1])] == ['at', 'vg']
  assert [bundle.kind for bundle in load_nets([os.path.dirname(nets[0])])] == ['at', 'vg']
  with pytest.raises(InputError, match='both weights of AT-net'):
    load_nets([nets[0], nets[0]])
  with pytest.raises(InputError, match='VG-net'):
    Generator.from_pretrained(nets[1])
  with pytest.raises(InputError, match='no weights'):
    Generator.from_pretrained(str(tmp_path / 'none.npz'))


@pytest.mark.parametrize(
  'samples, reason',
  [
    (np.zeros(0, np.float32), 'empty'),
    (np.zeros(16000, np.float32), 'silent'),
    (np.full(16000, np.nan, np.float32), 'not finite'),
    (np.zeros((2, 100), np.float32), 'float32'),
    (np.ones(100, np.int16), 'float32'),
  ],
)
def test_sound_that_is_no_speech_is_refused(generator, image, samples, reason):
  with pytest.raises(InputError, match=reason):
    generator(image, samples)


def test_pictures_without_a_face_are_refused(generator):
  with pytest.raises(InputError, match='[Nn]o face'):
    generator(np.full((300, 300, 3), 90, np.uint8), _speech(0.2))
  with pytest.raises(InputError, match='uint8'):
    generator(np.zeros((300, 300, 3), np.float32), _speech(0.2))
