"""AT-net learns one person's mouth by its last layer alone, and tells how late the sound is."""

import drawn_clips
import numpy as np
import pytest
import random_nets

from atvg_jax import landmarks as lm
from atvg_jax.personalise import at_adaptation
from data_pipelines.faces import face_alignment
from data_pipelines.records import landmark_statistics


@pytest.fixture(scope='module')
def bundle():
  return random_nets.bundle('at')  # an ensemble of two


@pytest.fixture(scope='module')
def clips(bundle):
  return list(at_adaptation.predict(bundle, str(drawn_clips.converted('grid')), 'train'))


def test_a_changed_last_layer_says_what_the_change_says(bundle, clips):
  change = np.random.default_rng(0).normal(size=(clips[0].states.shape[1] + 1, 6)) * 0.1
  changed = bundle._replace(params=at_adaptation._with_change(bundle.params, change))
  for clip, again in zip(
    clips, at_adaptation.predict(changed, str(drawn_clips.converted('grid')), 'train'), strict=True
  ):
    np.testing.assert_allclose(again.coefficients, at_adaptation._changed(clip, change).coefficients, atol=1e-4)
    np.testing.assert_array_equal(again.states, clip.states)


def _moved(bundle, clips, weights):
  """The clips, their faces moved as `weights` [F + 1, K] say of the states, from rests that differ."""
  basis, rng = bundle.basis, np.random.default_rng(1)
  made = []
  for clip in clips:
    coefficients = clip.coefficients + clip.states @ weights[:-1] + weights[-1]
    rest = lm.closed(basis.mean + rng.normal(size=136) * 0.01, basis).astype(np.float32)
    made.append(clip._replace(landmarks=np.float32(lm.from_coefficients(coefficients, rest, basis)), rest=rest))
  return made


def test_a_mouth_that_moves_in_its_own_way_is_followed(bundle, clips):
  states = np.concatenate([clip.states for clip in clips])
  weights = np.random.default_rng(0).normal(size=(states.shape[1] + 1, 6)) / states.std() / 4
  persons = _moved(bundle, clips * 20, weights)  # as much as a minute
  adapted = at_adaptation.adapt(bundle, persons)
  change = at_adaptation._ridge(persons, adapted.basis)
  errors = [
    np.mean([np.square(clip.coefficients - at_adaptation._targets(clip, adapted.basis)).mean() for clip in those])
    for those in (persons, [at_adaptation._changed(clip, change) for clip in persons])
  ]
  assert errors[1] < 0.1 * errors[0]
  np.testing.assert_allclose(
    adapted.params['member0']['head']['bias'] - bundle.params['member0']['head']['bias'], change[-1], atol=1e-5
  )
  assert 1 <= adapted.config['generation']['exaggeration'] <= 1.2
  assert bundle.config['generation']['exaggeration'] != 1, 'the start is left as it is'


def test_whether_it_helps_is_asked_of_what_it_was_not_adapted_to(bundle):
  rng = np.random.default_rng(4)
  weights, length = rng.normal(size=(40, 6)) / 60, 70

  def in_and_out_of_sample(follows):
    clips = []
    for number in range(6):
      states = np.float32(rng.normal(size=(length, 40)) * 10)
      coefficients = states @ weights if follows else rng.normal(size=(length, 6))
      landmarks = np.float32(lm.from_coefficients(coefficients, bundle.basis.mean, bundle.basis))
      nothing = np.zeros((length, 6), np.float32)
      gate = np.ones(length, np.float32)
      clips.append(at_adaptation.Clip(str(number), landmarks, bundle.basis.mean, nothing, gate, states))
    change = at_adaptation._ridge(clips, bundle.basis)
    seen = at_adaptation.scores(bundle, [at_adaptation._changed(clip, change) for clip in clips])
    return seen, *at_adaptation.cross_validate(bundle, clips)

  seen, before, after = in_and_out_of_sample(follows=True)
  assert min(seen.opening_r, after.opening_r) > 0.95 and before.opening_r == 0
  assert after.lmd < 0.5 * before.lmd
  seen, _, after = in_and_out_of_sample(follows=False)
  assert seen.opening_r > 0.2 > 0.15 > abs(after.opening_r)


def test_one_long_clip_is_cut_so_that_it_can_be_cross_validated(bundle, clips):
  (moved,) = _moved(bundle, clips[:1], np.zeros((clips[0].states.shape[1] + 1, 6)))
  arrays = ('landmarks', 'coefficients', 'gate', 'states')
  long = moved._replace(**{name: np.concatenate([getattr(moved, name)] * 16)[:200] for name in arrays})
  pieces = at_adaptation._pieces(long)
  assert [len(piece.gate) for piece in pieces] == [67, 67, 66]
  for name in arrays:
    np.testing.assert_array_equal(np.concatenate([getattr(piece, name) for piece in pieces]), getattr(long, name))
  before, after = at_adaptation.cross_validate(bundle, [long])
  assert np.isfinite([before, after]).all()


def test_scores_are_of_the_mouth_and_the_moments_when_it_opens(bundle, clips):
  still = [clip._replace(landmarks=np.repeat(bundle.basis.mean[None], len(clip.landmarks), axis=0)) for clip in clips]
  held = [clip._replace(coefficients=np.zeros_like(clip.coefficients)) for clip in still]
  assert at_adaptation.scores(bundle, held)[:2] == (pytest.approx(0, abs=1e-4), 0)
  moving = _moved(bundle, clips, np.zeros((clips[0].states.shape[1] + 1, 6)))
  assert at_adaptation.scores(bundle, moving).opening_r == pytest.approx(1, abs=1e-3)
  assert at_adaptation.scores(bundle, moving).opening_range == pytest.approx(1.2, abs=1e-3), 'the exaggeration'


def test_little_is_learnt_from_little(bundle, clips):
  weights = np.zeros((clips[0].states.shape[1] + 1, 6))
  weights[-1] = 1
  few, many = (at_adaptation._ridge(_moved(bundle, clips * times, weights), bundle.basis) for times in (1, 50))
  assert 0 < few[-1].mean() < many[-1].mean() < 1.01


def test_the_rest_is_that_of_the_person(bundle, clips):
  shape = face_alignment.normalise(face_alignment.TEMPLATE)
  shape[2 * 48 : 2 * 68] *= 1.1  # a wider mouth
  rng = np.random.default_rng(2)
  rests = [shape + rng.normal(size=136) * 1e-3 for _ in range(6)]
  moves = rng.normal(size=(6, 40, 6))
  persons = [
    (np.float32(lm.from_coefficients(move, rest, bundle.basis)), np.float32(rest))
    for move, rest in zip(moves, rests, strict=True)
  ]
  basis = lm.of_person(bundle.basis, landmark_statistics.accumulate(persons))
  np.testing.assert_allclose(basis.mean, np.mean(rests, axis=0), atol=1e-5)
  assert basis.person_share > 0 == bundle.basis.person_share
  open_frames = [
    (landmarks[t], rest) for landmarks, rest in persons for t in range(40) if lm.mouth_gap(landmarks[t]) > 2.5 / 64
  ]
  assert len(open_frames) > 20
  of_anybody, of_person = (
    np.mean([np.abs(lm.rest_from_example(frame, known) - lm.closed(rest, known)).max() for frame, rest in open_frames])
    for known in (bundle.basis, basis)
  )
  assert of_person < 0.3 * of_anybody


def test_one_picture_s_rest_is_moved_towards_the_person_s_at_the_mouth_and_not_far(bundle):
  rest = np.asarray(lm.closed(bundle.basis.mean, bundle.basis), np.float32)
  known = bundle.basis._replace(mean=rest, person_share=np.float32(0.4))
  strayed = rest.copy()
  strayed[2 * 54], strayed[2 * 8 + 1], strayed[2 * 30] = strayed[2 * 54] + 0.01, strayed[17] + 0.5, strayed[60] + 0.01
  moved = lm.rest_from_example(strayed, known) - lm.rest_from_example(strayed, bundle.basis)
  assert moved[2 * 54] == pytest.approx(-0.4 * 0.01, abs=1e-6)  # a corner of the mouth
  assert moved[2 * 8 + 1] == pytest.approx(-0.4 * 2 / 64, abs=1e-6)  # the chin: by what two pixels are
  assert not moved[: 2 * 2].any() and not moved[2 * 15 : 2 * 48].any()  # ears, brows, nose and eyes stay


@pytest.mark.parametrize('late', [-6, 0, 5])
def test_late_sound_is_measured(bundle, late):
  rng = np.random.default_rng(3)
  clips = []
  for length in (75, 60, 90):
    move = np.zeros((length + 40, 6), np.float32)
    move[:, 0] = np.convolve(rng.normal(size=length + 40), np.ones(4), 'same')
    true, predicted = move[20 : 20 + length], move[20 - late : 20 - late + length]
    landmarks = np.float32(lm.from_coefficients(true, bundle.basis.mean, bundle.basis))
    clips.append(
      at_adaptation.Clip(
        '', landmarks, bundle.basis.mean, predicted, np.ones(length, np.float32), np.zeros((length, 1))
      )
    )
  found = at_adaptation.offset(clips, bundle.basis)
  assert found.seconds == pytest.approx(late / 25, abs=0.01)
  assert found.correlation > 0.99 and found.elsewhere < 0.6
