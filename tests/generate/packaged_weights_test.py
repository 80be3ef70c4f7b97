"""The packaged weights: small, safe to load, and they make a face speak."""

import os

import numpy as np
import packaged_answers
import pytest

from atvg_jax import landmarks as lm
from atvg_jax.checkpoints import weights
from atvg_jax.evaluate import clip_scores
from atvg_jax.generate import demo, generator
from atvg_jax.metrics import landmark_metrics
from data_pipelines import features
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def spoken():
  """The demo's first seconds: (generator, portrait, landmarks [T, 136], frames [T, 128, 128, 3])."""
  return packaged_answers.answer('whole')


def test_both_files_are_small_and_say_what_they_are():
  paths = [weights.packaged_weights(kind) for kind in ('at', 'vg')]
  assert sum(map(os.path.getsize, paths)) < 12e6
  for bundle in weights.load_nets(None):
    assert 'research' in bundle.provenance['licence']
    assert bundle.provenance['step'] > 0
    assert any(name.startswith('eval_') for name in bundle.provenance['scores'])


@pytest.mark.parametrize('way', packaged_answers.WINDOWS)
def test_every_version_of_the_libraries_answers_the_same(way, spoken):
  found = spoken if way == 'whole' else packaged_answers.answer(way)
  for name, wanted in packaged_answers.load(way).items():
    values = getattr(found, name)[packaged_answers.KEPT[name]]
    assert values.shape == wanted.shape and values.dtype == wanted.dtype
    # A grey level; of landmarks a thousandth of the distance between the eyes.
    assert np.abs(values.astype(np.float64) - wanted).max() <= {'frames': 1, 'landmarks': 1e-3}[name]


def test_the_demo_shows_what_it_showed():
  drawn, wanted = packaged_answers.demo_frames(), packaged_answers.load('demo')['frames']
  assert drawn.shape == wanted.shape == (3, 64, 64, 3)
  assert np.abs(drawn.astype(int) - wanted).max() <= 1  # a grey level


def test_there_is_a_frame_for_every_25th_of_a_second(spoken):
  *_, frames = spoken
  assert frames.shape == (packaged_answers.SECONDS * features.FPS, features.IMAGE_SIZE, features.IMAGE_SIZE, 3)
  assert frames.dtype == np.uint8


def test_the_mouth_moves_as_the_landmarks_say(spoken):
  _, _, landmarks, frames = spoken
  found = clip_scores.redetect(face_landmarker.FaceLandmarker(), frames)
  wanted, drawn = (face_alignment.mouth_opening(points) for points in (landmarks, found))
  assert np.std(wanted) > 0.01  # of the distance between the eyes
  assert landmark_metrics.correlation(drawn, wanted) > 0.5


def test_all_but_mouth_and_jaw_stays(spoken):
  _, portrait, landmarks, frames = spoken
  np.testing.assert_array_equal(
    landmarks[:, 2 * features.BROWS.start : 2 * features.MOUTH.start].std(axis=0) < 1e-6, True
  )
  above_the_nose = np.abs(frames[:, :56].astype(np.float32) - portrait.crop[:56])
  assert above_the_nose.mean() < 3  # of 255 grey levels


def test_an_open_mouth_is_drawn_open():
  nets = generator.Generator.from_pretrained()
  portrait = nets.find_face(video_reader.read_image(demo.portrait()))
  rest = nets.normalisation.conditions(portrait.landmarks).rest
  gaps = np.linspace(0, 0.2, 32)
  landmarks = (rest + gaps[:, None] * nets.basis.opening).astype(np.float32)
  frames = next(nets.draw(portrait, [landmarks])).frames
  mouth = np.s_[76:100, 50:78]
  darkness = 255 - frames[(slice(None), *mouth)].astype(np.float32).mean(axis=-1).min(axis=(1, 2))
  assert darkness[-8:].mean() > darkness[:8].mean()
  assert lm.mouth_gap(landmarks[-1]) > lm.mouth_gap(landmarks[0])
