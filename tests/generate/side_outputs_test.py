"""What is kept beside a video belongs to its frames."""

import numpy as np
import pytest
import random_nets

from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.generate import demo
from atvg_jax.generate.generator import Generator
from atvg_jax.models.landmark_warp import unknown_mouth, warped
from data_pipelines import features
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def generator(tmp_path_factory):
  at, vg = load_nets(random_nets.save(tmp_path_factory.mktemp('nets')))
  # Not sharpened, so that the frames are what their maps mix.
  return Generator(at, vg._replace(config=vg.config | {'generation': vg.config['generation'] | {'sharpen': 0.0}}))


def test_maps_mix_into_the_frames(generator):
  portrait = generator.find_face(video_reader.read_image(demo.portrait()))
  sound = (0.3 * np.random.default_rng(0).normal(size=7 * features.SAMPLES_PER_FRAME)).astype(np.float32)
  landmarks = list(generator.speech_landmarks(portrait, sound, 4))
  drawn = list(generator.draw(portrait, landmarks, 4))
  example = generator.normalisation.conditions(portrait.landmarks).example_landmarks.reshape(1, -1)
  with_maps = list(generator.draw(portrait, landmarks, 4, maps=True))
  assert [len(piece.frames) for piece in with_maps] == [4, 3]
  for piece, plain, points in zip(with_maps, (piece.frames for piece in drawn), landmarks, strict=True):
    np.testing.assert_array_equal(piece.landmarks, points)
    assert np.abs(piece.frames.astype(int) - plain).max() <= 1  # a grey level
    attention = piece.maps['attention'] / 255.0
    assert attention.shape == plain.shape and np.ptp(attention) > 0.1 and (attention[..., :1] == attention).all()
    image, points = portrait.crop[None].astype(np.float32), points[None]
    base, shade = warped(image, example, points)[0][0], unknown_mouth(example, points, features.IMAGE_SIZE)[0]
    mixed = attention * piece.maps['motion'] + (1 - attention) * base
    mixed = mixed * (1 - generator.bundles['vg'].config['generation']['darken'] * shade)
    assert np.abs(mixed - plain).max() < 3  # all three are rounded
