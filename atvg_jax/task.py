"""The contract between the one training loop and the nets that it trains.

A task is a tuple of pure functions, written for one device and the named axis `AXIS`; they know nothing
about loops, files or how many devices there are. Sums over the axis are their business, so what they
return is the same on every device.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from atvg_jax.train_state import TrainState
from data_pipelines.errors import InputError

AXIS = 'batch'

Batch = Mapping[str, jax.Array]


class Task(NamedTuple):
  """What can be trained.

  Attributes:
    init: key → the state at step 0.
    train_step: (state, batch) → (state one step on, {name: scalar}). Losses and norms are averages over
      all devices. Random keys come from the seed, the step and the device (see `rng`).
    eval_step: (state, batch) → {name: (sum, count)}, summed over all devices; clips whose `mask` is 0 and
      frames whose `frame_mask` is 0 count nothing. A mean is the sums' sum over the counts' sum.
    sample_step: (state, batch) → arrays for pictures, see `pictures`; uses no axis.
  """
  init: Callable[[jax.Array], TrainState]
  train_step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
  eval_step: Callable[[TrainState, Batch], dict[str, tuple[jax.Array, jax.Array]]]
  sample_step: Callable[[TrainState, Batch], dict[str, jax.Array]]


def build(net: Callable[..., Any], keywords: Mapping[str, Any], **more: Any) -> Any:
  """A net from a config's keywords; raises InputError where it does not know one."""
  try:
    return net(**keywords, **more)
  except TypeError as error:
    raise InputError(f'config.model or config.discriminator does not fit the net: {error}') from error


def frame_weights(batch: Batch, num_frames: int) -> jax.Array:
  """[B, T] 1 for true frames of true clips, 0 for padding."""
  weights = jnp.broadcast_to(batch['mask'][:, None], (batch['mask'].shape[0], num_frames))
  return weights * batch['frame_mask'] if 'frame_mask' in batch else weights
