"""Files in the released format → weights that generate, with the published mode on; or one sentence, and nothing."""

import functools
import sys

import golden_recipe as golden
import jax
import numpy as np
import pytest

from atvg_jax import models
from atvg_jax.checkpoints import weights
from atvg_jax.convert import import_torch, torch_weights
from atvg_jax.generate import demo, published_weights
from atvg_jax.generate.generator import Generator
from atvg_jax.models.at_net import AtNet, AtSingle
from atvg_jax.models.discriminator import RegressionDiscriminator
from atvg_jax.models.vg_net import VgNet
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import audio, video_reader

_AUDIO = {'audio_features': ((4, 4), (8, 8, 8)), 'audio_head_features': (16, 8)}
_MODELS = {
  'at': {**_AUDIO, 'landmark_features': (8, 8), 'recurrent_features': 8},
  'at_single': {**_AUDIO, 'name': 'at_single'},
  'vg': {
    'encoder_features': (4, 6, 8),
    'deep_features': (8, 10),
    'landmark_features': (4, 6),
    'landmark_attention_features': (6, 4),
    'bottleneck_features': 6,
    'recurrent_features': 8,
    'residual_blocks': 2,
    'decoder_features': (8, 8),
    'upsample_features': (6, 5),
    'recurrence': 'batch',
  },
  'discriminator': {
    'features': (4, 4, 8, 8),
    'image_head_features': 8,
    'landmark_features': (8, 8),
    'recurrent_features': 8,
  },
}
_SMALL = {
  'at': AtNet(**_MODELS['at']),
  'at_single': AtSingle(**_AUDIO),
  'vg': VgNet(**_MODELS['vg']),
  'discriminator': RegressionDiscriminator(**_MODELS['discriminator']),
}


def _state_dict(net):
  """Random weights under the published names."""
  shapes = torch_weights.our_shapes(net)
  return {
    key: golden.weight(key, shape)
    for rule in torch_weights.rules(net)
    for key, shape in zip(rule.keys, rule.shapes(shapes[rule.path]), strict=True)
  }


@pytest.fixture
def basics(tmp_path):
  folder = tmp_path / 'basics'
  folder.mkdir()
  template = np.asarray(face_alignment.TEMPLATE)
  for name, array in (
    ('base_68', template),
    ('base_68_close', template),
    ('mean_shape_img', template),
    ('mean_shape_norm', np.zeros((1, 136))),
    ('S', np.eye(136)[:100]),
    ('U_lrw1', np.eye(136)),
    ('mean_lrw1', np.zeros(136)),
  ):
    np.save(folder / f'{name}.npy', array)
  return str(folder)


@pytest.fixture
def imported(monkeypatch, tmp_path, basics):
  """Folder of small nets' weights, imported from files as released: DataParallel's prefix, the format of 2019."""
  torch = pytest.importorskip('torch')
  kinds = {'at_single': 'at'}
  nets = {name: (kinds.get(name, name), net, _MODELS[name]) for name, net in _SMALL.items()}
  monkeypatch.setattr(sys.modules['atvg_jax.convert.import_torch'], '_NETS', nets)
  for name, net in _SMALL.items():
    entries = {f'module.{key}': torch.tensor(value) for key, value in _state_dict(net).items()}
    torch.save(entries, tmp_path / f'{name}.pth', _use_new_zipfile_serialization=False)
  out = tmp_path / 'out'
  paths = {name: str(tmp_path / f'{name}.pth') for name in nets}
  assert import_torch(**paths, basics=basics, out=str(out)) == [str(out / f'{name}.npz') for name in nets]
  return out


def test_imported_weights_are_the_files(imported):
  bundle = weights.load(str(imported / 'at.npz'))
  assert bundle.kind == 'at' and bundle.basis.components.shape == (6, 136)
  inputs = np.ones((1, 6), np.float32), np.ones((1, 2, 28, 12), np.float32)
  apply = jax.jit(functools.partial(models.make_net(bundle.config).apply, train=False))
  read = {'params': bundle.params, 'batch_stats': bundle.batch_stats}
  expected = torch_weights.convert(_SMALL['at'], _state_dict(_SMALL['at']))
  np.testing.assert_array_equal(apply(read, *inputs)['coefficients'], apply(expected, *inputs)['coefficients'])


@pytest.mark.parametrize('at', ['at', 'at_single'])
def test_imported_weights_generate_in_the_published_mode(imported, at):
  generator = Generator.from_pretrained(imported / f'{at}.npz', imported / 'vg.npz')
  np.testing.assert_allclose(generator.normalisation.exaggeration, [1, 2.2, 2.4, 2.6, 2.8, 3.0])
  portrait = generator.find_face(video_reader.read_image(demo.portrait()))
  steps = published_weights.PublishedNormalisation(weights.load(str(imported / f'{at}.npz')).config['basics'])
  points = face_landmarker.FaceLandmarker().landmarks(video_reader.read_image(demo.portrait())).points
  np.testing.assert_allclose(portrait.matrix, steps.alignment(points))  # their templates
  conditions = generator.normalisation.conditions(portrait.landmarks)
  np.testing.assert_array_equal(conditions.example_landmarks, steps.example_landmarks)  # whoever it is
  samples = np.full(3 * features.SAMPLES_PER_FRAME, 0.1, np.float32)
  landmarks = np.concatenate(list(generator.speech_landmarks(portrait, samples)))
  assert generator(video_reader.read_image(demo.portrait()), samples).shape == (3, 128, 128, 3)
  # 120 ms of silence before the sound: 12 rows of the first frame's input (9 without a sample of sound).
  mfcc = audio.windows(audio.frame_rows(samples, 3))
  np.testing.assert_allclose(mfcc[0, :9], np.zeros_like(mfcc[0, :9]), atol=1e-3)
  # One clip has no recurrence: frame 0 changes no other.
  changed = landmarks.copy()
  changed[0] += 1
  frames, others = (next(generator.draw(portrait, [value])).frames for value in (landmarks, changed))
  np.testing.assert_array_equal(frames[1:], others[1:])
  assert (frames[0] != others[0]).any()


def test_the_mode_needs_its_arrays(imported):
  at, vg = (weights.load(str(imported / f'{name}.npz')) for name in ('at', 'vg'))
  config = {name: value for name, value in at.config.items() if name != 'basics'}
  with pytest.raises(InputError, match='--basics'):
    Generator(at._replace(config=config), vg)


def test_a_discriminator_is_no_net_to_generate_with(imported):
  with pytest.raises(InputError, match='weights of a discriminator: generation needs'):
    Generator.from_pretrained(imported / 'discriminator.npz')


def test_nothing_is_written_where_something_is_wrong(tmp_path, basics):
  torch = pytest.importorskip('torch')
  torch.save({'weight': torch.zeros(2)}, tmp_path / 'at.pth')
  at, out = str(tmp_path / 'at.pth'), str(tmp_path / 'out')
  with pytest.raises(InputError, match='missing'):
    import_torch(at=at, basics=basics, out=out)
  with pytest.raises(InputError, match='--basics'):
    import_torch(at=at, out=out)
  with pytest.raises(InputError, match='nothing to convert'):
    import_torch(basics=basics, out=out)
  with pytest.raises(InputError, match='is a file'):
    import_torch(at=at, basics=basics, out=at)
  assert not (tmp_path / 'out').exists()
