"""The nets, as Linen modules, and how a config describes one."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from atvg_jax.models import at_net, release_vg_net, sound_vg_net, speech_head, vg_net
from atvg_jax.models.layers import LayerOptions
from data_pipelines.errors import InputError

# By a config's `task`: the nets that `model.name` may ask for. Without a name it is the first of `_UNNAMED` that has
# the config's fields.
_NAMED: dict[str, dict[str, Any]] = {
  'at': {'at_single': at_net.AtSingle, 'speech_head': speech_head.SpeechHead},
  'vg': {'sound_vg': sound_vg_net.SoundVgNet},
}
_UNNAMED: dict[str, tuple[Any, ...]] = {'at': (at_net.AtNet,), 'vg': (vg_net.VgNet, release_vg_net.ReleaseVgNet)}
_LAYER_OPTIONS = frozenset(field.name for field in dataclasses.fields(LayerOptions))


def make_net(config: Any, **options: Any) -> Any:
  """The net that a config (a ConfigDict or its dict) describes by `task`, `model` (keywords) and `dtype`.

  Args:
    config: the config.
    **options: keywords besides, for several devices or a training that is short of memory.

  Raises:
    InputError: there is no such net, or it has no such keyword.
  """
  keywords = dict(config['model'])
  name = keywords.pop('name', None)
  keywords.pop('audio', None)  # the front end's name: see `audio.front_ends`
  named, unnamed = (by_task(table, config['task']) for table in (_NAMED, _UNNAMED))
  if name is not None and name not in named:
    raise InputError(f'config.model.name={name!r} is unknown: leave it out, or use one of {sorted(named)}')
  net = named[name] if name else _first_that_fits(unnamed, keywords)
  return build(net, keywords, dtype=jnp.dtype(config['dtype']), **options)


def by_task(table: Mapping[str, Any], task: str) -> Any:
  """What a table has for a config's task; raises InputError where it has nothing."""
  if task not in table:
    raise InputError(f'task {task!r} is unknown: use one of {sorted(table)}')
  return table[task]


def build(net: Callable[..., Any], keywords: Mapping[str, Any], **more: Any) -> Any:
  """A net from a flat set of keywords, those of `LayerOptions` among them.

  Raises:
    InputError: the net does not know one of them.
  """
  everything = {**keywords, **more}
  options = {name: everything.pop(name) for name in _LAYER_OPTIONS & everything.keys()}
  try:
    made = net(**everything)
  except TypeError as error:
    raise InputError(f'config.model or config.discriminator does not fit the net: {error}') from error
  return made.clone(layers=dataclasses.replace(made.layers, **options))


def _first_that_fits(nets: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
  for net in nets:
    if keywords.keys() - _LAYER_OPTIONS <= {field.name for field in dataclasses.fields(net)}:
      return net
  return nets[-1]
