"""Everything that changes while a net is trained, in one flat record."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class TrainState:
  """Step, parameters, statistics and optimizer states. A generator is named g, a discriminator d.

  Attributes:
    step: int32 scalar, the number of updates so far.
    g_params: parameters of the generating net.
    g_batch_stats: its batch-norm statistics; an empty dict where it has none.
    g_opt_state: its optimizer's state.
    g_ema_params: the exponential moving average of `g_params`, or None.
    d_params, d_batch_stats, d_opt_state: the discriminator's, or None where there is none.
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
    """What to generate with: the moving average where there is one."""
    return self.g_params if self.g_ema_params is None else self.g_ema_params


def update_ema(ema: Any, params: Any, decay: float, step: jax.Array) -> Any:
  """Moves the average toward the parameters; None stays None.

  The decay grows with the steps toward its final value (min(decay, (1 + step) / (10 + step))), so that
  a short run's average is not dominated by the random start.
  """
  if ema is None:
    return None
  step = step.astype(jnp.float32)
  share = 1 - jnp.minimum(decay, (1 + step) / (10 + step))
  # Optax has this line too, but generation, which needs the state's fields only, would wait for its import.
  return jax.tree.map(lambda new, old: share * new + (1 - share) * old, params, ema)
