"""AT-net: speech to landmark coefficients, and its frame-wise variant.

Widths are the published ones (Chen et al., CVPR 2019, arXiv 1905.03820) unless told otherwise.
"""

import functools
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.layers import Array, ConvBlock, Dtype, ModuleDef, NormKind, make_norm, weight_init
from atvg_jax.models.recurrent import Lstm


class AudioEncoder(nn.Module):
  """Each frame's MFCC window: convolutions, flatten, dense layers.

  The published one sees the window as a picture of one channel: 3x3 kernels, pooled after each of two stages. Cepstra have no
  neighbours as pixels have, though; seen as a sequence of which they are the channels, speakers never heard are followed better.

  Attributes:
    features: channels of the convolutions of the first stage, and of the second.
    head_features: widths of the dense layers, with a ReLU after each.
    sequence: see the window as a sequence: kernels of 5 steps, the last of each stage with stride 2, no pooling.
    dropout_rate: of the flattened features and after each dense layer.
  """

  features: tuple[tuple[int, ...], tuple[int, ...]]
  head_features: tuple[int, ...]
  conv: ModuleDef
  dense: ModuleDef
  sequence: bool = False
  dropout_rate: float = 0.0

  @nn.compact
  def __call__(self, mfcc: Array, *, train: bool) -> Array:
    """[B, T, 28, 12] -> [B, T, head_features[-1]]."""
    if self.sequence:
      x = self._over_time(mfcc, train)
    else:
      x = self._over_picture(mfcc, train)
    x = x.reshape(*x.shape[:2], -1)
    dropout = functools.partial(nn.Dropout, self.dropout_rate, deterministic=not train)
    x = dropout()(x)
    for index, features in enumerate(self.head_features):
      x = dropout()(nn.relu(self.dense(features, name=f'dense{index}')(x)))
    return x

  def _over_picture(self, mfcc: Array, train: bool) -> Array:
    x = mfcc[..., None]  # [B, T, 28, 12, 1]
    index = 0
    for stage, stride in zip(self.features, ((1, 2), (2, 2)), strict=True):
      for features in stage:
        x = self.conv(features, name=f'conv{index}')(x, train=train)
        index += 1
      x = nn.max_pool(x.reshape(-1, *x.shape[2:]), (3, 3), stride).reshape(
        *x.shape[:2], *_pooled(x.shape[2:4], stride), x.shape[-1]
      )
    return x

  def _over_time(self, mfcc: Array, train: bool) -> Array:
    x = mfcc[..., None, :]  # [B, T, 28, 1, 12]
    index = 0
    for stage in self.features:
      for place, features in enumerate(stage):
        stride = 2 if place == len(stage) - 1 else 1
        x = self.conv(features, (5, 1), stride, name=f'conv{index}')(x, train=train)
        index += 1
    return x


def _pooled(size: tuple[int, ...], stride: tuple[int, int]) -> tuple[int, ...]:
  return tuple((side - 3) // step + 1 for side, step in zip(size, stride, strict=True))


class AtNet(nn.Module):
  """Landmark coefficients of every frame from its sound, its past and the coefficients of an example frame.

  Attributes:
    num_coefficients: how many coefficients describe a mouth.
    landmark_features: dense layers on the example's coefficients, a ReLU after each.
    audio_features: channels of the audio encoder's convolutions, of its first and its second stage.
    audio_head_features: dense layers after the convolutions.
    audio_sequence: see `AudioEncoder.sequence`.
    recurrent_features, recurrent_layers: the LSTM's.
    dropout_rate: of the audio features.
    members: so many such nets stand side by side, each learns by its own error, and the mean of their answers is the
      answer: nearer to the truth than one net that is as large as all of them.
    norm: of the convolutions. `norm_over`, `axis_name`: see `layers.BatchNorm`.
    init_stddev: see `layers.weight_init`.
  """

  num_coefficients: int = 6
  landmark_features: tuple[int, ...] = (256, 512)
  audio_features: tuple[tuple[int, ...], tuple[int, ...]] = ((64, 128), (256, 256, 512))
  audio_head_features: tuple[int, ...] = (2048, 256)
  audio_sequence: bool = False
  recurrent_features: int = 256
  recurrent_layers: int = 3
  dropout_rate: float = 0.0
  members: int = 1
  norm: NormKind = 'batch'
  norm_over: Literal['frame', 'clip'] = 'frame'
  axis_name: str | None = None
  init_stddev: float | None = 0.02
  dtype: Dtype = jnp.float32
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self, example_coefficients: Array, mfcc: Array, *, train: bool, carry: Array | None = None
  ) -> dict[str, Any]:
    """Runs over a window.

    Args:
      example_coefficients: [B, K], of the example frame.
      mfcc: [B, T, 28, 12].
      train: dropout on, batch norm by the batch's statistics.
      carry: of the shape `carry_shape`, the LSTMs' after the frames before; None for a zero start.

    Returns:
      'coefficients' [B, T, num_coefficients], float32; 'carry'; with several members 'by_member' [members, B, T,
      num_coefficients].
    """
    if self.members > 1:
      carries = [None] * self.members if carry is None else jnp.split(carry, self.members)
      answers = [
        self.clone(members=1, name=f'member{index}', parent=self)(example_coefficients, mfcc, train=train, carry=carry)
        for index, carry in enumerate(carries)
      ]
      by_member = jnp.stack([answer['coefficients'] for answer in answers])
      return {
        'coefficients': jnp.mean(by_member, axis=0),
        'carry': jnp.concatenate([answer['carry'] for answer in answers]),
        'by_member': by_member,
      }
    conv, dense = net_parts(self)
    audio = AudioEncoder(
      self.audio_features,
      self.audio_head_features,
      conv,
      dense,
      self.audio_sequence,
      self.dropout_rate,
      name='audio_encoder',
    )(mfcc, train=train)
    example = example_coefficients
    for index, features in enumerate(self.landmark_features):
      example = nn.relu(dense(features, name=f'landmark_dense{index}')(example))
    example = jnp.broadcast_to(example[:, None], (*audio.shape[:2], example.shape[-1]))
    x = jnp.concatenate([example, audio], axis=-1)
    x, carry = Lstm(
      self.recurrent_features,
      self.recurrent_layers,
      dtype=self.dtype,
      param_dtype=self.param_dtype,
      name='lstm',
    )(x, carry)
    coefficients = dense(self.num_coefficients, name='head')(x)
    return {'coefficients': coefficients.astype(jnp.float32), 'carry': carry}

  def carry_shape(self, batch_size: int | str) -> tuple[int | str, ...]:
    """(layers of all members, 2, B, features): hidden states and cells of the LSTMs."""
    return self.members * self.recurrent_layers, 2, batch_size, self.recurrent_features


class AtSingle(nn.Module):
  """The frame-wise variant: no norm, no example, no past. Attributes as in `AtNet`."""

  num_coefficients: int = 6
  audio_features: tuple[tuple[int, ...], tuple[int, ...]] = ((64, 128), (256, 256, 512))
  audio_head_features: tuple[int, ...] = (2048, 256)
  dropout_rate: float = 0.0
  norm: NormKind = 'none'
  norm_over: Literal['frame', 'clip'] = 'frame'
  axis_name: str | None = None
  init_stddev: float | None = 0.02
  dtype: Dtype = jnp.float32
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, mfcc: Array, *, train: bool) -> dict[str, Array]:
    """'coefficients' [B, T, num_coefficients], float32, from mfcc [B, T, 28, 12]."""
    conv, dense = net_parts(self)
    x = AudioEncoder(
      self.audio_features, self.audio_head_features, conv, dense, dropout_rate=self.dropout_rate, name='audio_encoder'
    )(mfcc, train=train)
    return {'coefficients': dense(self.num_coefficients, name='head')(x).astype(jnp.float32)}


def net_parts(net: Any) -> tuple[ModuleDef, ModuleDef]:
  """The net's convolution and dense layer, with norm, start and dtypes filled in."""
  dtypes = {'dtype': net.dtype, 'param_dtype': net.param_dtype}
  norm = make_norm(net.norm, over=net.norm_over, axis_name=net.axis_name, **dtypes)
  init = weight_init(net.init_stddev)
  return (
    functools.partial(ConvBlock, norm=norm, kernel_init=init, **dtypes),
    functools.partial(nn.Dense, kernel_init=init, **dtypes),
  )
