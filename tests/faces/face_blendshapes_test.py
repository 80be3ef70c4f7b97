"""The shapes of a face follow its mesh, wherever the face is, and however large."""

import drawn_clips
import numpy as np
import pytest

from atvg_jax.generate import demo
from data_pipelines.faces import face_blendshapes, face_landmarker
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def landmarker():
  return face_landmarker.FaceLandmarker()


@pytest.fixture(scope='module')
def blendshapes():
  return face_blendshapes.FaceBlendshapes()


def _of(shapes, name):
  return shapes[:, face_blendshapes.NAMES.index(name)]


def test_all_shapes_are_named():
  assert len(set(face_blendshapes.NAMES)) == 52
  mouth = face_blendshapes.NAMES[face_blendshapes.MOUTH]
  assert len(mouth) == 27 and all(name.startswith(('jaw', 'mouth')) for name in mouth)


def test_size_and_place_do_not_matter(landmarker, blendshapes):
  track = landmarker.track([video_reader.read_image(demo.portrait())], with_mesh=True)
  shapes = blendshapes(track.mesh)
  assert shapes.shape == (1, 52) and shapes.min() >= 0 and shapes.max() <= 1
  np.testing.assert_allclose(blendshapes(0.3 * track.mesh + 17), shapes, atol=2e-3)


def test_a_mouth_that_opens_opens_the_jaw(landmarker, blendshapes):
  track = landmarker.track([drawn_clips.face(0.0)] * 3 + [drawn_clips.face(0.04)] * 3, with_mesh=True)
  assert track.mesh.shape == (6, 478, 3)
  jaw = _of(blendshapes(track.mesh), 'jawOpen')
  assert jaw[4] > jaw[1] + 0.1


def test_corners_that_rise_are_a_smile(landmarker, blendshapes):
  track = landmarker.track([video_reader.read_image(demo.portrait())], with_mesh=True)
  raised = track.mesh.copy()
  face = np.ptp(track.mesh[0, :, 1])
  for corner, side in ((61, -1), (291, 1)):  # of the mesh: left and right in the picture
    near = np.linalg.norm(raised[0, :, :2] - raised[0, corner, :2], axis=-1) < 0.07 * face
    raised[0, near, 1] -= 0.05 * face
    raised[0, near, 0] += 0.03 * face * side
  smiles = [blendshapes(mesh)[0, face_blendshapes.SMILE] for mesh in (track.mesh, raised)]
  assert (smiles[1] > smiles[0] + 0.2).all()


def test_the_mesh_is_kept_on_request_and_its_gaps_are_filled(landmarker):
  frames = [drawn_clips.face(0.0), np.zeros_like(drawn_clips.face(0.0)), drawn_clips.face(0.0)]
  track = landmarker.track(frames, with_mesh=True)
  assert np.isfinite(track.mesh).all()
  np.testing.assert_allclose(track.mesh[1], (track.mesh[0] + track.mesh[2]) / 2, atol=1e-3)
  assert landmarker.track(frames).mesh is None
