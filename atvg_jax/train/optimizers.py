"""Learning-rate schedules and optimizers, by config."""

from typing import Any

import optax

from data_pipelines.errors import InputError


def schedule(config: Any, num_steps: int) -> optax.Schedule:
  """The learning rate by step.

  Args:
    config: `config.optimizer`: fields `learning_rate`, `schedule` ('constant' or 'cosine', which falls to zero at the
      last step) and `warmup_steps`, over which the rate rises linearly from zero.
    num_steps: steps of the whole run.

  Raises:
    InputError: if the schedule is unknown.
  """
  rate, warmup = config.learning_rate, config.warmup_steps
  if config.schedule == 'constant':
    after = optax.constant_schedule(rate)
  elif config.schedule == 'cosine':
    after = optax.cosine_decay_schedule(rate, max(1, num_steps - warmup))
  else:
    raise InputError(f"optimizer.schedule {config.schedule!r} is unknown: use 'constant' or 'cosine'")
  if not warmup:
    return after
  return optax.join_schedules([optax.linear_schedule(0, rate, warmup), after], [warmup])


def make(config: Any, num_steps: int) -> optax.GradientTransformation:
  """Adam, after clipping the gradient's global norm where `clip_norm` is set.

  Args:
    config: `config.optimizer`: the fields of `schedule`, and `b1`, `b2`, `clip_norm` (None: no clipping).
    num_steps: steps of the whole run.
  """
  # A chain even where nothing is clipped, so that a run can resume with another clipping: the state has one structure.
  clip = optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm)
  return optax.chain(clip, optax.adam(schedule(config, num_steps), b1=config.b1, b2=config.b2))


def update(optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
  """One step of an optimizer → (parameters, its state)."""
  updates, opt_state = optimizer.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state
