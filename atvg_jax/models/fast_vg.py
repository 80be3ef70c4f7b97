"""VG-net for generation: `VgNet` itself, to rounding, by the layers that are fastest on the machine.

Three steps: `prepare` folds the weights, once when they are loaded; `start` computes what all frames of a clip share,
once a clip; `draw` does the rest, window by window. `folded_layers` has the layers.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from atvg_jax.models import folded_layers
from atvg_jax.models.vg_net import SCALE, Shared, VgNet, zero_carry
from data_pipelines import features
from data_pipelines.errors import InputError

__all__ = ['draw', 'prepare', 'start', 'zero_carry']

Array = jax.Array
Prepared = folded_layers.FoldedNet


def prepare(net: VgNet, variables: Mapping[str, Any], backend: str | None = None) -> Prepared:
  """Folds a net's variables into the layers of `start` and `draw`, as NumPy arrays.

  Args:
    net: the net.
    variables: its variables, 'params' and 'batch_stats'.
    backend: 'cpu', 'gpu' or 'tpu', for which to choose the algorithms; None is the one that JAX runs on.

  Raises:
    InputError: the net draws from sound, which generation has no place for.
  """
  if net.condition != features.LANDMARKS:
    raise InputError(
      'these weights draw from sound directly, without landmarks: they are a row of an ablation, and '
      'can be trained and scored, not generated with'
    )
  cells = variables['params']['landmark_dense']['bias'].shape[0]
  height = math.isqrt(cells) if math.isqrt(cells) ** 2 == cells else 1
  image = jax.ShapeDtypeStruct((1, SCALE * height, SCALE * cells // height, 3), jnp.float32)
  points = jax.ShapeDtypeStruct((1, features.LANDMARK_SIZE), jnp.float32)
  frames = jax.ShapeDtypeStruct((1, 1, features.LANDMARK_SIZE), jnp.float32)
  return folded_layers.fold_net(net, variables, backend or jax.default_backend(), image, points, frames)


def start(net: VgNet, prepared: Prepared, example_image: Array, example_landmarks: Array) -> Shared:
  """What the frames of a clip share.

  Args:
    net: the net.
    prepared: of `prepare`.
    example_image: [B, H, W, 3] in [-1, 1].
    example_landmarks: [B, 136].
  """
  shared = folded_layers.apply_net(net, prepared, example_image, example_landmarks, method='encode')
  return {**shared, 'inputs': folded_layers.shared_sums(prepared, shared['inputs'])}


def draw(
  net: VgNet, prepared: Prepared, shared: Shared, landmarks: Array, carry: Array, *, chained: bool = False
) -> dict[str, Any]:
  """Draws a window of frames; arguments and results are those of `VgNet.draw`.

  Args:
    net: the net.
    prepared: of `prepare`.
    shared: of `start`.
    landmarks: [B, T, 136].
    carry: the recurrent state after the frames before; `zero_carry` at the start.
    chained: see `VgNet.draw`.
  """
  return folded_layers.apply_net(net, prepared, shared, landmarks, carry, method='draw', chained=chained)
