"""Published state dicts → our weights: every key in its place, every mistake named, no code run."""

import golden_recipe as golden
import numpy as np
import pytest

from atvg_jax.convert import torch_weights
from atvg_jax.models.at_net import AtNet, AtSingle
from atvg_jax.models.discriminator import RegressionDiscriminator
from atvg_jax.models.vg_net import VgNet
from data_pipelines.errors import InputError

_PUBLISHED = {'at_net': AtNet(), 'at_single': AtSingle(), 'vg_net': VgNet(), 'discriminator': RegressionDiscriminator()}
_AUDIO = {'audio_features': ((4, 4), (8, 8, 8)), 'audio_head_features': (16, 8)}
_AT = {**_AUDIO, 'landmark_features': (8, 8), 'recurrent_features': 8}
_SMALL = {
  'at_net': AtNet(**_AT),
  'at_single': AtSingle(**_AUDIO),
  'vg_net': VgNet(
    encoder_features=(4, 6, 8),
    deep_features=(8, 10),
    landmark_features=(4, 6),
    landmark_attention_features=(6, 4),
    bottleneck_features=6,
    recurrent_features=8,
    residual_blocks=2,
    decoder_features=(8, 8),
    upsample_features=(6, 5),
  ),
  'discriminator': RegressionDiscriminator(
    features=(4, 4, 8, 8), image_head_features=8, landmark_features=(8, 8), recurrent_features=8
  ),
}


def _wanted(net):
  """Key → shape of the state dict that a net is made of."""
  shapes = torch_weights.our_shapes(net)
  return {
    key: shape
    for rule in torch_weights.rules(net)
    for key, shape in zip(rule.keys, rule.shapes(shapes[rule.path]), strict=True)
  }


def _state_dict(net, seed=0):
  rng = np.random.default_rng(seed)
  return {key: np.abs(rng.normal(size=shape)).astype(np.float32) for key, shape in _wanted(net).items()}


@pytest.mark.parametrize('name', _PUBLISHED)
def test_published_keys_and_shapes_are_just_those_wanted(name):
  published_keys = {
    key: tuple(shape)
    for key, (shape, _) in golden.read_json('state_dicts.json')[name].items()
    if not key.endswith('num_batches_tracked') and not key.startswith('decoder.')
  }
  assert _wanted(_PUBLISHED[name]) == published_keys


@pytest.mark.parametrize('name', _SMALL)
def test_every_parameter_and_statistic_is_filled(name):
  net = _SMALL[name]
  variables = torch_weights.convert(net, {f'module.{key}': value for key, value in _state_dict(net).items()})
  flat = torch_weights.traverse_util.flatten_dict(variables, sep='/')
  assert {path: value.shape for path, value in flat.items()} == torch_weights.our_shapes(net)
  assert all(value.dtype == np.float32 for value in flat.values())


def test_all_mistakes_are_named_at_once():
  net = _SMALL['at_net']
  entries = _state_dict(net)
  del entries['lmark_encoder.0.bias'], entries['lstm.bias_hh_l1']
  entries['lstm_fc.0.weight'] = entries['lstm_fc.0.weight'][:, :5]
  entries |= {'extra.weight': np.zeros(3), 'audio_eocder.0.1.num_batches_tracked': np.zeros(())}
  with pytest.raises(InputError) as caught:
    torch_weights.convert(net, entries, 'weights.pth')
  assert str(caught.value) == (
    'weights.pth does not hold the weights of the published AtNet (2 missing: lstm.bias_hh_l1, lmark_encoder.0.bias; '
    '1 unexpected: extra.weight; 1 misshapen: lstm_fc.0.weight [6, 5] instead of [6, 8])'
  )


def test_the_discriminators_unused_decoder_may_be_there():
  net = _SMALL['discriminator']
  torch_weights.convert(net, _state_dict(net) | {'decoder.0.weight': np.zeros((4, 4))})


def test_weights_of_another_published_net_are_recognised():
  entries = dict.fromkeys((key for rule in torch_weights.rules(AtSingle()) for key in rule.keys), np.zeros(()))
  with pytest.raises(InputError, match='weights of the published VgNet, but those of AtSingle'):
    torch_weights.convert(_SMALL['vg_net'], entries)
