"""The nets, as Linen modules."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from atvg_jax.models import at_net, vg_net
from data_pipelines.errors import InputError

# By a config's `task`: the net, and others that its `model.name` may ask for.
_NETS = {
  'at': (at_net.AtNet, {'at_single': at_net.AtSingle}),
  'vg': (vg_net.VgNet, {'sound_vg': vg_net.SoundVgNet}),
}


def make_net(config: Any, **options: Any) -> Any:
  """The net that a config (a ConfigDict or its dict) describes by `task`, `model` (keywords) and `dtype`.

  Args:
    config: the config.
    **options: keywords besides, for several devices or a training that is short of memory.

  Raises:
    InputError: there is no such net, or it has no such keyword.
  """
  net, others = by_task(_NETS, config['task'])
  return build(
    others.get(config['model'].get('name'), net), config['model'], dtype=jnp.dtype(config['dtype']), **options
  )


def by_task(table: Mapping[str, Any], task: str) -> Any:
  """What a table has for a config's task; raises InputError where it has nothing."""
  if task not in table:
    raise InputError(f'task {task!r} is unknown: use one of {sorted(table)}')
  return table[task]


def build(net: Callable[..., Any], keywords: Mapping[str, Any], **more: Any) -> Any:
  """A net from a config's keywords; raises InputError where it does not know one."""
  try:
    return net(**keywords, **more)
  except TypeError as error:
    raise InputError(f'config.model or config.discriminator does not fit the net: {error}') from error
