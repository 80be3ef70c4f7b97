"""Faces found and followed, on matplotlib's public-domain portrait and on films made of it."""

import concurrent.futures
import hashlib
import os
import pathlib
import subprocess
import sys

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import video_reader, video_writer

_DATA = pathlib.Path(os.environ.get('ATVG_DATA_DIR', pathlib.Path(__file__).parents[2] / '../shared/data'))


@pytest.fixture(scope='module')
def landmarker() -> face_landmarker.FaceLandmarker:
  return face_landmarker.FaceLandmarker()


@pytest.fixture(scope='module')
def portrait() -> np.ndarray:
  """Grace Hopper, 512 wide, 600 high."""
  return video_reader.read_image(matplotlib.cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))


@pytest.fixture(scope='module')
def points(landmarker, portrait) -> np.ndarray:
  return landmarker.landmarks(portrait).points


def eye_distance(shape: np.ndarray) -> float:
  return float(np.hypot(*(shape[features.LEFT_EYE].mean(0) - shape[features.RIGHT_EYE].mean(0))))


def moved(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The picture moved by `matrix` onto grey of (height, width)."""
  inverse = tuple(face_alignment.invert(matrix).reshape(-1))
  return np.array(
    Image.fromarray(image).transform(
      size[::-1], Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)
    )
  )


def motion(degrees: float, scale: float, shift) -> np.ndarray:
  angle = np.radians(degrees)
  x, y = scale * np.cos(angle), scale * np.sin(angle)
  return np.array([[x, -y, shift[0]], [y, x, shift[1]]])


def opened(image: np.ndarray, points: np.ndarray, gap: int) -> np.ndarray:
  """The portrait with the lower half of its face moved down by `gap` pixels, dark between the lips."""
  line, left, right = int(points[66, 1]), int(points[48, 0]) + 10, int(points[54, 0]) - 10
  spoken = image.copy()
  spoken[line + gap :] = image[line : len(image) - gap]
  spoken[line : line + gap] = image[line]
  spoken[line : line + gap, left:right] = (40, 15, 15)
  return spoken


def test_the_bundle_is_the_official_one():
  assets = pathlib.Path(face_landmarker.__file__).parents[1] / 'assets'
  digest = hashlib.sha256((assets / 'face_landmarker.task').read_bytes()).hexdigest()
  assert digest == '64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff'
  assert digest in (assets / 'README.md').read_text()
  assert 'Apache License' in (assets / 'LICENSE.face_landmarker').read_text()


def test_one_face_is_found_where_it_is(landmarker, portrait):
  (found,) = landmarker.detect(portrait)
  assert found.score > 0.8
  np.testing.assert_allclose(found.eyes, [(222, 188), (306, 188)], atol=12)  # read off the picture
  left, top, right, bottom = found.box
  assert 130 < left < 180 and 130 < top < 180 and 340 < right < 390 and 320 < bottom < 390


def test_the_68_points_lie_where_they_belong(landmarker, portrait, points):
  shape = landmarker.landmarks(portrait)
  assert shape.points.dtype == np.float32 and shape.points.shape == (68, 2)
  assert shape.presence > 0.95 and abs(shape.yaw) < 5 and shape.faces_seen == 1
  # Read off the picture by eye: outer eye corners, tip of the nose, mouth corners, chin.
  by_eye = {36: (206, 193), 45: (321, 187), 33: (265, 254), 48: (232, 280), 54: (304, 277), 8: (269, 335)}
  for index, place in by_eye.items():
    assert np.hypot(*(points[index] - place)) < 0.1 * eye_distance(points), index
  assert (np.diff(points[features.JAW, 0]) > 0).all() and points[8, 1] > points[57, 1] > points[51, 1] > points[30, 1]


def test_the_crop_shows_level_eyes_mouth_and_chin(portrait, points):
  matrix = face_alignment.alignment(points)
  crop = face_alignment.warp(portrait, matrix)
  assert crop.shape == (128, 128, 3)
  inside = face_alignment.apply(matrix, points)
  right_eye, left_eye = inside[features.RIGHT_EYE].mean(0), inside[features.LEFT_EYE].mean(0)
  assert abs(right_eye[1] - left_eye[1]) < 1.5 and 36 < left_eye[0] - right_eye[0] < 44
  assert 70 < inside[features.MOUTH, 1].mean() < 95 and inside[features.JAW, 1].max() < 122


@pytest.mark.parametrize(
  'degrees,scale,shift',
  [(0, 0.12, (20, 10)), (0, 0.3, (200, 100)), (25, 0.8, (300, 0)), (-35, 0.7, (0, 300)), (0, 3.0, (-100, -100))],
)
def test_points_move_with_the_picture(landmarker, portrait, points, degrees, scale, shift):
  matrix = motion(degrees, scale, shift)
  size = (1_500, 1_400) if scale > 1 else (100, 110) if scale < 0.2 else (700, 800)
  shape = landmarker.landmarks(moved(portrait, matrix, size))
  there = face_alignment.apply(face_alignment.invert(matrix), shape.points)
  error = np.hypot(*(there - points).T).mean() / eye_distance(points)
  assert error < (0.08 if scale < 0.2 else 0.035)


def test_a_mirrored_face_has_mirrored_points(landmarker, portrait, points):
  shape = landmarker.landmarks(np.ascontiguousarray(portrait[:, ::-1]))
  back = shape.points[list(features.MIRROR)] * [-1, 1] + [portrait.shape[1], 0]
  assert np.hypot(*(back - points).T).mean() < 0.03 * eye_distance(points)


def test_small_faces_are_found_in_tiles(landmarker, portrait, points):
  scene = np.full((1_000, 1_900, 3), 110, np.uint8)
  small = np.asarray(Image.fromarray(portrait).resize((128, 150), Image.Resampling.LANCZOS))
  scene[830:980, 1_700:1_828] = small
  shape = landmarker.landmarks(scene)
  assert shape.faces_seen == 1
  error = np.hypot(*((shape.points - (1_700, 830)) * 4 - points).T).mean() / eye_distance(points)
  assert error < 0.05


def test_the_largest_of_several_is_taken(landmarker, portrait, points):
  scene = np.full((600, 1_100, 3), 110, np.uint8)
  scene[:, :512] = portrait
  scene[100:400, 700:956] = np.asarray(Image.fromarray(portrait).resize((256, 300)))
  found = landmarker.detect(scene)
  assert len(found) == 2 and found[0].box[2] < 512 < found[1].box[0]
  shape = landmarker.landmarks(scene)
  assert shape.faces_seen == 2
  assert np.hypot(*(shape.points - points).T).mean() < 0.03 * eye_distance(points)


@pytest.mark.parametrize('size', [(300, 400), (1, 1), (2_000, 3)])
def test_no_face_is_told(landmarker, size):
  noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
  with pytest.raises(InputError, match='No face was found'):
    landmarker.landmarks(noise)
  with pytest.raises(InputError, match='No face was found in any frame'):
    landmarker.track([noise] * 2)
  with pytest.raises(InputError, match='no frame'):
    landmarker.track([])


def test_a_moving_face_is_followed_and_its_crop_stays_still(landmarker, portrait, points, tmp_path):
  times = np.arange(40)
  matrices = [
    motion(8 * np.sin(t / 9), 0.5 + 0.05 * np.sin(t / 7), (40 + 2 * t, 30 + 10 * np.sin(t / 5))) for t in times
  ]
  with video_writer.VideoWriter(tmp_path / 'a.mp4', (360, 480)) as writer:
    for matrix in matrices:
      writer.append(moved(portrait, matrix, (360, 480)))
  frames = video_reader.read_video(tmp_path / 'a.mp4').frames
  track = landmarker.track(frames)
  assert track.landmarks.shape == (40, 68, 2) and track.landmarks.dtype == np.float32
  assert track.presence.shape == (40,) and track.presence.min() > 0.9 and track.faces_seen == 1
  true = np.stack([face_alignment.apply(matrix, points) for matrix in matrices])
  error = np.hypot(*np.moveaxis(track.landmarks - true, -1, 0)).mean() / (eye_distance(points) / 2)
  assert error < 0.04
  matrices = face_alignment.align_track(track.landmarks)
  inside = face_alignment.apply(matrices, true)
  assert inside.std(axis=0).max() < 1.0  # pixels of the crop, though the face moved by 80
  tremble = np.diff(inside[:, features.STEADY], n=2, axis=0)
  assert np.sqrt((tremble**2).mean()) < 0.15


def test_a_spoken_syllable_keeps_its_height(landmarker, portrait, points):
  gaps = [0, 0, 0, 0, 8, 16, 24, 16, 8, 0, 0, 0, 0]
  frames = [opened(portrait, points, gap) for gap in gaps]
  track = landmarker.track(frames)

  def opening(shapes):
    crop_points = face_alignment.apply(face_alignment.alignment(shapes), shapes)
    return face_alignment.mouth_opening(face_alignment.normalise(crop_points))

  smoothed = opening(track.landmarks)
  alone = opening(np.stack([landmarker.landmarks(frame).points for frame in frames]))
  assert np.argmax(smoothed) == 6 and smoothed[6] > 0.1
  rest = np.median(alone[[0, 1, 2, -2, -1]])
  assert smoothed[6] - rest > 0.88 * (alone[6] - rest)
  # The crop does not follow the jaw.
  matrices = face_alignment.align_track(track.landmarks)
  assert np.abs(matrices - matrices[0])[:, :, 2].max() < 3


def test_lost_frames_are_filled_and_counted(landmarker, portrait):
  half = np.ascontiguousarray(portrait[::2, ::2])
  track = landmarker.track([half] * 4 + [np.full_like(half, 90)] * 3 + [np.roll(half, 30, 1)] * 4)
  np.testing.assert_array_equal(track.presence < 0.5, [False] * 4 + [True] * 3 + [False] * 4)
  assert np.isfinite(track.landmarks).all() and np.isfinite(track.yaw).all()
  steps = np.diff(track.landmarks[:, 30, 0])
  assert abs(track.landmarks[-1, 30, 0] - track.landmarks[0, 30, 0] - 30) < 2
  assert (steps[3:7] > 4).all()  # a straight line between, not a jump


def test_one_frame_is_a_track(landmarker, portrait, points):
  track = landmarker.track(iter([portrait]))
  assert track.landmarks.shape == (1, 68, 2)
  np.testing.assert_allclose(track.landmarks[0], points, atol=1)
  assert face_alignment.align_track(track.landmarks).shape == (1, 2, 3)


def test_nothing_is_written_to_standard_error():
  code = (
    'import numpy as np; from data_pipelines.faces import face_landmarker as faces; '
    'faces.FaceLandmarker().detect(np.zeros((64, 64, 3), np.uint8)); '
    'import sys; assert not {"tensorflow", "jax", "librosa"} & set(sys.modules)'
  )
  result = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=pathlib.Path(__file__).parents[2]
  )
  assert result.stderr == '' and result.stdout == ''


def test_portraits_and_clips_of_the_development_data(landmarker):
  if not (_DATA / 'portraits').is_dir():
    pytest.skip('The development data are not here: set ATVG_DATA_DIR to their folder.')
  for path in sorted((_DATA / 'portraits/london').iterdir())[::10]:
    shape = landmarker.landmarks(video_reader.read_image(path))
    inside = face_alignment.apply(face_alignment.alignment(shape.points), shape.points)
    assert shape.presence > 0.9 and shape.faces_seen == 1, path
    assert inside[:, 1].max() < 122, path
    assert np.abs(inside[features.STEADY] - face_alignment.TEMPLATE[features.STEADY]).max() < 8, path
  for path in [*sorted((_DATA / 'grid_s1/video').iterdir())[:1], *sorted((_DATA / 'lrw_ar/video').iterdir())[::400]]:
    clip = video_reader.read_video(path)
    track = landmarker.track(clip.frames)
    assert track.presence.min() > 0.5, path
    inside = face_alignment.apply(face_alignment.align_track(track.landmarks), track.landmarks)
    assert inside[:, features.MOUTH, 1].max() < 112 and inside[:, features.JAW, 1].max() < 126, path
    opening = face_alignment.mouth_opening(face_alignment.normalise(inside))
    assert -0.03 < opening.min() < 0.1 and 0.06 < opening.max() < 0.6, path


def test_landmarkers_made_at_once_leave_standard_error_alone():
  before = os.fstat(2)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: face_landmarker.FaceLandmarker(), range(8)))
  assert os.path.samestat(os.fstat(2), before)
