"""Which of several faces: what can be said, and whom it means in pictures and in the shots of videos."""

import drawn_clips
import numpy as np
import pytest

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_choice, face_landmarker
from data_pipelines.faces.face_tracks import FaceTrack

BOXES = np.array([[200, 50, 300, 150], [10, 60, 60, 110], [400, 40, 460, 100]], float)


@pytest.mark.parametrize(
  'text, index',
  [('largest', 0), ('left', 1), ('Right', 2), ('1', 1), ('2', 0), ('3', 2), ('430,70', 2), (' 35.5, 130 ', 1)],
)
def test_a_face_of_a_picture_is_chosen(text, index):
  assert face_choice.of_picture(face_choice.parse(text), BOXES) == index


@pytest.mark.parametrize(
  'text, sentence',
  [
    ('4', 'no face number 4: 3 faces are seen'),
    ('900,70', 'no face at 900,70: faces are at 35,85; 250,100; 430,70'),
    ('speaking', 'this is a picture'),
  ],
)
def test_who_is_not_there_is_told(text, sentence):
  with pytest.raises(InputError, match=sentence):
    face_choice.of_picture(face_choice.parse(text), BOXES)


@pytest.mark.parametrize('text', ['', 'biggest', '0', '-1', '1.5', '1,2,3', 'nan,3', '1e999,2', '１,x'])
def test_what_is_no_choice_is_told(text):
  with pytest.raises(InputError, match='is no choice of a face: use largest, left, right'):
    face_choice.parse(text)


def _track(start: int, length: int, x: float, size: float = 40.0) -> FaceTrack:
  """A face that stands still, `size` pixels wide."""
  points = np.random.default_rng(0).uniform(-0.5, 0.5, (features.NUM_LANDMARKS, 2))
  points[features.LEFT_EYE], points[features.RIGHT_EYE] = (0.2, -0.2), (-0.2, -0.2)
  landmarks = np.broadcast_to((size * points + (x, 100)).astype(np.float32), (length, features.NUM_LANDMARKS, 2))
  return FaceTrack(start, landmarks, np.ones(length, bool), np.zeros(length, np.float32))


# Two people, of whom the left one is lost for a while; a shot of one; a shot of a small one, a large one, and another.
TRACKS = [
  _track(0, 20, 100, 30),
  _track(0, 50, 300),
  _track(30, 20, 110, 30),
  _track(50, 10, 500),
  _track(60, 10, 50, 20),
  _track(60, 10, 150, 50),
  _track(60, 10, 320),
]


@pytest.mark.parametrize(
  'text, drawn',
  [
    ('largest', [1, 1, 1, 1, 1, 3, 5]),
    ('left', [0, 0, None, 2, 2, 3, 4]),
    ('right', [1, 1, 1, 1, 1, 3, 6]),
    ('2', [1, 1, 1, 1, 1, None, 5]),
    ('3', [None, None, None, None, None, None, 6]),
    ('305,100', [1, 1, 1, 1, 1, None, 6]),
  ],
)
def test_one_face_at_a_time_is_chosen_in_every_shot(text, drawn):
  chosen = face_choice.of_tracks(face_choice.parse(text), TRACKS)
  for frame, index in zip([5, 15, 25, 35, 45, 55, 65], drawn):
    at = [
      i
      for i, (track, mask) in enumerate(zip(TRACKS, chosen))
      if track.start <= frame < track.end and mask[frame - track.start]
    ]
    assert at == ([] if index is None else [index]), frame


def test_who_speaks_more_is_chosen_frame_by_frame():
  scores = [np.linspace(1, 0, 20), np.full(50, 0.5), np.full(20, 0.6), *(np.zeros(10) for _ in range(4))]
  chosen = face_choice.of_tracks(face_choice.parse('speaking'), TRACKS, scores)
  assert chosen[0][:9].all() and not chosen[0][11:].any()
  assert not chosen[1][:9].any() and chosen[1][11:30].all() and not chosen[1][30:].any() and chosen[2].all()


def test_faces_of_a_picture_come_from_left_to_right_small_ones_too():
  small = np.pad(drawn_clips.face()[::2, ::2], ((96, 0), (0, 0), (0, 0)), mode='edge')
  picture = np.concatenate([drawn_clips.face(), small, drawn_clips.face(0.03)], axis=1)
  shapes = face_choice.in_picture(face_landmarker.FaceLandmarker(), picture)
  assert [shape.faces_seen for shape in shapes] == [3, 3, 3]
  middles = [float(shape.points[:, 0].mean()) for shape in shapes]
  np.testing.assert_allclose(middles, [96, 240, 384], atol=12)
