"""The published steps around the nets: constant example, template alignment, exaggeration, all or nothing."""

import numpy as np
import pytest
import random_nets

from atvg_jax.evaluate import evaluate
from atvg_jax.generate import demo, published_weights
from atvg_jax.generate.generator import Generator
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def basics_folder(tmp_path_factory):
  """A folder like the one that comes with the released weights, with numbers of our own."""
  folder = tmp_path_factory.mktemp('basics')
  rng = np.random.default_rng(0)
  template = face_alignment.TEMPLATE + 17.0
  shapes = np.linalg.qr(rng.normal(size=(136, 100)))[0].T
  components = np.linalg.qr(rng.normal(size=(136, 136)))[0]
  mean_face = (face_alignment.TEMPLATE - face_alignment.TEMPLATE.mean(0)).reshape(1, 136) / 300
  opened = template.copy()
  opened[27:48] *= 1.1
  for name, array in (
    ('base_68', opened),
    ('base_68_close', template),
    ('mean_shape_img', 4 * template),
    ('mean_shape_norm', mean_face),
    ('S', shapes),
    ('U_lrw1', components),
    ('mean_lrw1', 5 * mean_face.reshape(-1)),
  ):
    np.save(folder / f'{name}.npy', array)
  return folder


@pytest.fixture(scope='module')
def basics(basics_folder):
  return published_weights.read_basics(str(basics_folder))


def _bundles(basics):
  arrays, basis = basics
  at, vg = random_nets.bundle('at'), random_nets.bundle('vg')
  config = {'published': True, 'basics': arrays}
  return at._replace(config=at.config | config, basis=basis), vg._replace(config=vg.config | config)


def test_normalising_one_frame_is_a_constant_and_a_clip_is_not(basics):
  steps = published_weights.PublishedNormalisation(basics[0])
  rng = np.random.default_rng(1)
  points = face_alignment.TEMPLATE[None] + rng.normal(size=(6, 68, 2)) * 2
  single = [steps.normalise_clip(frame[None]) for frame in points]
  np.testing.assert_allclose(single[1], single[0], atol=1e-6)
  clip = steps.normalise_clip(points)
  assert np.ptp(clip, axis=0).max() > 0.01
  # Wherever the face is in the picture, however large.
  wide = points.copy()
  wide[1:, [65, 66, 67], 1] += 5  # frame 0 has the smallest gap
  upright, scaled = steps.normalise_clip(wide), steps.normalise_clip(3 * wide + 7)
  np.testing.assert_allclose(scaled, upright, atol=1e-5)


def test_procrustes_is_scipys(basics):
  from scipy.spatial import procrustes

  rng = np.random.default_rng(2)
  reference, points = rng.normal(size=(2, 68, 2))
  _, expected, _ = procrustes(reference, points)
  np.testing.assert_allclose(published_weights._procrustes(reference, points), expected, atol=1e-10)


def test_the_template_is_chosen_by_the_eyes(basics):
  steps = published_weights.PublishedNormalisation(basics[0])
  points = (3 * face_alignment.TEMPLATE + 40).astype(np.float64)
  shut = points.copy()
  shut[[40, 41], 1] = shut[[37, 38], 1] + 1
  wide = points.copy()
  wide[[40, 41], 1] = wide[[37, 38], 1] + 30
  assert np.hypot(*steps.alignment(wide)[0, :2]) > 1.05 * np.hypot(*steps.alignment(shut)[0, :2])


def test_generation_obeys_the_checkpoint(basics):
  generator = Generator(*_bundles(basics))
  image = video_reader.read_image(demo.portrait())
  portrait = generator.find_face(image)
  assert (
    np.abs(portrait.matrix - face_alignment.alignment(face_landmarker.FaceLandmarker().landmarks(image).points)).max()
    > 1
  )
  conditions = generator.normalisation.conditions(portrait.landmarks)
  np.testing.assert_array_equal(
    generator.normalisation.conditions(portrait.landmarks + 1).example_landmarks, conditions.example_landmarks
  )
  mfcc = np.random.default_rng(3).normal(size=(1, 32, 28, 12)).astype(np.float32)
  batch = generator.normalisation.conditions(portrait.landmarks[None])
  predicted = next(generator.predict_landmarks(batch, [mfcc]))
  plain = next(generator.at(batch.example_coefficients, [mfcc]))
  coefficients = (predicted - generator.basis.mean) @ generator.basis.components.T
  np.testing.assert_allclose(coefficients, plain * [1, 2.2, 2.4, 2.6, 2.8, 3.0], atol=1e-4)
  frames = generator(image, np.full(3 * features.SAMPLES_PER_FRAME, 0.1, np.float32))
  assert frames.shape == (3, 128, 128, 3)


def test_scoring_warms_up_with_a_face_that_the_published_steps_can_take(basics):
  with evaluate.Evaluation(Generator(*_bundles(basics)), batch_size=1) as evaluation:
    evaluation.warm_up()


def test_published_and_other_weights_do_not_mix(basics):
  at, _ = _bundles(basics)
  with pytest.raises(InputError, match='belong together'):
    Generator(at, random_nets.bundle('vg'))


def test_an_incomplete_folder_is_told(basics_folder, tmp_path):
  with pytest.raises(InputError, match='--basics'):
    published_weights.read_basics(str(tmp_path))
  for path in basics_folder.iterdir():
    np.save(tmp_path / path.name, np.load(path) if path.stem != 'S' else np.zeros((3, 4)))
  with pytest.raises(InputError, match=r'S.npy has the shape \[3, 4\]'):
    published_weights.read_basics(str(tmp_path))
