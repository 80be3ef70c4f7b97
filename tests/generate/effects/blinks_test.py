"""Eyes close and open again, at natural times or as in a video, and nothing else of the picture changes."""

import itertools

import numpy as np
import pytest

from atvg_jax.generate import demo
from atvg_jax.generate.effects import blinks
from atvg_jax.generate.portrait import find_face
from data_pipelines import features
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def picture():
  return video_reader.read_image(demo.portrait())


@pytest.fixture(scope='module')
def points(picture):
  portrait = find_face(picture)
  return face_alignment.apply(face_alignment.invert(portrait.matrix), face_alignment.denormalise(portrait.landmarks))


def _blinks(closed):
  """(first frame, number of frames, farthest) of every blink."""
  runs = itertools.groupby(enumerate(closed), lambda item: item[1] > 0)
  return [
    (run[0][0], len(run), max(share for _, share in run))
    for shut, run in ((shut, list(run)) for shut, run in runs)
    if shut
  ]


@pytest.mark.parametrize('seed', [0, 1])
def test_blinks_come_as_they_do_in_people(seed):
  closed = list(itertools.islice(blinks.natural(seed), 5 * 60 * features.FPS))
  assert closed[0] == 0 and closed == list(itertools.islice(blinks.natural(seed), len(closed)))
  starts, lengths, most = np.array(_blinks(closed)).T
  assert (most == 1).all()  # none is missed between two frames
  assert lengths.min() >= 4 and lengths.max() <= 8  # 160 to 320 ms
  seconds = np.diff(starts) / features.FPS
  assert 1.9 < seconds.min() < 2.6 and 5.4 < seconds.max() < 6.1
  first, count = int(starts[0]), int(lengths[0])
  assert np.argmax(closed[first : first + count]) < count / 2  # eyes shut faster than they open


def test_seeds_blink_at_other_times():
  starts = [_blinks(itertools.islice(blinks.natural(seed), 1000))[0][0] for seed in range(5)]
  assert len(set(starts)) > 2


def test_a_closed_lid_is_no_dark_smear(picture, points):
  shut = next(iter(blinks.blinking([picture], points, [1.0]))).astype(float)
  dark = picture.copy()
  for eye in (features.RIGHT_EYE, features.LEFT_EYE):  # a crease above the eye
    low, high = points[eye].min(axis=0), points[eye].max(axis=0)
    height = high[1] - low[1]
    dark[int(low[1] - 0.5 * height) : int(low[1] - 0.1 * height), int(low[0]) : int(high[0])] //= 4
  creased = next(iter(blinks.blinking([dark], points, [1.0]))).astype(float)
  for eye in (features.RIGHT_EYE, features.LEFT_EYE):
    x, y = points[eye].mean(axis=0).astype(int)
    lid = np.s_[y - 3 : y, x - 4 : x + 5]
    assert creased[lid].mean() > 0.7 * shut[lid].mean()


def _track(openings):
  """Landmarks [T, 136] of the mean face with its eyes open to these shares."""
  points = np.repeat(face_alignment.TEMPLATE[None].astype(np.float64), len(openings), axis=0)
  for eye in (features.RIGHT_EYE, features.LEFT_EYE):
    for upper, lower in ((1, 5), (2, 4)):
      low = points[:, eye.start + lower]
      points[:, eye.start + upper] = low + np.asarray(openings)[:, None] * (points[:, eye.start + upper] - low)
  return face_alignment.normalise(points)


def test_a_blink_is_that_of_the_video():
  openings = [1, 0.98, 0.9, 0.5, 0.05, 0.3, 0.7, 1, 1, 1, 1, 1]
  closed = list(itertools.islice(blinks.of_track(_track(openings)), 23))
  assert closed[:3] == [0, 0, 0] and closed[4] == 1 and closed[7:12] == [0] * 5
  assert 0.4 < closed[3] < 0.6 < closed[5] < 0.9 and 0 < closed[6] < 0.3
  np.testing.assert_allclose(closed[11:], closed[11::-1][:12])  # and back again


def test_eyes_that_never_open_say_nothing():
  assert not any(itertools.islice(blinks.of_track(_track([0.1] * 9)), 20))
  assert list(itertools.islice(blinks.of_track(_track([1])), 3)) == [0, 0, 0]


def _seen(picture):
  """How far the eyes of a picture are open, as a detector of faces sees it."""
  landmarks = face_landmarker.FaceLandmarker().landmarks(picture).points
  return [float(blinks._openness(landmarks[eye])) for eye in (features.RIGHT_EYE, features.LEFT_EYE)]


@pytest.mark.parametrize('turn', [0.0, 0.4])
def test_closed_eyes_are_seen_as_closed(picture, points, turn):
  cosine, sine = np.cos(turn), np.sin(turn)
  matrix = np.array([[cosine, -sine, 100.0], [sine, cosine, -60.0]])
  turned = face_alignment.warp(picture, matrix, 600)
  frames = list(blinks.blinking([turned] * 3, face_alignment.apply(matrix, points), [0, 0.5, 1]))
  assert (frames[0] == turned).all()
  open_, half, shut = (np.array(_seen(frame)) for frame in frames)
  assert (half < 0.8 * open_).all() and (shut < 0.4 * open_).all()


def test_only_around_the_eyes_pixels_change(picture, points):
  for share in (0.3, 1):
    (frame,) = blinks.blinking([picture], points, [share])
    changed = (frame != picture).any(axis=-1)
    rows, columns = np.nonzero(changed)
    eyes, brows = points[features.EYES], points[features.BROWS]
    assert changed.sum() > 200
    assert rows.min() > brows[:, 1].min() and rows.max() < points[features.NOSE, 1].max()
    assert columns.min() > eyes[:, 0].min() - 5 and columns.max() < eyes[:, 0].max() + 5
    # Where the change ends, nothing jumps.
    beyond = changed & ~np.roll(changed, 1, axis=0)
    assert np.abs(frame[beyond].astype(int) - picture[beyond]).mean() < 8


def test_a_blink_moves_on_evenly(picture, points):
  frames = list(blinks.blinking(itertools.repeat(picture), points, np.linspace(0, 1, 9)))
  steps = [np.abs(after.astype(int) - before).sum() for before, after in itertools.pairwise(frames)]
  assert max(steps) < 4 * min(steps)


def test_what_cannot_blink_stays_as_it_is(picture, points):
  turned = points.copy()
  turned[features.LEFT_EYE, 0] = turned[42, 0] + 0.6 * (turned[features.LEFT_EYE, 0] - turned[42, 0])
  shut = points.copy()
  shut[[37, 38, 43, 44]] = 0.2 * shut[[37, 38, 43, 44]] + 0.8 * shut[[41, 40, 47, 46]]
  for where in (turned, shut, points - (5000, 0), np.zeros((68, 2))):
    (frame,) = blinks.blinking([picture], where, [1])
    assert (frame == picture).all()


def test_eyes_at_the_picture_s_edge_do_no_harm(picture, points):
  cut = picture[int(points[features.EYES, 1].mean()) :, int(points[features.RIGHT_EYE, 0].mean()) :]
  shift = (int(points[features.RIGHT_EYE, 0].mean()), int(points[features.EYES, 1].mean()))
  (frame,) = blinks.blinking([cut], points - shift, [1])
  assert frame.shape == cut.shape and (frame != cut).any()
