"""The contract between the one training loop and the networks that it trains.

A task is a tuple of pure functions, written for one device and the named axis `AXIS`. They know nothing of loops,
files or the number of devices. They sum over the axis themselves, so what they return is the same on every device.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from atvg_jax.train.train_state import TrainState

SKIPPED = 'skipped'

Batch = Mapping[str, jax.Array]


class Task(NamedTuple):
  """What can be trained.

  Attributes:
    init: key → the state at step 0.
    train_step: (state, batch) → (state one step on, {name: scalar}). Losses and norms are averages over
      all devices. Random keys come from the seed, the step and the device (see `rng`).
    eval_step: (state, batch) → {name: (sum, count)}, summed over all devices; clips whose `mask` is 0 and
      frames whose `frame_mask` is 0 count nothing. A mean is the sums' sum over the counts' sum.
    sample_step: (state, batch) → arrays to draw, see `pictures`; uses no axis.
  """

  init: Callable[[jax.Array], TrainState]
  train_step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
  eval_step: Callable[[TrainState, Batch], dict[str, tuple[jax.Array, jax.Array]]]
  sample_step: Callable[[TrainState, Batch], dict[str, jax.Array]]


def accumulate(
  part_grads: Callable[[Any, Batch, jax.Array], tuple[Any, Any]], parts: int, stats: Any, batch: Batch
) -> tuple[Any, Any]:
  """Gradient accumulation: equal parts of a device's batch one after the other, in the memory of one part.

  The parts run in a scan: on accelerators that costs nothing, but XLA's CPU is slow at gradients of convolutions there.

  Args:
    part_grads: (statistics, part of the batch, its index) → (statistics, arrays to average, such as gradients).
    parts: how many; with 1 `part_grads` is called on the whole batch.
    stats: batch-norm statistics before the first part; each part goes on from those of the one before.
    batch: a device's, whose clips can be divided by `parts`.

  Returns:
    The statistics after the last part, and the means.
  """
  if parts == 1:
    return part_grads(stats, batch, jnp.int32(0))
  cut = {name: array.reshape(parts, -1, *array.shape[1:]) for name, array in batch.items()}

  def body(carry: Any, part: Any) -> tuple[Any, None]:
    stats, values = part_grads(carry[0], part[1], part[0])
    return (stats, jax.tree.map(jnp.add, carry[1], values)), None

  _, shapes = jax.eval_shape(part_grads, stats, {name: array[0] for name, array in cut.items()}, jnp.int32(0))
  zeros = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), shapes)
  (stats, sums), _ = jax.lax.scan(body, (stats, zeros), (jnp.arange(parts), cut))
  return stats, jax.tree.map(lambda total: total / parts, sums)


def skipping_nonfinite(train_step: Callable[..., Any]) -> Callable[..., Any]:
  """A train step that changes nothing but the step's number where one of its terms is not finite.

  Its terms get one more, `SKIPPED`: 1 where that happened, else 0. The device decides, the host does not wait for it.
  """

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
    after, terms = train_step(state, batch)
    finite = jnp.all(jnp.isfinite(jnp.stack(list(terms.values()))))
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
    return kept.replace(step=after.step), terms | {SKIPPED: 1 - finite.astype(jnp.float32)}

  return step


def frame_weights(batch: Batch, num_frames: int) -> jax.Array:
  """[B, T] 1 for true frames of true clips, 0 for padding."""
  weights = jnp.broadcast_to(batch['mask'][:, None], (batch['mask'].shape[0], num_frames))
  return weights * batch['frame_mask'] if 'frame_mask' in batch else weights


def masked_sums(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The sum of values where a mask of the same shape is 1, and how many they are: what `Task.eval_step` returns."""
  return jnp.sum(values * mask), jnp.sum(mask)
