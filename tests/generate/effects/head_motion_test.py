"""Heads move a little, never far, and nothing around them does."""

import itertools
import wave

import numpy as np
import pytest
import random_nets

from atvg_jax.generate import demo, video_maker
from atvg_jax.generate.effects import head_motion
from atvg_jax.generate.portrait import find_face
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def picture():
  return video_reader.read_image(demo.portrait())


@pytest.fixture(scope='module')
def portrait(picture):
  return find_face(picture)


def test_a_gentle_head_begins_where_it_is_and_moves_smoothly():
  matrices = np.stack(list(itertools.islice(head_motion.gentle(), 1000)))
  np.testing.assert_allclose(matrices[0], np.eye(2, 3), atol=1e-12)
  places = face_alignment.apply(matrices, np.broadcast_to([[64.0, 110.0]], (1000, 1, 2)))[:, 0]
  assert 1 < np.abs(places - (64, 110)).max() < 6
  assert np.abs(np.diff(places, axis=0)).max() < 0.25  # of a pixel in a frame


def test_a_head_follows_another_up_to_a_limit():
  def shifted(x, turn=0.0):
    cosine, sine = np.cos(turn), np.sin(turn)
    return face_alignment.invert(np.array([[2 * cosine, -2 * sine, x], [2 * sine, 2 * cosine, 50.0]]))

  track = np.stack([shifted(10), shifted(11), shifted(200), shifted(10, 0.01)])
  moves = list(itertools.islice(head_motion.of_track(track), 7))
  shift, far, turned = (face_alignment.apply(matrix, np.array([[64.0, 60.0]]))[0] - (64, 60) for matrix in moves[1:4])
  np.testing.assert_allclose(shift, (0.5, 0), atol=0.01)  # one pixel of the video is half of one of the crop
  np.testing.assert_allclose(far, (3, 0), atol=0.01)
  assert np.arctan2(moves[3][1, 0], moves[3][0, 0]) == pytest.approx(0.01, rel=0.05) and np.abs(turned).max() < 2
  np.testing.assert_allclose(moves[4], moves[2])  # and back again
  np.testing.assert_allclose(moves[6], moves[0])


def test_the_face_moves_and_the_corners_do_not(picture, portrait):
  move = head_motion._similarity(2.0, 1.0, 0.02, 0.01)
  still, moved = head_motion.moved_pictures([picture, picture], portrait, [np.eye(2, 3), move])
  assert np.abs(still.astype(int) - picture).max() <= 1
  assert (moved[-20:] == picture[-20:]).all() and (moved != picture).mean() > 0.2
  assert np.abs(moved[0].astype(int) - picture[0]).max() <= 3  # the picture's own border
  before, after = (find_face(image).matrix for image in (picture, moved))
  centre = np.array([[64.0, 60.0]])
  places = [
    face_alignment.apply(portrait.matrix, face_alignment.apply(face_alignment.invert(matrix), centre))
    for matrix in (before, after)
  ]
  np.testing.assert_allclose(places[1] - places[0], [(2, 1)], atol=0.7)


@pytest.mark.parametrize('frame', ['crop', 'full'])
def test_a_moving_head_speaks(tmp_path, picture, frame):
  nets = random_nets.save(tmp_path)
  speech, out = tmp_path / 'a.wav', tmp_path / 'a.mp4'
  with wave.open(str(speech), 'wb') as file:
    file.setparams((1, 2, 16_000, 0, 'NONE', ''))
    file.writeframes(np.random.default_rng(0).integers(-5000, 5000, 6400, np.int16).tobytes())
  video_maker.generate_video(demo.portrait(), str(out), audio=str(speech), frame=frame, motion='gentle', weights=nets)
  frames = video_reader.read_video(out).frames
  assert len(frames) == 10
  assert frames[0].shape == (picture.shape if frame == 'full' else (128, 128, 3))
