"""The exported programs, run by the loader in the documentation and nothing of this project, equal the nets."""

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from unittest import mock

import jax
import numpy as np
import pytest
import random_nets
from demo_samples import demo_speech

from atvg_jax.checkpoints import weights
from atvg_jax.generate import demo, export, streaming, text_to_speech
from atvg_jax.generate.generator import Generator
from configs import speech_at
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio, video_reader

_DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'generation.md'


def _block(word: str) -> str:
  blocks = _DOCUMENT.read_text(encoding='utf-8').split('```python\n')[1:]
  return next(block.split('```')[0] for block in blocks if word in block)


def _loader() -> str:
  return _block('deserialize')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Holds random nets as at.npz, hearing.npz and vg.npz, and their programs: 'exported' on sound, 'exported_mfcc'."""
  folder = tmp_path_factory.mktemp('export')
  at, vg = random_nets.save(folder)
  hearing = str(folder / 'hearing.npz')
  weights.save(hearing, random_nets.bundle('at', speech_at))
  program = export.vg_program(weights.load(vg))  # one for both: it takes longer than all else
  with mock.patch.object(export, 'vg_program', lambda bundle: program):
    for name, net in (('exported', hearing), ('exported_mfcc', at)):
      export.run(str(folder / name), [net, vg])
  return folder


def _mfcc(rng: np.random.Generator, batch_size: int, length: int) -> np.ndarray:
  shape = (batch_size, length, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)
  return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(('exported', 'net'), [('exported', 'hearing.npz'), ('exported_mfcc', 'at.npz')])
def test_the_loader_in_the_documentation_draws_the_same_frames(exported, net, folder, tmp_path):
  generator = Generator.from_pretrained(folder / net, folder / 'vg.npz')
  front_end, length = generator.at.front_end, 5
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
  landmarks = face_alignment.normalise(face_alignment.TEMPLATE) + 0.02 * rng.normal(
    size=(2, features.LANDMARK_SIZE)
  ).astype(np.float32)
  if front_end.takes_sound:
    length = front_end.ahead  # shorter windows look less far ahead than the document says
    frames = front_end.past + length + front_end.ahead
    heard = 0.1 * rng.normal(size=(2, frames, features.SAMPLES_PER_FRAME)).astype(np.float32)
    inputs = heard.reshape(2, -1)
  else:
    heard = inputs = _mfcc(rng, 2, length)
  conditions = generator.normalisation.conditions(landmarks)
  predicted = list(generator.predict_landmarks(conditions, [inputs], length))
  ours = next(iter(generator.vg(image, conditions.example_landmarks, predicted)))
  assert ours.shape == (2, length, 128, 128, 3)
  (tmp_path / 'exported').symlink_to(folder / exported)
  np.savez(tmp_path / 'inputs.npz', image=image, landmarks=landmarks, rest=conditions.rest, heard=heard)
  program = _loader() + (
    'import sys\n'
    'assert not {"atvg_jax", "data_pipelines", "flax"} & set(sys.modules)\n'
    'with np.load("inputs.npz") as inputs:\n  np.save("frames.npy", speak(**inputs))\n'
  )
  environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
  done = subprocess.run(
    [sys.executable, '-c', program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  theirs = np.load(tmp_path / 'frames.npy')
  assert theirs.shape == ours.shape and np.abs(theirs.astype(int) - ours).max() <= 1
  assert len([line for line in _loader().splitlines() if line.strip()]) <= 24 and not done.stdout


def test_the_loader_says_when_the_time_is_over_for_which_jax_promises_to_read(folder):
  loader = _loader()
  code = loader[loader.index('age =') : loader.index('def zeros')]
  old = {'exported': '2025-01-31', 'jax': '0.5.0'}
  program = f'import datetime, sys, types\njax, options = types.SimpleNamespace(__version__=sys.argv[1]), {old}\n{code}'

  def said(version):
    return subprocess.run([sys.executable, '-c', program, version], capture_output=True, text=True, check=True).stdout

  assert 'written by JAX 0.5.0' in said('0.12.0') and 'run atvg export again' in said('0.12.0')
  assert said('0.5.0') == ''  # the one that wrote it


def test_the_inputs_are_made_as_the_documentation_says(folder, tmp_path):
  shutil.copy(demo.portrait(), tmp_path / 'FACE.jpg')
  speech = demo_speech()[: 5 * features.SAMPLES_PER_FRAME]
  text_to_speech.save(speech, str(tmp_path / 'SPEECH.wav'))
  (tmp_path / 'exported').symlink_to(folder / 'exported')
  environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
  done = subprocess.run(
    [sys.executable, '-c', _block("np.savez('inputs.npz'")],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  generator = Generator.from_pretrained(folder / 'hearing.npz', folder / 'vg.npz')
  portrait = generator.find_face(video_reader.read_image(demo.portrait()))
  conditions = generator.normalisation.conditions(portrait.landmarks)
  with np.load(tmp_path / 'inputs.npz') as inputs:
    np.testing.assert_array_equal(inputs['image'][0], portrait.crop)
    np.testing.assert_allclose(inputs['rest'][0], conditions.rest, atol=1e-5)
    heard = inputs['heard'].reshape(1, -1)
  front_end = generator.at.front_end
  window = next(streaming.at_inputs([speech], front_end, front_end.ahead))
  np.testing.assert_allclose(heard, window, atol=1e-4)  # of 16 bits
  assert np.abs(window).max() > 0.01


def test_the_inputs_of_mfcc_are_made_as_the_documentation_says():
  code = re.search(r'takes `heard = ([^`]+)`', _DOCUMENT.read_text(encoding='utf-8'))
  assert code
  samples = demo_speech()[: 5 * features.SAMPLES_PER_FRAME]
  heard = eval(code[1], {'audio': audio, 'samples': samples})
  np.testing.assert_allclose(heard, next(streaming.mfcc_windows([samples], 5)), atol=1e-3)


def test_any_length_in_pieces_that_carry(folder):
  generator = Generator.from_pretrained(folder / 'at.npz', folder / 'vg.npz')
  program, carry = export.at_program(generator.bundles['at'])
  assert program.platforms == export.PLATFORMS
  rng = np.random.default_rng(1)
  example = rng.normal(size=(3, 6)).astype(np.float32)
  mfcc = _mfcc(rng, 3, 7)
  state = np.zeros([3 if side == 'batch' else side for side in carry], np.float32)
  first, state = program.call(example, mfcc[:, :4], state)
  second, _ = program.call(example, mfcc[:, 4:], state)
  ours = np.concatenate(list(generator.at(example, streaming.split(mfcc, 7))), axis=1)
  np.testing.assert_allclose(np.concatenate([first, second], axis=1), ours, atol=1e-4)


def test_beside_the_programs_is_what_they_are(folder):
  options = json.loads((folder / 'exported' / 'options.json').read_text())
  assert options['jax'] == jax.__version__ and datetime.date.fromisoformat(options['exported'])
  assert options['fps'] == 25 and options['platforms'] == ['cpu', 'cuda', 'tpu']
  assert options['weights']['vg']['name'] == 'vg.npz' and len(options['weights']['vg']['sha256']) == 64
  assert sorted(os.listdir(folder / 'exported')) == ['at.stablehlo', 'basis.npz', 'options.json', 'vg.stablehlo']
  with pytest.raises(InputError, match='cannot be the folder'):
    export.run(str(folder / 'at.npz'), [str(folder / 'at.npz'), str(folder / 'vg.npz')])
