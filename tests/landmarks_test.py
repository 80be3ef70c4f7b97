"""The landmark basis recovers a known movement, keeps identity out, and closes open mouths."""

import numpy as np
import pytest

from atvg_jax import landmarks
from data_pipelines.errors import InputError


def _statistics(rng, frames=400):
  """Faces of many people (rest shapes) that move along two known directions and turn a little."""
  opening = np.zeros((68, 2))
  opening[[66, 65, 67, 57, 8], 1] = [1, 1, 1, 0.8, 0.7]
  widening = np.zeros((68, 2))
  widening[[48, 60], 0], widening[[54, 64], 0] = -0.5, 0.5
  turn = np.zeros((68, 2))
  turn[0:17, 0] = 1  # all the jaw to one side: what a turning head does
  rest = rng.normal(size=(frames, 136)) * 0.1
  movement = (
    rng.normal(size=(frames, 1)) * 0.1 * opening.reshape(-1)
    + rng.normal(size=(frames, 1)) * 0.04 * widening.reshape(-1)
    + rng.normal(size=(frames, 1)) * 0.3 * turn.reshape(-1)
  )
  statistics = {
    'count': frames,
    'rest_sum': rest.sum(0),
    'rest_count': frames,
    'deviation_outer': movement.T @ movement,
  }
  return statistics, rest, movement, opening.reshape(-1), turn.reshape(-1)


def test_mirror_is_an_involution_and_keeps_a_symmetric_face():
  rng = np.random.default_rng(0)
  face = rng.normal(size=(5, 136))
  np.testing.assert_allclose(landmarks.mirror(landmarks.mirror(face)), face)
  symmetric = (face + landmarks.mirror(face)) / 2
  np.testing.assert_allclose(landmarks.mirror(symmetric), symmetric)
  # The right corner of the mouth becomes the left one, on the other side.
  np.testing.assert_allclose(landmarks.mirror(face)[:, 2 * 48], -face[:, 2 * 54])
  np.testing.assert_allclose(landmarks.mirror(face)[:, 2 * 48 + 1], face[:, 2 * 54 + 1])


def test_fit_finds_the_mouth_and_not_the_turning_head():
  statistics, _, _, opening, turn = _statistics(np.random.default_rng(1))
  basis = landmarks.fit(statistics, 2)
  cosine = basis.components[0] @ opening / np.linalg.norm(opening)
  assert cosine > 0.99
  assert np.abs(basis.components @ turn).max() < 0.1 * np.linalg.norm(turn)
  everything = landmarks.fit(statistics, 2, points='all', symmetric=False)
  assert abs(everything.components[0] @ turn) > 0.9 * np.linalg.norm(turn)
  np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(2), atol=1e-5)
  assert basis.explained.sum() > 0.999


def test_coefficients_round_trip_whoever_the_face_is():
  statistics, rest, movement, _opening, _ = _statistics(np.random.default_rng(2))
  basis = landmarks.fit(statistics, 2)
  coefficients = np.random.default_rng(3).normal(size=(400, 2)).astype(np.float32)
  moved = landmarks.from_coefficients(coefficients, rest.astype(np.float32), basis)
  np.testing.assert_allclose(landmarks.to_coefficients(moved, rest.astype(np.float32), basis), coefficients, atol=1e-4)
  # The unit of the coefficients: the first one varies by one over the frames of the fit.
  fitted = landmarks.to_coefficients(movement, np.zeros(136), basis)
  assert np.sqrt(np.mean(fitted[:, 0] ** 2)) == pytest.approx(1, rel=1e-3)


def test_rest_from_example_closes_an_open_mouth_and_leaves_a_closed_one():
  statistics, *_ = _statistics(np.random.default_rng(4))
  basis = landmarks.fit(statistics, 2)
  face = np.tile(basis.mean, (2, 1))
  face[0] += 0.3 * basis.opening
  face[1] -= 0.1 * basis.opening
  rest = landmarks.rest_from_example(face, basis)
  np.testing.assert_allclose(rest[0], basis.mean, atol=1e-5)
  np.testing.assert_allclose(rest[1], face[1])
  assert landmarks.mouth_gap(face[0]) - landmarks.mouth_gap(rest[0]) == pytest.approx(0.3, abs=1e-5)


def test_the_rest_of_a_face_seen_speaking_is_what_is_expected_of_it():
  rng = np.random.default_rng(7)
  statistics, rest, movement, _, _ = _statistics(rng, 4000)
  symmetric = rest + landmarks.mirror(rest)
  statistics |= {'rest_sum': symmetric.sum(0), 'rest_outer': symmetric.T @ symmetric, 'deviation_sum': movement.sum(0)}
  basis = landmarks.fit(statistics, 2, rest_gap=-0.25 / 64)
  seen = symmetric + movement
  found = landmarks.rest_from_example(seen, basis)
  gaps = landmarks.mouth_gap(seen)
  np.testing.assert_allclose(landmarks.mouth_gap(found[gaps > -0.25 / 64]), -0.25 / 64, atol=1e-5)
  shut = gaps < -0.25 / 64
  assert shut.any()
  np.testing.assert_array_equal(found[shut], seen[shut])
  # Rests vary along the components as much as anywhere: part of what is seen is the face's own.
  assert basis.from_example.shape == (3, 2) and 0 < basis.from_example[1, 0] < 1
  guessed = basis.from_example[0] + landmarks.to_coefficients(seen, basis.mean, basis) @ basis.from_example[1:]
  true = landmarks.to_coefficients(movement, 0, basis)
  least, *_ = np.linalg.lstsq(
    np.c_[np.ones(4000), landmarks.to_coefficients(seen, basis.mean, basis)], true, rcond=None
  )
  np.testing.assert_allclose(basis.from_example, least, atol=0.06)
  assert np.square(guessed - true).mean() < 0.9 * np.square(true).mean()
  assert not len(landmarks.fit(statistics, 2).from_example)


@pytest.mark.parametrize('factor', [0, 0.6, 1, 1.3, 2])
def test_expressed_mouths_move_further_and_lips_that_touch_still_do(factor):
  rng = np.random.default_rng(5)
  basis = landmarks.fit(_statistics(rng)[0], 2, rest_gap=-0.25 / 64)
  rest = (basis.mean - (landmarks.mouth_gap(basis.mean) - basis.rest_gap) * basis.opening)[None]
  moved = landmarks.from_coefficients(rng.normal(size=(500, 2)) * 0.5, rest, basis)
  expressed = landmarks.express(moved, rest, basis, factor)
  gaps, ours = landmarks.mouth_gap(moved), landmarks.mouth_gap(expressed)
  touching = gaps <= 0.5 / 64
  assert 50 < touching.sum() < 450
  assert (ours[touching] <= 0.5 / 64 + 1e-6).all()
  np.testing.assert_allclose(np.std(ours[~touching]), factor * np.std(gaps[~touching]), atol=1e-5)
  np.testing.assert_allclose(landmarks.express(rest, rest, basis, factor), rest, atol=1e-6)
  if factor == 1:
    np.testing.assert_allclose(expressed, moved, atol=1e-6)
  corners = np.ptp(expressed.reshape(500, 68, 2)[:, 48, 0]), np.ptp(moved.reshape(500, 68, 2)[:, 48, 0])
  assert corners[0] == pytest.approx(factor * corners[1], rel=0.5 if factor > 1 else 1e-3, abs=1e-6)


def test_save_and_load(tmp_path):
  basis = landmarks.fit(_statistics(np.random.default_rng(5))[0], 3)
  landmarks.save(str(tmp_path / 'basis.npz'), basis)
  for saved, loaded in zip(basis, landmarks.load(str(tmp_path / 'basis.npz')), strict=True):
    np.testing.assert_array_equal(saved, loaded)


def test_a_basis_of_version_0_1_loads(tmp_path):
  basis = landmarks.fit(_statistics(np.random.default_rng(4))[0], 2)
  old = {name: value for name, value in basis._asdict().items() if name != 'from_example'}
  np.savez(tmp_path / 'basis.npz', **old)
  loaded = landmarks.load(str(tmp_path / 'basis.npz'))
  face = np.random.default_rng(5).normal(size=136).astype(np.float32)
  np.testing.assert_array_equal(landmarks.rest_from_example(face, loaded), landmarks.closed(face, basis))


def test_bad_input_is_told_in_a_sentence(tmp_path):
  statistics, *_ = _statistics(np.random.default_rng(6))
  with pytest.raises(InputError, match='too few'):
    landmarks.fit({**statistics, 'count': 2}, 6)
  with pytest.raises(InputError, match='unknown'):
    landmarks.fit(statistics, 2, points='nose')
  (tmp_path / 'noise.npz').write_bytes(b'not an archive')
  with pytest.raises(InputError, match='not a landmark basis'):
    landmarks.load(str(tmp_path / 'noise.npz'))
