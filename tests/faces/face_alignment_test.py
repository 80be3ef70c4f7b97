"""The crop that holds nose and eyes still, and landmarks as the nets see them."""

import numpy as np
import pytest

from data_pipelines import features
from data_pipelines.faces import face_alignment

MIRROR = np.array(features.MIRROR)
TEMPLATE = face_alignment.TEMPLATE


def turned(points: np.ndarray, degrees: float, scale: float, shift) -> np.ndarray:
  angle = np.radians(degrees)
  turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  return points @ turn.T + shift


def eye_centres(points: np.ndarray) -> np.ndarray:
  return np.stack([points[..., eye, :].mean(axis=-2) for eye in (features.RIGHT_EYE, features.LEFT_EYE)], axis=-2)


def test_the_template_leaves_room_for_an_open_mouth():
  assert TEMPLATE.shape == (68, 2) and TEMPLATE.dtype == np.float32
  left, right = eye_centres(TEMPLATE)
  np.testing.assert_allclose(left[1], right[1], atol=0.01)
  assert 38 < right[0] - left[0] < 42 and 40 < left[1] < 44
  assert 80 < TEMPLATE[features.MOUTH, 1].mean() < 88
  assert TEMPLATE[8, 1] < 114
  mirrored = TEMPLATE[MIRROR] * [-1, 1] + [128, 0]
  np.testing.assert_allclose(mirrored, TEMPLATE, atol=0.01)


def test_mirror_undoes_itself_and_keeps_the_parts():
  np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(68))
  for part in (features.JAW, features.BROWS, features.NOSE, features.EYES, features.MOUTH):
    assert set(MIRROR[part]) == set(range(68)[part])


def test_similarity_finds_turn_scale_and_shift_again():
  generator = np.random.default_rng(0)
  source = generator.standard_normal((5, 21, 2)) * 30
  target = np.stack(
    [
      turned(points, angle, scale, shift)
      for points, angle, scale, shift in zip(
        source, (0, 20, -90, 180, 5), (1, 0.3, 2, 1, 1), generator.standard_normal((5, 2)) * 50
      )
    ]
  )
  matrices = face_alignment.similarity(source, target)
  np.testing.assert_allclose(face_alignment.apply(matrices, source), target, atol=1e-9)
  np.testing.assert_allclose(face_alignment.similarity(source[1], target[1]), matrices[1])


def test_similarity_is_the_least_squares_one():
  generator = np.random.default_rng(1)
  source, target = generator.standard_normal((2, 12, 2))
  # x' = a x - b y + u, y' = b x + a y + v: the general solver on the same four unknowns
  x, y = source.T
  one, zero = np.ones(12), np.zeros(12)
  system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
  a, b, u, v = np.linalg.lstsq(system, target.T.reshape(-1), rcond=None)[0]
  np.testing.assert_allclose(face_alignment.similarity(source, target), [[a, -b, u], [b, a, v]], atol=1e-9)


def test_points_all_in_one_place_do_not_divide_by_zero():
  assert np.isfinite(face_alignment.similarity(np.ones((21, 2)), TEMPLATE[features.STEADY])).all()


def test_invert_undoes_apply():
  matrix = face_alignment.similarity(turned(TEMPLATE, 17, 2.2, (100, 50)), TEMPLATE)
  points = np.random.default_rng(2).standard_normal((9, 2)) * 100
  np.testing.assert_allclose(
    face_alignment.apply(face_alignment.invert(matrix), face_alignment.apply(matrix, points)), points
  )


def test_the_alignment_looks_at_nose_and_eyes_alone():
  face = turned(TEMPLATE, -12, 3, (200, 90))
  spoken = face.copy()
  spoken[features.MOUTH] += 20
  spoken[features.JAW] -= 20
  np.testing.assert_array_equal(face_alignment.alignment(face), face_alignment.alignment(spoken))
  np.testing.assert_allclose(face_alignment.apply(face_alignment.alignment(face), face), TEMPLATE, atol=1e-3)


def test_the_crop_of_a_track_does_not_tremble():
  generator = np.random.default_rng(3)
  still = np.repeat(turned(TEMPLATE, 5, 1.5, (60, 40))[None], 60, 0)
  noisy = (still + 0.4 * generator.standard_normal(still.shape)).astype(np.float32)
  place = face_alignment.apply(face_alignment.align_track(noisy), still)[:, 8]  # where the chin comes to lie
  alone = face_alignment.apply(face_alignment.alignment(noisy), still)[:, 8]

  def step(path):
    return np.abs(np.diff(path, axis=0)).mean()

  assert step(place) < 0.2 * step(alone)
  # A slow motion of the head is followed, not lagged behind.
  moving = still + np.linspace(0, 60, 60)[:, None, None]
  np.testing.assert_allclose(
    face_alignment.apply(face_alignment.align_track(moving), moving), np.repeat(TEMPLATE[None], 60, 0), atol=1e-2
  )


@pytest.mark.parametrize('length', [1, 2, 3, 5, 40])
@pytest.mark.parametrize('weights', [face_alignment.LIGHT, face_alignment.STRONG])
def test_smoothing_keeps_length_constants_and_lines(length, weights):
  line = np.linspace(3, 7, length)[:, None, None] * np.ones((1, 68, 2))
  np.testing.assert_allclose(face_alignment.smooth(line, weights), line)
  assert face_alignment.smooth(line.astype(np.float32), weights).dtype == np.float32


def test_the_light_smoothing_leaves_speech_its_reach():
  times = np.arange(100) / features.FPS
  for hertz, kept in ((2, 0.99), (3, 0.97), (4, 0.92)):
    lips = np.sin(2 * np.pi * hertz * times)
    assert face_alignment.smooth(lips[:, None], face_alignment.LIGHT)[10:-10].std() > kept * lips[10:-10].std()
  noise = np.random.default_rng(4).standard_normal((2_000, 1))
  assert face_alignment.smooth(noise, face_alignment.LIGHT).std() < 0.72


def test_warp_puts_the_picture_where_the_matrix_says():
  image = np.zeros((200, 300, 3), np.uint8)
  image[100:104, 150:154] = 255  # its middle at (152, 102)
  for degrees, scale in ((0, 1), (30, 1), (0, 0.5), (-20, 2)):
    matrix = face_alignment.similarity(
      np.array([[152, 102], [162, 102]]), turned(np.array([[0, 0], [10, 0]]), degrees, scale, (64, 40))
    )
    crop = face_alignment.warp(image, matrix)
    assert crop.shape == (128, 128, 3) and crop.dtype == np.uint8
    weights = crop[..., 0].astype(float)
    rows, columns = np.indices((128, 128)) + 0.5
    np.testing.assert_allclose(
      [(columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()], [64, 40], atol=0.1
    )
    np.testing.assert_allclose(weights.sum() / 255, 16 * scale**2, rtol=0.1)  # no light is lost


def test_warp_without_a_change_is_exact():
  image = np.random.default_rng(5).integers(0, 255, (128, 128, 3), dtype=np.uint8)
  np.testing.assert_array_equal(face_alignment.warp(image, np.eye(2, 3)), image)


def test_warp_averages_where_it_shrinks():
  fine = np.zeros((1_200, 1_200, 3), np.uint8)
  fine[::2] = 255  # stripes that a bare sampling would turn into false broad ones
  for scale in (0.5, 0.3, 0.13):
    crop = face_alignment.warp(fine, np.array([[scale, 0, 0], [0, scale, 0]]))[4:-4, 4:-4]
    assert np.abs(crop.astype(float) - 127.5).max() < 30


def test_warp_repeats_the_edge_beyond_the_picture():
  image = np.full((50, 60, 3), 90, np.uint8)
  image[0] = 200
  crop = face_alignment.warp(image, np.array([[1.0, 0, 30], [0, 1.0, 30]]))
  assert (crop[:30] == 200).all() and (crop[40:, :] == 90).all()
  assert (face_alignment.warp(image, np.array([[1.0, 0, 900], [0, 1.0, 900]])) == 200).all()  # wholly beside it


def test_normalise_and_back():
  points = np.random.default_rng(6).uniform(0, 128, (2, 3, 68, 2))
  landmarks = face_alignment.normalise(points)
  assert landmarks.shape == (2, 3, 136) and landmarks.dtype == np.float32
  np.testing.assert_allclose(landmarks[..., 0], points[..., 0, 0] / 64 - 1, atol=1e-6)
  np.testing.assert_allclose(landmarks[..., 1], points[..., 0, 1] / 64 - 1, atol=1e-6)
  np.testing.assert_allclose(face_alignment.denormalise(landmarks), points, atol=1e-4)


def talking(openings: np.ndarray) -> np.ndarray:
  """[T] gaps in eye distances -> [T, 136]."""
  points = np.repeat(TEMPLATE[None], len(openings), 0)
  distance = np.hypot(*np.subtract(*eye_centres(TEMPLATE)))
  for upper, lower in features.INNER_LIP_PAIRS:
    points[:, lower, 1] = points[:, upper, 1] + distance * openings
  return face_alignment.normalise(points)


def test_mouth_opening_is_in_eye_distances():
  openings = np.array([0.0, 0.1, 0.25, -0.01])
  np.testing.assert_allclose(face_alignment.mouth_opening(talking(openings)), openings, atol=1e-5)
  larger = face_alignment.normalise(face_alignment.denormalise(talking(openings)) * 0.5)
  np.testing.assert_allclose(face_alignment.mouth_opening(larger), openings, atol=1e-5)


def test_the_face_at_rest_is_the_mean_of_the_most_closed_frames():
  openings = np.array([0.3, 0.0, 0.2, 0.02, 0.3, 0.3, 0.04, 0.3, 0.3, 0.3])
  rest = face_alignment.rest_landmarks(talking(openings))
  assert rest.shape == (136,)
  np.testing.assert_allclose(face_alignment.mouth_opening(rest), 0.02, atol=1e-5)
  np.testing.assert_allclose(face_alignment.rest_landmarks(talking(openings[:1])), talking(openings[:1])[0])


@pytest.mark.parametrize('rate', [24, 25, 60])
def test_smoothing_lasts_as_long_at_every_rate(rate):
  light, strong = face_alignment.light(rate), face_alignment.strong(rate)
  if rate == 25:
    np.testing.assert_allclose(light, face_alignment.LIGHT)
    np.testing.assert_allclose(strong, face_alignment.STRONG)
  assert light.sum() == pytest.approx(1)
  place = np.arange(len(light)) - len(light) // 2
  assert (light * place**2).sum() == pytest.approx(0, abs=1e-9)  # a parabola is kept
  place = np.arange(len(strong)) - len(strong) // 2
  width = np.sqrt((strong * place**2).sum() / strong.sum()) / rate
  assert width == pytest.approx(2 / 25, rel=0.1)
