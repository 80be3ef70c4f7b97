"""VG-net for generation: `VgNet.apply(train=False)`, to rounding, as fast as the machine can.

Three parts: `prepare` folds the weights, once when they are loaded; `start` computes what all frames of a
clip share, once a clip; `draw` does the rest, window by window.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from atvg_jax.models import folded, recurrent
from atvg_jax.models.landmark_maps import NUM_MAPS, landmark_maps
from atvg_jax.models.landmark_warp import unknown_mouth, warped
from atvg_jax.models.layers import depth_to_space, space_to_depth
from atvg_jax.models.vg_net import SoundVgNet, VgNet, compose
from data_pipelines.errors import InputError

Array = jax.Array
Prepared = dict[str, Any]
Still = dict[str, Array]


def prepare(net: VgNet, variables: Mapping[str, Any], backend: str | None = None) -> Prepared:
  """Folds a net's variables ('params', 'batch_stats') into the layers of `start` and `draw`, as NumPy arrays.

  Args:
    net: the net.
    variables: its variables.
    backend: 'cpu', 'gpu' or 'tpu', for which to choose the algorithms; None is the one that JAX runs on.

  Raises:
    InputError: the net draws from sound, which generation has no place for.
  """
  if isinstance(net, SoundVgNet):
    raise InputError(
      'these weights draw from sound directly, without landmarks: they are a row of an ablation, and '
      'can be trained and scored, not generated with'
    )
  params, stats = variables['params'], variables.get('batch_stats', {})
  algorithm = functools.partial(folded.choose, backend or jax.default_backend())
  dtype = jnp.dtype(net.dtype)

  def fold(name: str, block: str | None = None, **options: Any) -> folded.Layer:
    p, s = params[name], stats.get(name)
    if block:
      p, s = p[block], s and s[block]
    return folded.fold(p, s, algorithm, dtype=dtype, **options)

  def split(name: str, channels: int, **options: Any) -> None:
    """A layer's part that sees the frames' channels, and that which sees what they share, without bias or norm."""
    prepared[name] = fold(name, channels=slice(channels), **options)
    if params[name]['kernel'].shape[2] > channels:
      rest = fold(name, channels=slice(channels, None), **options)
      prepared[f'{name}_still'] = rest.replace(bias=np.zeros_like(rest.bias), norm=None)

  prepared: Prepared = {
    'stem': fold('stem', reflect=True),
    'landmark_conv': fold('landmark_conv'),
    'landmark_feature': fold('landmark_feature'),
    'landmark_dense': {name: np.asarray(params['landmark_dense'][name]).astype(dtype) for name in ('kernel', 'bias')},
  }
  for name in ('encoder0', 'encoder1', 'deep0', 'deep1'):
    prepared[name] = fold(name, stride=2)
  split('bottleneck', net.landmark_features[1])
  prepared['gru'] = _prepare_gru(net, params['gru'], algorithm, dtype)
  for index in range(net.residual_blocks):
    for block in ('conv1', 'conv2'):
      prepared[f'residual{index}/{block}'] = fold(f'residual{index}', block)
  for index in range(len(net.decoder_features)):
    prepared[f'decoder{index}'] = fold(f'decoder{index}', up=True)
  if net.attention:
    split('landmark_attention0', net.landmark_features[0], up=True)
    prepared['landmark_attention1'] = fold('landmark_attention1', up=True)
    prepared['landmark_attention2'] = fold('landmark_attention2')
  channels = (net.decoder_features[-1], *net.upsample_features)
  for index in range(len(net.upsample_features)):
    split(f'upsample{index}', channels[index] + _details_channels(net, index), up=True)
  last = len(net.upsample_features)
  split('heads', channels[-1] + (_details_channels(net, last) if last < 2 else 0))
  return prepared


def _details_channels(net: VgNet, index: int) -> int:
  """How many channels a frame's details add to the input of the layer that is `index` doublings above the middle."""
  return (NUM_MAPS if net.landmark_maps else 0) + (3 * 4 ** (2 - index) if net.warp else 0)


def _prepare_gru(net: VgNet, params: Mapping[str, Any], algorithm: Any, dtype: Any) -> dict[str, Any]:
  inputs = {'kernel': params['input_kernel'], 'bias': params['input_bias']}
  hidden = np.asarray(params['hidden_kernel'])
  return {
    'inputs': folded.fold(inputs, None, algorithm, dtype=dtype, dilation=net.recurrent_dilation),
    'hidden': hidden.reshape(-1, hidden.shape[-1]).astype(dtype),
    'hidden_bias': np.asarray(params['hidden_bias']).astype(dtype),
  }


def start(net: VgNet, prepared: Prepared, example_image: Array, example_landmarks: Array) -> Still:
  """What the frames of a clip share.

  Args:
    net: the net.
    prepared: of `prepare`.
    example_image: [B, H, W, 3] in [-1, 1].
    example_landmarks: [B, 136].
  """
  x = folded.apply(prepared['stem'], example_image)
  half = folded.apply(prepared['encoder0'], x)
  middle = folded.apply(prepared['encoder1'], half)
  deep = folded.apply(prepared['deep1'], folded.apply(prepared['deep0'], middle))
  example_map = _landmark_map(prepared, example_landmarks, deep.shape[1:3])
  feature = folded.apply(prepared['landmark_feature'], example_map)
  # The bottleneck's sums are linear: what is taken from every frame's feature is taken off here.
  bottleneck = folded.convolve(prepared['bottleneck_still'], deep) - folded.convolve(prepared['bottleneck'], feature)
  still = {
    'image': example_image.astype(jnp.float32),
    'landmarks': example_landmarks,
    'middle': middle,
    'bottleneck': bottleneck,
  }
  if net.attention:
    still['landmark_attention0'] = folded.convolve(prepared['landmark_attention0_still'], example_map)
  for name, size in _detailed(net, half.shape[2]):
    details = [half] if net.skip and size == half.shape[2] else []
    if net.landmark_maps:
      details.append(landmark_maps(example_landmarks, size).astype(half.dtype))
    if details:
      still[name] = folded.convolve(prepared[f'{name}_still'], jnp.concatenate(details, axis=-1))
  return still


def draw(
  net: VgNet, prepared: Prepared, still: Still, landmarks: Array, carry: Array, *, chained: bool = False
) -> dict[str, Array]:
  """Draws a window of frames; arguments and results as those of `VgNet`.

  Args:
    net: the net.
    prepared: of `prepare`.
    still: of `start`.
    landmarks: [B, T, 136].
    carry: the recurrent state after the frames before; zeros at the start.
    chained: the clips are the frames of a single one, each with its own example: T is 1, and the state goes from clip
      to clip, so that the carry's batch is 1.
  """
  lead, image = landmarks.shape[:2], still['image']
  points = landmarks.reshape(-1, landmarks.shape[-1])
  frame_maps = _landmark_map(prepared, points, still['bottleneck'].shape[1:3])
  x = folded.apply(prepared['landmark_feature'], frame_maps)
  x = folded.apply(prepared['bottleneck'], x, still['bottleneck'])
  inputs = folded.apply(prepared['gru']['inputs'], x, activation=None)
  inputs = inputs.reshape(*(lead[::-1] if chained else lead), *inputs.shape[1:])

  def hidden_sums(state: Array) -> Array:
    patches = recurrent.patches(state, net.recurrent_kernel, net.recurrent_dilation)
    return patches @ prepared['gru']['hidden'] + prepared['gru']['hidden_bias']

  x, carry = recurrent.run_gru(inputs, hidden_sums, prepared['gru']['hidden_bias'], carry, net.recurrence)
  x = x.reshape(-1, *x.shape[2:])
  for index in range(net.residual_blocks):
    y = folded.apply(prepared[f'residual{index}/conv1'], x)
    x = x + folded.apply(prepared[f'residual{index}/conv2'], y, activation=None)
  for index in range(len(net.decoder_features)):
    x = folded.apply(prepared[f'decoder{index}'], x)
  if net.attention:
    a = folded.apply(prepared['landmark_attention0'], frame_maps, still['landmark_attention0'])
    a = folded.apply(prepared['landmark_attention1'], a)
    mix = nn.sigmoid(folded.apply(prepared['landmark_attention2'], a, activation=None))
    middle = jnp.repeat(still['middle'], lead[1], axis=0) if lead[0] > 1 else still['middle']
    x = middle + (x - middle) * mix
  else:
    mix = jnp.ones((*x.shape[:-1], 1), x.dtype)
  base, moved = image[:, None], 0.0
  if net.warp:
    base, moved = warped(image, still['landmarks'], landmarks)
  detailed = dict(_detailed(net, image.shape[2] // 2))
  for name in (*(f'upsample{index}' for index in range(len(net.upsample_features))), 'heads'):
    if name in detailed and net.landmark_maps:
      x = jnp.concatenate([x, landmark_maps(points, detailed[name]).astype(x.dtype)], axis=-1)
    if name in detailed and net.warp:
      details = space_to_depth(base, base.shape[-2] // detailed[name])
      x = jnp.concatenate([x, details.reshape(-1, *details.shape[2:]).astype(x.dtype)], axis=-1)
    x = folded.apply(prepared[name], x, still.get(name), activation=None if name == 'heads' else nn.relu)
  heads = depth_to_space(x, image.shape[2] // x.shape[2]).astype(jnp.float32)
  heads, mix = heads.reshape(*lead, *heads.shape[1:]), mix.reshape(*lead, *mix.shape[1:]).astype(jnp.float32)
  shade = net.darken * unknown_mouth(still['landmarks'], landmarks, image.shape[1]) if net.darken else 0.0
  return {**compose(heads, base, moved, shade, net.sharpen), 'landmark_attention': mix, 'carry': carry}


def zero_carry(net: VgNet, batch_size: int, height: int, width: int) -> Array:
  """The recurrent state before the first frame of a picture of this size."""
  return jnp.zeros((batch_size, height // 16, width // 16, net.recurrent_features), net.dtype)


def _landmark_map(prepared: Prepared, landmarks: Array, size: tuple[int, int]) -> Array:
  dense = prepared['landmark_dense']
  cells = nn.relu(landmarks.astype(dense['kernel'].dtype) @ dense['kernel'] + dense['bias'])
  return folded.apply(prepared['landmark_conv'], cells.reshape(-1, *size, 1))


def _detailed(net: VgNet, half: int) -> list[tuple[str, int]]:
  """Names of the layers that may be given details, and the width of their input where half size is `half`."""
  names = [f'upsample{index}' for index in range(len(net.upsample_features))]
  if len(names) < 2:
    names.append('heads')
  return [(name, half // 2 * 2**index) for index, name in enumerate(names)]
