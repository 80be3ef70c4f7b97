"""AT-net: speech to landmark coefficients (Chen et al., CVPR 2019, arXiv 1905.03820, left half of figure 2).

In the paper's symbols, of the sound a_t around every frame and the PCA coefficients h_p of an example's landmarks:

  [h_t, c_t] = φ_lmark(LSTM(f_audio(a_t), f_lmark(h_p), c_{t-1}))
  p_t        = h_t ⊙ ω * Uᵀ + M

f_audio is `AudioEncoder`, f_lmark the layers `landmark_dense`, φ_lmark the layer `head`. The second line, from
coefficients to landmarks, is `landmarks.from_coefficients`, and ω `config.generation.exaggeration`. Widths are the
published ones by default.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.layers import Array, LayerOptions
from atvg_jax.models.recurrent import Lstm


class AudioEncoder(nn.Module):
  """f_audio: each frame's MFCC window through convolutions, flattening and dense layers.

  The paper's takes the window as a picture of one channel: 3x3 kernels, pooled after each of two stages. Cepstra have
  no neighbours as pixels have, though; taken as a sequence of which they are the channels, unseen speakers are
  followed better.

  Attributes:
    features: channels of the convolutions of the first stage, and of the second.
    head_features: widths of the dense layers, with a ReLU after each.
    layers: what all layers have in common.
    sequence: take the window as a sequence: kernels of 5 steps, the last of each stage with stride 2, no pooling.
    dropout_rate: of the flattened features and after each dense layer.
  """

  features: tuple[tuple[int, ...], tuple[int, ...]]
  head_features: tuple[int, ...]
  layers: LayerOptions
  sequence: bool = False
  dropout_rate: float = 0.0

  @nn.compact
  def __call__(self, mfcc: Array, *, train: bool) -> Array:
    """[B, T, 28, 12] -> [B, T, head_features[-1]]."""
    x = self._over_time(mfcc, train) if self.sequence else self._over_picture(mfcc, train)
    x = x.reshape(*x.shape[:2], -1)
    dropout = functools.partial(nn.Dropout, self.dropout_rate, deterministic=not train)
    x = dropout()(x)
    for index, features in enumerate(self.head_features):
      x = dropout()(nn.relu(self.layers.dense(features, name=f'dense{index}')(x)))
    return x

  def _over_picture(self, mfcc: Array, train: bool) -> Array:
    x = mfcc[..., None]  # [B, T, 28, 12, 1]
    index = 0
    for stage, stride in zip(self.features, ((1, 2), (2, 2)), strict=True):
      for features in stage:
        x = self.layers.conv(features, name=f'conv{index}')(x, train=train)
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
        x = self.layers.conv(features, (5, 1), stride, name=f'conv{index}')(x, train=train)
        index += 1
    return x


def _pooled(size: tuple[int, ...], stride: tuple[int, int]) -> tuple[int, ...]:
  return tuple((side - 3) // step + 1 for side, step in zip(size, stride, strict=True))


class AtNet(nn.Module):
  """The paper's AT-net: landmark coefficients of every frame from its sound, its past and an example frame.

  Attributes:
    num_coefficients: how many PCA coefficients h_t describe a mouth.
    landmark_features: dense layers of f_lmark on the example's coefficients, a ReLU after each.
    audio_features: channels of f_audio's convolutions, of its first and its second stage.
    audio_head_features: f_audio's dense layers after the convolutions.
    audio_sequence: see `AudioEncoder.sequence`.
    recurrent_features, recurrent_layers: the LSTM's.
    dropout_rate: of the audio features.
    ensemble_size: so many such nets as an ensemble, outputs averaged. Each learns by its own error. The mean is nearer
      to the truth than one net as large as all of them. The paper has one.
    layers: what all layers have in common.
  """

  num_coefficients: int = 6
  landmark_features: tuple[int, ...] = (256, 512)
  audio_features: tuple[tuple[int, ...], tuple[int, ...]] = ((64, 128), (256, 256, 512))
  audio_head_features: tuple[int, ...] = (2048, 256)
  audio_sequence: bool = False
  recurrent_features: int = 256
  recurrent_layers: int = 3
  dropout_rate: float = 0.0
  ensemble_size: int = 1
  layers: LayerOptions = LayerOptions()

  @nn.compact
  def __call__(
    self, example_coefficients: Array, mfcc: Array, *, train: bool, carry: Array | None = None
  ) -> dict[str, Any]:
    """Runs over a window.

    Args:
      example_coefficients: h_p, [B, K].
      mfcc: a_t, [B, T, 28, 12].
      train: dropout on, batch norm by the batch's statistics.
      carry: of the shape `carry_shape`, the LSTMs' after the frames before; None for a zero start.

    Returns:
      'coefficients' h_t [B, T, num_coefficients], float32; 'carry'; of an ensemble also 'by_member'
      [ensemble_size, B, T, num_coefficients].
    """
    if self.ensemble_size > 1:
      return self._ensemble(example_coefficients, mfcc, train, carry)
    layers = self.layers
    audio = AudioEncoder(
      self.audio_features,
      self.audio_head_features,
      layers,
      self.audio_sequence,
      self.dropout_rate,
      name='audio_encoder',
    )(mfcc, train=train)
    example = example_coefficients
    for index, features in enumerate(self.landmark_features):
      example = nn.relu(layers.dense(features, name=f'landmark_dense{index}')(example))
    example = jnp.broadcast_to(example[:, None], (*audio.shape[:2], example.shape[-1]))
    x = jnp.concatenate([example, audio], axis=-1)
    x, carry = Lstm(self.recurrent_features, self.recurrent_layers, **layers.dtypes, name='lstm')(x, carry)
    coefficients = layers.dense(self.num_coefficients, name='head')(x)
    return {'coefficients': coefficients.astype(jnp.float32), 'carry': carry}

  def _ensemble(self, example_coefficients: Array, mfcc: Array, train: bool, carry: Array | None) -> dict[str, Any]:
    carries = [None] * self.ensemble_size if carry is None else jnp.split(carry, self.ensemble_size)
    outputs = [
      self.clone(ensemble_size=1, name=f'member{index}', parent=self)(
        example_coefficients, mfcc, train=train, carry=carry
      )
      for index, carry in enumerate(carries)
    ]
    by_member = jnp.stack([output['coefficients'] for output in outputs])
    return {
      'coefficients': jnp.mean(by_member, axis=0),
      'carry': jnp.concatenate([output['carry'] for output in outputs]),
      'by_member': by_member,
    }

  def carry_shape(self, batch_size: int | str) -> tuple[int | str, ...]:
    """(layers of the whole ensemble, 2, B, features): hidden states and cells of the LSTMs."""
    return self.ensemble_size * self.recurrent_layers, 2, batch_size, self.recurrent_features


class AtSingle(nn.Module):
  """The frame-wise variant: no norm, no example, no past. Attributes as in `AtNet`, and so is the call."""

  num_coefficients: int = 6
  audio_features: tuple[tuple[int, ...], tuple[int, ...]] = ((64, 128), (256, 256, 512))
  audio_head_features: tuple[int, ...] = (2048, 256)
  dropout_rate: float = 0.0
  layers: LayerOptions = LayerOptions(norm='none')

  @nn.compact
  def __call__(
    self, example_coefficients: Array, mfcc: Array, *, train: bool, carry: Array | None = None
  ) -> dict[str, Any]:
    """As `AtNet`, from `mfcc` alone: the example is ignored, and the carry is empty."""
    x = AudioEncoder(
      self.audio_features,
      self.audio_head_features,
      self.layers,
      dropout_rate=self.dropout_rate,
      name='audio_encoder',
    )(mfcc, train=train)
    coefficients = self.layers.dense(self.num_coefficients, name='head')(x)
    if carry is None:
      carry = jnp.zeros((0, 0, len(mfcc), 0), self.layers.dtype)
    return {'coefficients': coefficients.astype(jnp.float32), 'carry': carry}

  def carry_shape(self, batch_size: int | str) -> tuple[int | str, ...]:
    """As `AtNet.carry_shape`, of no layers."""
    return 0, 0, batch_size, 0
