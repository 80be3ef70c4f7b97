"""The two games that are played: audio → landmarks (`at`) and landmarks → video (`vg`)."""

from typing import Any

from atvg_jax.landmarks import LandmarkBasis
from atvg_jax.task import Task
from atvg_jax.tasks import at_task, vg_task
from data_pipelines.errors import InputError

_TASKS = {'at': at_task, 'vg': vg_task}


def _module(name: str) -> Any:
  if name not in _TASKS:
    raise InputError(f'task {name!r} is unknown: use one of {sorted(_TASKS)}')
  return _TASKS[name]


def make_task(config: Any, basis: LandmarkBasis | None) -> Task:
  """The task that the config names; `basis` is needed by 'at' only."""
  return _module(config.task).make(config, basis)


def make_net(config: Any) -> Any:
  """The Linen module that the config (a ConfigDict or its dict) describes, for one device."""
  config = config if hasattr(config, 'task') else _Fields(config)
  return _module(config.task).make_net(config)


class _Fields(dict):
  """A dict whose keys can be read as attributes."""
  __getattr__ = dict.__getitem__
