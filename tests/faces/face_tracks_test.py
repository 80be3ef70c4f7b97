"""Faces are followed as long as they are the same take; the drawn films of `video_cutter_test` show the rest."""

import drawn_clips
import numpy as np
import pytest
from PIL import Image

from data_pipelines.faces import face_alignment, face_landmarker, face_tracks


@pytest.fixture(scope='module')
def landmarker():
  return face_landmarker.FaceLandmarker()


def follow(landmarker, pictures, cuts=()):
  return face_tracks.follow(landmarker, [(i, picture, i in cuts) for i, picture in enumerate(pictures)])


def test_a_face_is_one_track_and_its_points_are_those_of_track(landmarker):
  pictures = drawn_clips.frames(12)
  (track,) = follow(landmarker, pictures, cuts={0})
  assert (track.start, track.end) == (0, 12) and track.seen.all()
  np.testing.assert_allclose(track.landmarks, landmarker.track(pictures).landmarks, atol=0.5)


def test_short_gaps_are_bridged_and_long_ones_end_a_track(landmarker):
  pictures = drawn_clips.frames(40)
  blank = np.full_like(pictures[0], 90)
  pictures[8:11] = [blank] * 3
  pictures[20:30] = [blank] * 10
  first, second = follow(landmarker, pictures, cuts={0})
  assert (first.start, first.end) == (0, 20) and first.seen.sum() == 17 and np.isfinite(first.landmarks).all()
  assert 30 <= second.start <= 34 and second.end == 40


def test_a_shot_change_ends_a_track(landmarker):
  tracks = follow(landmarker, drawn_clips.frames(20), cuts={0, 9})
  assert [(track.start, track.end) for track in tracks] == [(0, 9), (9, 20)]


def test_two_faces_are_two_tracks(landmarker):
  small = [np.asarray(Image.fromarray(picture).resize((150, 150))) for picture in drawn_clips.frames(10)]
  pictures = [
    np.concatenate([a, np.pad(b, ((0, 42), (0, 42), (0, 0)), mode='edge')], axis=1)
    for a, b in zip(drawn_clips.frames(10), small)
  ]
  one, two = follow(landmarker, pictures, cuts={0})
  assert len(one.landmarks) == len(two.landmarks) == 10
  sizes = sorted(float(np.median(face_alignment.eye_distance(track.landmarks))) for track in (one, two))
  assert sizes[0] / sizes[1] == pytest.approx(150 / 192, abs=0.06)


def test_jump_cuts_are_changes_between_calm_frames():
  rng = np.random.default_rng(0)
  one, other = rng.integers(0, 200, (2, 24, 24, 3))

  def take(face, count):
    return [np.clip(face + rng.normal(0, 1.5, face.shape), 0, 255) for _ in range(count)]

  assert face_tracks.jumps(np.array(take(one, 20) + take(other, 20))) == [20]
  flash = take(one, 30)
  flash[10] = flash[10] + 50
  assert face_tracks.jumps(np.array(flash)) == []
  slow = [one + (other - one) * min(1, t / 12) for t in range(20)]
  assert face_tracks.jumps(np.array(slow)) == []
  assert face_tracks.jumps(np.array(take(one, 1))) == []


def test_at_another_rate_gaps_and_leaps_last_as_long(landmarker):
  pictures = drawn_clips.frames(30)
  blank = np.full_like(pictures[0], 90)
  pictures[12:20] = [blank] * 8
  frames = [(i, picture, i == 0) for i, picture in enumerate(pictures)]
  assert len(face_tracks.follow(landmarker, frames)) == 2
  (track,) = face_tracks.follow(landmarker, frames, rate=50)
  assert len(track.landmarks) == 30 and track.seen.sum() == 22
