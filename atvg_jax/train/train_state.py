"""Everything that changes while a network is trained, in one flat record."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


class TrainState(flax.struct.PyTreeNode):
  """Step, parameters, statistics and optimizer states; g is the generator (AT-net or VG-net), d the discriminator.

  Attributes:
    step: int32 scalar, the number of updates so far.
    g_params: parameters of the generator.
    g_batch_stats: its batch-norm statistics; an empty dict where it has none.
    g_opt_state: its optimizer's state.
    g_ema_params: the exponential moving average of `g_params`, or None.
    d_params: parameters of the discriminator; None, as the next two, where there is none.
    d_batch_stats: its batch-norm statistics.
    d_opt_state: its optimizer's state.
  """

  step: jax.Array
  g_params: Any
  g_batch_stats: Any
  g_opt_state: Any
  g_ema_params: Any = None
  d_params: Any = None
  d_batch_stats: Any = None
  d_opt_state: Any = None

  @property
  def inference_params(self) -> Any:
    """The generator's parameters to generate with: the moving average where there is one."""
    return self.g_params if self.g_ema_params is None else self.g_ema_params


def update_ema(ema: Any, params: Any, decay: float, step: jax.Array) -> Any:
  """The exponential moving average of the parameters one step on; None stays None.

  The decay grows with the steps, min(decay, (1 + step) / (10 + step)), so that the average of a short run is not
  dominated by the random start.

  Args:
    ema: the average so far.
    params: the parameters after the step, a tree of the same structure.
    decay: the final decay, in [0, 1).
    step: int32 scalar, steps before this one.
  """
  if ema is None:
    return None
  step = step.astype(jnp.float32)
  share = 1 - jnp.minimum(decay, (1 + step) / (10 + step))
  # `optax.incremental_update` is this line, but generation, which needs the state only, would wait for its import.
  return jax.tree.map(lambda new, old: share * new + (1 - share) * old, params, ema)
