"""From a front end's features of every frame to landmark coefficients, by past and future, with no state to carry."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.layers import Array, Dtype, LayerOptions
from atvg_jax.models.recurrent import gru_update

_MOMENTUM = 0.99  # of the standardisation's statistics
# Of the gate: how sure it has to be that somebody speaks, and how sure in a pause by the level; how sharply it opens;
# how many frames it stays open beside speech.
_SURE, _SURE_IN_PAUSE, _SHARPNESS = 2.5, 6.0, 2.0
_AFTER, _BEFORE = 2, 1
# A pause by the level: how many frames in a row, of how little power against the loudest fifth of a second's.
_PAUSE, _LOUDEST, _BELOW = 6, 5, 10**-2.8
# A recording's begin, in frames, where people breathe in with open mouths: the net's answer counts where it is sure of
# a movement, of so much of a standard deviation of the coefficients; of more where it is 34 dB below the loudest.
_BEGIN, _MOVES, _MOVES_SHARPNESS = 25, 0.25, 30.0
_MOVES_IN_PAUSE, _BELOW_AT_BEGIN = 0.57, 10**-3.4
_UNROLL = 5  # steps of the loop in one: on CPUs what surrounds a step takes as long as the step


class BiGru(nn.Module):
  """Gated recurrent units over time, forwards and backwards in one loop.

  Attributes:
    features: of each direction.
  """

  features: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, T, F] -> [B, T, 2 features]: forwards, then backwards."""
    size = self.features
    inputs = nn.Dense(6 * size, dtype=self.dtype, name='input')(x).reshape(*x.shape[:2], 2, 3 * size)
    inputs = jnp.stack([inputs[:, :, 0], inputs[:, ::-1, 1]])  # [2, B, T, 3 size]
    kernel = self.param('recurrent', _orthogonal, (2, size, 3 * size)).astype(self.dtype)
    bias = self.param('recurrent_bias', nn.initializers.zeros, (2, 1, size)).astype(self.dtype)

    def step(state: Array, now: Array) -> tuple[Array, Array]:
      hidden = jnp.einsum('dbf,dfg->dbg', state, kernel)
      hidden = hidden.at[..., 2 * size :].add(bias)
      state = gru_update(now, hidden, state)
      return state, state

    unroll = _UNROLL if isinstance(x.shape[1], int) else 1  # of an exported program the length is not known yet
    start = jnp.zeros((2, x.shape[0], size), self.dtype)
    _, states = jax.lax.scan(step, start, inputs.transpose(2, 0, 1, 3), unroll=unroll)
    states = states.transpose(1, 2, 0, 3)  # [2, B, T, size]
    return jnp.concatenate([states[0], states[1, :, ::-1]], axis=-1)


def _orthogonal(key: Array, shape: tuple[int, int, int]) -> Array:
  init = nn.initializers.orthogonal()
  return jnp.stack([init(part, shape[1:]) for part in jax.random.split(key, shape[0])])


class SpeechHead(nn.Module):
  """AT-net for a front end that takes sound: coefficients of every frame of a window, from all of the window.

  No state is carried from window to window: windows overlap instead (`front_ends.FrontEnd.past`).

  Attributes:
    num_coefficients: how many coefficients describe a mouth.
    dense_features: of the layer between the front end and the recurrence.
    recurrent_features, recurrent_layers: the recurrence's, of each direction.
    input_noise: deviation of normal noise on the standardised features, in training.
    input_dropout: share of the features that is left out in training.
    dropout_rate: before and after the recurrence; half of it between its layers.
    speech_gate: whether to tell also where somebody speaks, 'speaking'; see `moved`.
    layers: what all layers have in common; there are no norms but the standardisation.
  """

  num_coefficients: int = 6
  dense_features: int = 128
  recurrent_features: int = 96
  recurrent_layers: int = 2
  input_noise: float = 0.2
  input_dropout: float = 0.1
  dropout_rate: float = 0.4
  speech_gate: bool = False
  layers: LayerOptions = LayerOptions(norm='none')

  @nn.compact
  def __call__(
    self, example_coefficients: Array, audio: Array, *, train: bool, carry: Array | None = None
  ) -> dict[str, Any]:
    """As `AtNet`, from the front end's features [B, T, ...] alone: the example is ignored, and the carry is empty."""
    del example_coefficients

    def dropout(rate: float, values: Array) -> Array:
      return nn.Dropout(rate, deterministic=not train)(values)

    layers = self.layers
    x = audio.reshape(*audio.shape[:2], -1)
    # To mean 0 and deviation 1; the statistics of training are kept, as any batch norm's.
    heard = x = nn.BatchNorm(
      not train, momentum=_MOMENTUM, use_bias=False, use_scale=False, axis_name=layers.axis_name, name='standardisation'
    )(x).astype(layers.dtype)
    if train and self.input_noise:
      x = x + self.input_noise * jax.random.normal(self.make_rng('dropout'), x.shape, x.dtype)
    x = dropout(self.input_dropout, x)
    x = dropout(self.dropout_rate, nn.relu(nn.Dense(self.dense_features, **layers.dtypes, name='dense')(x)))
    for layer in range(self.recurrent_layers):
      x = BiGru(self.recurrent_features, dtype=layers.dtype, name=f'gru{layer}')(x)
      x = dropout(self.dropout_rate / (1 if layer == self.recurrent_layers - 1 else 2), x)
    coefficients = nn.Dense(self.num_coefficients, **layers.dtypes, name='head')(x)
    if carry is None:
      carry = jnp.zeros(self.carry_shape(len(audio)), layers.dtype)
    outputs = {'coefficients': coefficients.astype(jnp.float32), 'carry': carry}
    if self.speech_gate:
      logits = nn.Dense(1, **layers.dtypes, name='speaking')(jnp.concatenate([x, heard], axis=-1))
      outputs['speaking'] = logits[..., 0].astype(jnp.float32)
    return outputs

  def carry_shape(self, batch_size: int | str) -> tuple[int | str, ...]:
    """As `AtNet.carry_shape`, of no layers."""
    return 0, 0, batch_size, 0


def moved(outputs: Mapping[str, Any], samples: Array) -> Array:
  """Coefficients [B, T, K] of a head with `speech_gate`, at rest where nobody speaks; of others as they are.

  A breath in a pause sounds like the beginning of speech, and before speech mouths open: the expected mouth in a pause
  is half open. The gate decides instead. Where the sound is 28 dB below the loudest for a quarter of a second it has to
  be surer, so that the mouth rests as soon as the voice has died away. The first second after digital silence is exempt
  where the net is sure of a movement: of less where a breath can be heard, so that live, where little of what follows
  is known, mouths open in time.

  Args:
    outputs: of a `SpeechHead`.
    samples: [B, 640 T], what was heard.
  """
  coefficients = outputs['coefficients']
  if 'speaking' not in outputs:
    return coefficients
  logits = outputs['speaking'][..., None]
  speaking = nn.sigmoid(_SHARPNESS * (logits - _SURE))
  speaking = nn.max_pool(speaking, (_AFTER + 1 + _BEFORE,), padding=((_AFTER, _BEFORE),))
  power = jnp.mean(samples.reshape(*coefficients.shape[:2], -1) ** 2, axis=-1, keepdims=True)
  surely = nn.sigmoid(_SHARPNESS * (logits - _SURE_IN_PAUSE))
  speaking = jnp.where(_in_pause(power, _BELOW), jnp.minimum(speaking, surely), speaking)
  sounding = power > 0
  begins = ~sounding[:, :1] & (jnp.cumsum(jnp.cumsum(sounding, axis=1) > 0, axis=1) <= _BEGIN)
  size = jnp.sqrt(jnp.mean(coefficients**2, axis=-1, keepdims=True))
  least = jnp.where(_in_pause(power, _BELOW_AT_BEGIN), _MOVES_IN_PAUSE, _MOVES)
  speaking = jnp.maximum(speaking, begins * nn.sigmoid(_MOVES_SHARPNESS * (size - least)))
  return coefficients * nn.avg_pool(jnp.pad(speaking, ((0, 0), (1, 1), (0, 0)), mode='edge'), (3,))


def _in_pause(power: Array, below: float) -> Array:
  """Frames that are for long below a share of the loudest's power, bool [B, T, 1], of frames' power."""
  around, edge = ((0, 0), (_LOUDEST // 2, _LOUDEST // 2), (0, 0)), ((0, 0), (_PAUSE - 1, _PAUSE - 1), (0, 0))
  loudest = jnp.max(nn.avg_pool(jnp.pad(power, around), (_LOUDEST,)), axis=1, keepdims=True)
  # Digital silence is what surrounds a recording: its first and last frames are no pause because of that.
  loud = ((power >= below * loudest) | (power == 0)).astype(power.dtype)
  quiet = -nn.max_pool(
    jnp.pad(loud, edge, constant_values=1), (_PAUSE,)
  )  # [B, T + 5, 1]: 0 for runs without a loud frame, else -1
  return nn.max_pool(quiet, (_PAUSE,)) == 0
