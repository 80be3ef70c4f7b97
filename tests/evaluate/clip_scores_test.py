"""A clip against itself is perfect, and each kind of damage moves the scores that it should, and only those."""

import drawn_clips
import numpy as np
import pytest
from scipy import ndimage

from atvg_jax.evaluate import clip_scores
from atvg_jax.generate import demo
from atvg_jax.generate.portrait import find_face
from data_pipelines import features
from data_pipelines.faces import face_alignment, face_blendshapes, face_landmarker
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def clip():
  """Aligned crops uint8 [T, 128, 128, 3] of the drawn face, and its landmarks [T, 136]."""
  frames = drawn_clips.frames(20)
  track = face_landmarker.FaceLandmarker().track(frames)
  matrices = face_alignment.align_track(track.landmarks)
  crops = np.stack([face_alignment.warp(frame, matrix) for frame, matrix in zip(frames, matrices, strict=True)])
  return crops, face_alignment.normalise(face_alignment.apply(matrices, track.landmarks)).astype(np.float32)


@pytest.fixture(scope='module')
def landmarker():
  return face_landmarker.FaceLandmarker()


def _score(landmarker, frames, clip, found=None):
  crops, landmarks = clip
  scores = clip_scores.reference_scores({'ours': frames[None]}, crops[None], landmarks[None])['ours']
  by_frame = {name: values[0] for name, values in scores.items()}
  real = clip_scores.RealClip(crops, landmarks, crops[10])
  return clip_scores.video_scores(landmarker, frames, real, by_frame, found=found)


@pytest.fixture(scope='module')
def itself(landmarker, clip):
  return _score(landmarker, clip[0], clip, found=clip[1])


def test_a_clip_against_itself_is_perfect(itself):
  assert set(itself) == set(clip_scores.COLUMNS) - {'blendshapes', 'blendshapes_face'}
  assert itself['psnr'] == itself['psnr_mouth'] == itself['psnr_lips'] == 100
  assert itself['ssim'] == pytest.approx(1, abs=1e-5) and itself['ssim_mouth'] == pytest.approx(1, abs=1e-5)
  assert itself['ssim_lips'] == pytest.approx(1, abs=1e-5)
  assert itself['lmd'] == itself['lmd_face'] == itself['velocity_error'] == itself['lag'] == 0
  assert itself['opening_r'] == pytest.approx(1, abs=1e-5) and itself['opening_range'] == pytest.approx(1, abs=1e-5)
  assert itself['color_shift'] < 2


def test_blur_costs_likeness_but_no_movement(landmarker, clip, itself):
  blurred = ndimage.gaussian_filter(clip[0], (0, 4, 4, 0))
  score = _score(landmarker, blurred, clip, found=clip[1])
  assert score['psnr'] < 45 and score['ssim'] < 0.99 and score['ssim_mouth'] < 0.99
  assert score['lmd'] == 0 and score['opening_r'] == itself['opening_r']
  assert score['color_shift'] == pytest.approx(itself['color_shift'], abs=0.5)


def test_blur_costs_sharpness():
  portrait = find_face(video_reader.read_image(demo.portrait())).crop[None]
  sharp, soft = (
    clip_scores.no_reference_scores(frames, portrait[0], (80, 120, 40, 88))
    for frames in (portrait, ndimage.gaussian_filter(portrait, (0, 1, 1, 0)))
  )
  assert 0 < soft['cpbd'] < 0.8 * sharp['cpbd'] and 0 < soft['cpbd_mouth'] < 0.8 * sharp['cpbd_mouth']
  assert soft['cpbd_lips'] < 0.8 * sharp['cpbd_lips']
  assert sharp['identity_drift'] == sharp['color_shift'] == 0 < soft['identity_drift'] < 10
  assert soft['color_shift'] < 1


def _moved(score, itself):
  """The columns whose numbers are not those of the clip against itself."""
  return {
    name for name, value in itself.items() if not np.isclose(score[name], value, rtol=1e-3, atol=1e-3, equal_nan=True)
  }


_LIKENESS = {f'{name}{part}' for name in ('psnr', 'ssim') for part in ('', '_mouth', '_lips')}
_MOVEMENT = {'lmd', 'lmd_face', 'opening_r', 'opening_range', 'false_closure', 'lag', 'velocity_error', 'jitter'}


def test_every_damage_moves_what_it_should_and_nothing_else(landmarker, clip, itself):
  crops, landmarks = clip
  same = {'found': landmarks}

  blurred = _moved(_score(landmarker, ndimage.gaussian_filter(crops, (0, 4, 4, 0)), clip, **same), itself)
  assert blurred >= _LIKENESS and not blurred & _MOVEMENT

  noise = np.random.default_rng(0).normal(0, 12, crops.shape)
  noisy = np.clip(crops + noise, 0, 255).astype(np.uint8)
  assert _LIKENESS | {'identity_drift'} <= _moved(_score(landmarker, noisy, clip, **same), itself)
  assert not _moved(_score(landmarker, noisy, clip, **same), itself) & _MOVEMENT

  below = crops.copy()
  below[:, 110:] = 0  # the collar: no lips, no face
  score = _score(landmarker, below, clip, **same)
  assert {'psnr', 'ssim', 'psnr_mouth', 'ssim_mouth', 'color_shift'} <= _moved(score, itself)
  assert not _moved(score, itself) & (_MOVEMENT | {'psnr_lips', 'ssim_lips', 'identity_drift'})

  # A whole frame late: the frames, and what is found in them.
  late = np.concatenate([crops[:1], crops[:-1]])
  score = _score(landmarker, late, clip, found=np.concatenate([landmarks[:1], landmarks[:-1]]))
  assert _LIKENESS | {'lmd', 'lmd_face', 'opening_r', 'lag', 'velocity_error'} <= _moved(score, itself)
  assert score['lag'] == 1 and score['opening_range'] == pytest.approx(1, abs=0.1)
  assert score['color_shift'] == pytest.approx(itself['color_shift'], abs=0.2)

  # Three pixels to the right: the likeness falls and all points are off, but the movement is the same.
  shifted = np.concatenate([crops[:, :, :1]] * 3 + [crops[:, :, :-3]], axis=2)
  aside = landmarks.copy()
  aside[:, ::2] += 3 / 64
  score = _score(landmarker, shifted, clip, found=aside)
  assert _LIKENESS | {'lmd', 'lmd_face', 'identity_drift'} <= _moved(score, itself)
  assert score['lmd'] == pytest.approx(3, rel=1e-3)
  assert not _moved(score, itself) & {'opening_r', 'opening_range', 'lag', 'velocity_error', 'jitter'}


def test_a_shift_and_a_delay_are_found_again_in_the_frames(landmarker, clip):
  crops, _ = clip
  late = np.concatenate([crops[:1]] * 2 + [crops[:-2]])
  score = _score(landmarker, np.roll(late, 3, axis=2), clip)
  assert score['lag'] == 2 and 2 < score['lmd_face'] < 4.5


def test_a_late_clip_has_a_lag(landmarker, clip):
  late = np.concatenate([clip[1][:1]] * 2 + [clip[1][:-2]])
  score = _score(landmarker, clip[0], clip, found=late)
  assert score['lag'] == 2
  assert score['opening_r'] < 0.5 and score['velocity_error'] > 0 and score['psnr'] == 100


def test_a_mouth_that_moves_half_has_half_the_range(landmarker, clip):
  half = clip[1].mean(axis=0) + (clip[1] - clip[1].mean(axis=0)) / 2
  score = _score(landmarker, clip[0], clip, found=half)
  assert score['opening_range'] == pytest.approx(0.5, abs=0.02) and score['opening_r'] > 0.98 and score['lag'] == 0


def _parted(landmarks, gaps):
  """Landmarks [T, 136] whose inner lips are further apart by `gaps` [T], in distances of the eyes."""
  points = landmarks.reshape(-1, 68, 2).copy()
  points[:, 65:68, 1] += (gaps * face_alignment.eye_distance(points))[:, None]
  return points.reshape(landmarks.shape)


def test_lips_that_do_not_meet_cost_closure_and_lips_that_meet_wrongly_are_false(clip, itself):
  opening = face_alignment.mouth_opening(clip[1])
  assert np.isnan(itself['closure']) and itself['false_closure'] == 0  # the drawn face's lips never touch
  shut = opening < 0.1
  true = _parted(clip[1], np.where(shut, -0.01 - opening, 0))
  perfect = clip_scores.landmark_scores(true, true)
  assert perfect['closure'] == 1 and perfect['false_closure'] == 0
  # A smile that is held: apart by a pixel and a half more where the true lips touch. The correlation hardly sees it.
  held = clip_scores.landmark_scores(_parted(true, np.where(shut, 0.04, 0)), true)
  assert held['closure'] == 0 == held['false_closure'] and held['opening_r'] > 0.99
  assert _moved(held, perfect) <= {'closure', 'lmd', 'lmd_face', 'opening_r', 'opening_range', 'velocity_error'}
  half = np.flatnonzero(~shut)[::2]
  wrong = true.copy()
  wrong[half] = true[np.flatnonzero(shut)[0]]
  assert clip_scores.landmark_scores(wrong, true)['false_closure'] == pytest.approx(len(half) / (~shut).sum())
  assert clip_scores.landmark_scores(wrong, true)['closure'] == 1
  unseen = clip_scores.landmark_scores(None, true)
  assert unseen['closure'] == 0 and np.isnan(unseen['false_closure'])


def test_blendshapes_are_those_of_the_frames(clip):
  crops, _ = clip
  true = clip_scores.look(crops)
  assert clip_scores.blendshape_scores(true, true) == {'blendshapes': 0, 'blendshapes_face': 0}
  warmer = np.clip(crops + np.array([6, 0, 0]), 0, 255).astype(np.uint8)
  tinted = clip_scores.blendshape_scores(clip_scores.look(warmer), true)
  still = clip_scores.blendshape_scores(clip_scores.look(np.repeat(crops[:1], len(crops), axis=0)), true)
  assert tinted['blendshapes'] < 0.3 < 1 < still['blendshapes']
  # Above the mouth: the mouth's shapes stay what they are.
  brows = true.blendshapes.copy()
  brows[:, face_blendshapes.NAMES.index('browInnerUp')] += 0.51
  raised = clip_scores.blendshape_scores(true._replace(blendshapes=brows), true)
  assert raised['blendshapes'] == 0 and raised['blendshapes_face'] == pytest.approx(1, rel=1e-3)
  assert all(np.isnan(value) for value in clip_scores.blendshape_scores(None, true).values())


def test_an_example_s_mouth_is_shut_or_open_or_smiles(clip):
  def seen(gap, smile):
    parted = _parted(clip[1][:1], gap - face_alignment.mouth_opening(clip[1][:1]))
    shapes = np.zeros((1, 52), np.float32)
    shapes[:, face_blendshapes.SMILE] = smile
    return clip_scores.Seen(parted, shapes)

  assert clip_scores.mouth_of(seen(0.0, 0.0)) == clip_scores.mouth_of(seen(0.0, 0.9)) == 'shut'
  assert clip_scores.mouth_of(seen(0.05, 0.1)) == 'open' and clip_scores.mouth_of(seen(0.05, 0.7)) == 'smiling'
  assert clip_scores.mouth_of(None) == ''
  assert clip_scores.mouth_of(clip_scores.look(clip[0][4:5])) == 'open'


def test_trembling_is_jitter_and_a_shift_is_distance(landmarker, clip, itself):
  trembling = clip[1].copy()
  trembling[::2] += 2 / features.IMAGE_SIZE  # a pixel to and fro, aslant
  assert _score(landmarker, clip[0], clip, found=trembling)['jitter'] > itself['jitter'] + 1
  shifted = clip[1] + np.tile(np.float32([6, 8]) / features.IMAGE_SIZE, features.NUM_LANDMARKS)  # five pixels
  score = _score(landmarker, clip[0], clip, found=shifted)
  assert score['lmd'] == pytest.approx(5, rel=1e-3) and score['lmd_face'] == pytest.approx(5, rel=1e-3)
  assert score['velocity_error'] == pytest.approx(0, abs=1e-3)
  assert score['jitter'] == pytest.approx(itself['jitter'], rel=1e-3)


def test_another_colour_is_a_shift_of_colour(landmarker, clip, itself):
  warmer = clip[0].astype(np.int16)
  warmer[..., 0] += 10
  score = _score(landmarker, np.clip(warmer, 0, 255).astype(np.uint8), clip, found=clip[1])
  assert score['color_shift'] == pytest.approx(10, abs=1)
  assert score['identity_drift'] > itself['identity_drift'] + 2


def test_a_picture_without_a_face_does_not_follow(landmarker, clip):
  score = _score(landmarker, np.zeros_like(clip[0]), clip)
  assert np.isnan(score['lmd']) and np.isnan(score['jitter']) and score['opening_r'] == score['opening_range'] == 0


def test_redetection_finds_the_face_of_a_crop(landmarker, clip):
  found = face_alignment.denormalise(clip_scores.redetect(landmarker, clip[0][:3]))
  distance = np.linalg.norm(found - face_alignment.denormalise(clip[1][:3]), axis=-1)
  assert distance[:, features.MOUTH].mean() < 2
  assert clip_scores.redetect(landmarker, np.zeros((2, 128, 128, 3), np.uint8)) is None


def test_the_example_frame_does_not_count(clip):
  still = np.repeat(clip[0][10:11], 20, axis=0)
  both = clip_scores.reference_scores({'video': still[None], 'picture': still[None, :1]}, clip[0][None], clip[1][None])
  likeness = {name: values[0] for name, values in both['video'].items()}
  for name, values in both['picture'].items():
    np.testing.assert_allclose(values[0], likeness[name], rtol=1e-5)
  assert likeness['psnr'][10] == 100
  real = clip_scores.RealClip(clip[0], clip[1], clip[0][10])
  scores = clip_scores.video_scores(None, still, real, likeness, found=clip[1])
  assert scores['psnr'] == pytest.approx(np.delete(likeness['psnr'], 10).mean(), rel=1e-5)


def test_published_formulas(clip):
  crops, landmarks = clip
  scores = clip_scores.published_scores(crops, crops, landmarks, landmarks)
  assert set(scores) == set(clip_scores.PUBLISHED_COLUMNS)
  assert (
    scores['psnr_published'] == 100 and scores['ssim_published'] == pytest.approx(1) and scores['lmd_published'] == 0
  )
