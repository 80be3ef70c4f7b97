"""The two games that are played: audio → landmarks (`at`) and landmarks → video (`vg`)."""

from typing import Any

from atvg_jax import models
from atvg_jax.landmarks import LandmarkBasis
from atvg_jax.train.task import Task
from atvg_jax.train.tasks import at_task, vg_task

_TASKS = {'at': at_task, 'vg': vg_task}


def make_task(config: Any, basis: LandmarkBasis | None) -> Task:
  """The task that the config names; `basis` is needed by 'at' only."""
  return models.by_task(_TASKS, config.task).make(config, basis)
