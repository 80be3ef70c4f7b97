"""What is kept beside a video belongs to its frames."""

import os

import full_disks
import jax
import numpy as np
import pytest
import random_nets

from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.generate import demo, side_outputs
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.pieces import Piece
from atvg_jax.models.landmark_warp import unknown_mouth, warped
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader, video_writer


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
  move, shut = jax.jit(warped), jax.jit(unknown_mouth, static_argnums=2)
  for piece, plain, points in zip(with_maps, (piece.frames for piece in drawn), landmarks, strict=True):
    np.testing.assert_array_equal(piece.landmarks, points)
    assert np.abs(piece.frames.astype(int) - plain).max() <= 1  # a grey level
    attention = piece.maps['attention'] / 255.0
    assert attention.shape == plain.shape and np.ptp(attention) > 0.1 and (attention[..., :1] == attention).all()
    image, points = portrait.crop[None].astype(np.float32), points[None]
    base, shade = move(image, example, points)[0][0], shut(example, points, features.IMAGE_SIZE)[0]
    mixed = attention * piece.maps['motion'] + (1 - attention) * base
    mixed = mixed * (1 - generator.bundles['vg'].config['generation']['darken'] * shade)
    assert np.abs(mixed - plain).max() < 3  # all three are rounded


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
@pytest.mark.parametrize('kinds', [('landmarks',), ('attention',), ('landmarks', 'attention', 'motion')])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(generator, tmp_path, kinds, suffix):
  rng = np.random.default_rng(0)
  portrait = generator.find_face(video_reader.read_image(demo.portrait()))
  noise = rng.integers(0, 256, (60, 128, 128, 3)).astype(np.uint8)
  piece = Piece(rng.normal(size=(60, 136)).astype(np.float32), noise, {'attention': noise, 'motion': noise})
  out = str(tmp_path / f'a{suffix}')
  saver = side_outputs.Saver(out, kinds, portrait, generator.normalisation)
  full = pytest.raises(InputError, match='cannot be written'), full_disks.small_files(20_000)
  with full[0], full[1], saver, video_writer.VideoWriter(out, (128, 128)) as writer:
    for kept in saver.keep([piece]):
      writer.append(kept.frames[0])
    saver.finish()
  assert not os.listdir(tmp_path)


def test_names_too_long_are_told_before_anything_is_drawn(tmp_path):
  side_outputs.check(('landmarks',), str(tmp_path / ('n' * 241 + '.mp4')))
  with pytest.raises(InputError, match='choose a shorter one'):
    side_outputs.check(('landmarks',), str(tmp_path / ('n' * 250 + '.mp4')))
