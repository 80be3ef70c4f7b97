"""The published PyTorch nets' state dicts <-> our parameters and batch statistics.

A net's layout is a list of rules, one for each of our arrays: where it is, which state-dict entries it is made of,
and how. What a state dict should hold is worked out from our net's own shapes, so any widths will do.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from atvg_jax.models.at_net import AtNet, AtSingle
from atvg_jax.models.discriminator import RegressionDiscriminator
from atvg_jax.models.vg_net import VgNet
from data_pipelines import features
from data_pipelines.errors import InputError

Shape = tuple[int, ...]
StateDict = Mapping[str, np.ndarray]

PREFIX = 'module.'  # what DataParallel puts before every key of the released files
_SPATIAL = 64  # cells of the discriminator's last picture, 8x8


class Rule(NamedTuple):
  """How one of our arrays comes about.

  Attributes:
    path: 'params/...' or 'batch_stats/...', '/'-joined.
    keys: entries of the state dict.
    shapes: our shape -> the entries' shapes.
    convert: the entries' arrays -> our array.
  """

  path: str
  keys: tuple[str, ...]
  shapes: Callable[[Shape], tuple[Shape, ...]]
  convert: Callable[..., np.ndarray]


def _same(path: str, key: str) -> Rule:
  return Rule(path, (key,), lambda s: (s,), lambda w: w)


def _matrix(path: str, key: str) -> Rule:
  return Rule(path, (key,), lambda s: (s[::-1],), lambda w: w.T)


def _kernel(path: str, key: str) -> Rule:
  """OIHW -> HWIO."""
  return Rule(path, (key,), lambda s: ((s[3], s[2], s[0], s[1]),), lambda w: w.transpose(2, 3, 1, 0))


def _up_kernel(path: str, key: str) -> Rule:
  """A transposed convolution's IOHW -> HWIO, taps in the order in which PyTorch scatters them (`layers.UpBlock`)."""
  return Rule(path, (key,), lambda s: ((s[2], s[3], s[0], s[1]),), lambda w: w.transpose(2, 3, 0, 1))


def _norm(path: str, key: str) -> list[Rule]:
  params, statistics = f'params/{path}', f'batch_stats/{path}'
  return [
    _same(f'{params}/scale', f'{key}.weight'),
    _same(f'{params}/bias', f'{key}.bias'),
    _same(f'{statistics}/mean', f'{key}.running_mean'),
    _same(f'{statistics}/var', f'{key}.running_var'),
  ]


def _conv(path: str, key: str, *, norm: bool = True) -> list[Rule]:
  """A published conv block: the convolution at `key`.0, its norm at `key`.1."""
  kernel = _kernel(f'params/{path}/kernel', f'{key}.0.weight')
  if norm:
    return [kernel, *_norm(f'{path}/norm', f'{key}.1')]
  return [kernel, _same(f'params/{path}/bias', f'{key}.0.bias')]


def _up(path: str, key: str, index: int, *, bias: bool = False) -> list[Rule]:
  """A transposed convolution at `key`.`index` and its norm after it."""
  rules = [_up_kernel(f'params/{path}/kernel', f'{key}.{index}.weight')]
  if bias:
    rules.append(_same(f'params/{path}/bias', f'{key}.{index}.bias'))
  return rules + _norm(f'{path}/norm', f'{key}.{index + 1}')


def _dense(path: str, key: str) -> list[Rule]:
  return [_matrix(f'params/{path}/kernel', f'{key}.weight'), _same(f'params/{path}/bias', f'{key}.bias')]


def _dense_after_flatten(path: str, key: str, cells: int) -> list[Rule]:
  """A dense layer on a flattened picture: theirs is channels first, ours channels last."""

  def convert(weight: np.ndarray) -> np.ndarray:
    out, size = weight.shape
    return weight.reshape(out, size // cells, cells).transpose(2, 1, 0).reshape(size, out)

  kernel = Rule(f'params/{path}/kernel', (f'{key}.weight',), lambda s: (s[::-1],), convert)
  return [kernel, _same(f'params/{path}/bias', f'{key}.bias')]


def _lstm(layers: int) -> list[Rule]:
  rules = []
  for layer in range(layers):
    biases = (f'lstm.bias_ih_l{layer}', f'lstm.bias_hh_l{layer}')
    rules += [
      _matrix(f'params/lstm/input_kernel{layer}', f'lstm.weight_ih_l{layer}'),
      _matrix(f'params/lstm/hidden_kernel{layer}', f'lstm.weight_hh_l{layer}'),
      Rule(f'params/lstm/bias{layer}', biases, lambda s: (s, s), lambda a, b: a + b),
    ]
  return rules


def _audio_encoder(net: AtNet | AtSingle) -> list[Rule]:
  rules, index, place = [], 0, 0
  for stage in net.audio_features:
    for _ in stage:
      rules += _conv(f'audio_encoder/conv{index}', f'audio_eocder.{place}', norm=net.layers.norm == 'batch')
      index, place = index + 1, place + 1
    place += 1  # the pooling
  cells = 12 * 2  # of the last picture: 28x12 after two poolings
  for index in range(len(net.audio_head_features)):
    path, key = f'audio_encoder/dense{index}', f'audio_eocder_fc.{2 * index}'
    rules += _dense(path, key) if index else _dense_after_flatten(path, key, cells)
  return rules


def _at_rules(net: AtNet) -> list[Rule]:
  rules = _audio_encoder(net) + _lstm(net.recurrent_layers) + _dense('head', 'lstm_fc.0')
  for index in range(len(net.landmark_features)):
    rules += _dense(f'landmark_dense{index}', f'lmark_encoder.{2 * index}')
  return rules


def _at_single_rules(net: AtSingle) -> list[Rule]:
  return _audio_encoder(net) + _dense('head', f'audio_eocder_fc.{2 * len(net.audio_head_features)}')


def _vg_rules(net: VgNet) -> list[Rule]:
  rules = [
    *_conv('stem', 'image_encoder1.1'),
    *_conv('encoder0', 'image_encoder1.2'),
    *_conv('encoder1', 'image_encoder1.3'),
    *_conv('deep0', 'image_encoder2.0'),
    *_conv('deep1', 'image_encoder2.1'),
    *_dense('landmark_dense', 'landmark_encoder.0'),
    *_conv('landmark_conv', 'landmark_encoder_stage2.0'),
    *_conv('landmark_feature', 'lmark_feature.0'),
    *_up('landmark_attention0', 'lmark_att', 0, bias=True),
    *_up('landmark_attention1', 'lmark_att', 3, bias=True),
    *_conv('landmark_attention2', 'lmark_att.6', norm=False),
  ]
  # Ours has what differs from frame to frame first, theirs the image.
  image = net.deep_features[-1]
  kernel = _kernel('params/bottleneck/kernel', 'bottle_neck.0.0.weight')
  rules.append(kernel._replace(convert=lambda w: np.roll(kernel.convert(w), -image, axis=2)))
  rules += _norm('bottleneck/norm', 'bottle_neck.0.1')
  for side, ours in (('ih', 'input'), ('hh', 'hidden')):
    rules.append(_kernel(f'params/gru/{ours}_kernel', f'convGRU.weight_{side}_l0'))
    rules.append(_same(f'params/gru/{ours}_bias', f'convGRU.bias_{side}_l0'))
  for block in range(net.residual_blocks):
    for index, place in ((1, 0), (2, 4)):
      path, key = f'residual{block}/conv{index}', f'generator1.{block}.conv_block'
      rules.append(_kernel(f'params/{path}/kernel', f'{key}.{place}.weight'))
      rules += _norm(f'{path}/norm', f'{key}.{place + 1}')
  for index in range(2):
    rules += _up(f'decoder{index}', 'generator1', net.residual_blocks + 3 * index)
    rules += _up(f'upsample{index}', 'base', 3 * index)
  heads = ('generator_color.0', 'generator_attention.0')

  def kernel_shapes(shape: Shape) -> tuple[Shape, ...]:
    return tuple((out, shape[2], shape[0], shape[1]) for out in (3, 1))

  rules.append(
    Rule(
      'params/heads/kernel',
      tuple(f'{key}.weight' for key in heads),
      kernel_shapes,
      lambda *w: np.concatenate(w).transpose(2, 3, 1, 0),
    )
  )
  rules.append(
    Rule(
      'params/heads/bias',
      tuple(f'{key}.bias' for key in heads),
      lambda s: ((3,), (1,)),
      lambda *w: np.concatenate(w),
    )
  )
  return rules


def _discriminator_rules(net: RegressionDiscriminator) -> list[Rule]:
  rules = _lstm(net.recurrent_layers) + _dense('landmarks', 'lstm_fc.0') + _dense('score', 'decision.0')
  for index in range(len(net.features)):
    rules += _conv(f'conv{index}', f'image_encoder_dis.{index}', norm=index > 0)
  rules += _dense_after_flatten('image_dense', 'img_fc.0', _SPATIAL)
  for index in range(len(net.landmark_features)):
    rules += _dense(f'landmark_dense{index}', f'encoder.{2 * index}')
  return rules


class _Layout(NamedTuple):
  rules: Callable[[Any], list[Rule]]
  inputs: tuple[Shape, ...]
  unused: tuple[str, ...] = ()  # beginnings of keys that the published class holds and never uses


_LANDMARKS = (1, features.LANDMARK_SIZE)
_MFCC = (1, 1, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)
_IMAGE = (1, features.IMAGE_SIZE, features.IMAGE_SIZE, 3)
_LAYOUTS = {
  AtNet: _Layout(_at_rules, ((1, 6), _MFCC)),
  AtSingle: _Layout(_at_single_rules, ((1, 6), _MFCC)),
  VgNet: _Layout(_vg_rules, (_IMAGE, _LANDMARKS, (1, *_LANDMARKS))),
  RegressionDiscriminator: _Layout(_discriminator_rules, ((1, *_IMAGE), _LANDMARKS), ('decoder.',)),
}


def rules(net: nn.Module) -> list[Rule]:
  """The rules of a net with the published structure."""
  return _LAYOUTS[type(net)].rules(net)


def our_shapes(net: nn.Module) -> dict[str, Shape]:
  """'/'-joined path -> shape of all of a net's arrays."""
  inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in _LAYOUTS[type(net)].inputs]
  variables = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), *inputs)
  return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(variables, sep='/').items()}


def convert(net: nn.Module, state_dict: StateDict, source: str = 'the state dict') -> dict[str, Any]:
  """Converts a state dict.

  Args:
    net: an `AtNet`, `AtSingle`, `VgNet` or `RegressionDiscriminator` with the state dict's sizes.
    state_dict: key -> array, with or without the prefix 'module.'.
    source: what to call it in errors.

  Returns:
    {'params': ..., 'batch_stats': ...} in float32; the latter is missing where the net has no batch norm.

  Raises:
    InputError: some keys are missing, unexpected or of a wrong shape. All of them are named.
  """
  entries = {key.removeprefix(PREFIX): value for key, value in state_dict.items()}
  shapes, todo = our_shapes(net), rules(net)
  wanted = {key: shape for rule in todo for key, shape in zip(rule.keys, rule.shapes(shapes[rule.path]), strict=True)}
  _check(net, entries, wanted, source)
  arrays = {
    rule.path: np.ascontiguousarray(rule.convert(*(np.asarray(entries[key], np.float32) for key in rule.keys)))
    for rule in todo
  }
  return traverse_util.unflatten_dict(arrays, sep='/')


def _check(net: nn.Module, entries: StateDict, wanted: Mapping[str, Shape], source: str) -> None:
  """Raises InputError that names every difference between what a state dict holds and what is wanted."""
  unused = _LAYOUTS[type(net)].unused
  missing = [key for key in wanted if key not in entries]
  unexpected = [
    key
    for key in entries
    if key not in wanted and not key.startswith(unused) and not key.endswith('num_batches_tracked')
  ]
  misshapen = [
    f'{key} {list(np.shape(entries[key]))} instead of {list(shape)}'
    for key, shape in wanted.items()
    if key in entries and np.shape(entries[key]) != shape
  ]
  if not missing and not unexpected and not misshapen:
    return
  problems = {'missing': missing, 'unexpected': unexpected, 'misshapen': misshapen}
  listed = '; '.join(f'{len(keys)} {what}: {", ".join(keys)}' for what, keys in problems.items() if keys)
  others = [
    other.__name__
    for other in _LAYOUTS
    if other is not type(net) and {key for rule in rules(other()) for key in rule.keys} <= entries.keys()
  ]
  hint = f', but those of {others[0]}' if others else ''
  raise InputError(f'{source} does not hold the weights of the published {type(net).__name__}{hint} ({listed})')
