"""Scores of a network on held-out clips while it is trained, beside those of a static face."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import jax
import numpy as np

from atvg_jax.runtime import parallel
from atvg_jax.train import feed
from atvg_jax.train.task import Task
from atvg_jax.train.train_state import TrainState
from data_pipelines import features

EvalSets = Mapping[str, Callable[[], Iterable[feed.NumpyBatch]]]

_PICTURE_CLIPS = 4


def sets_of(config: Any) -> EvalSets:
  """The evaluation batches (`config.evaluation`) of each of the config's data sets, by the name of its folder."""
  return {
    os.path.basename(os.path.normpath(directory)): partial(feed.eval_batches, config, directory)
    for directory in config.data.dirs
  }


class Validation:
  """Runs a task's `eval_step` and `sample_step` over the held-out sets."""

  def __init__(self, task: Task, sets: EvalSets):
    """Compiles nothing yet.

    Args:
      task: whose steps to run.
      sets: name → factory of this process' batches, equally many on every process.
    """
    self._sets = sets
    self._eval_step = parallel.pmap_eval_step(task.eval_step)
    self._sample_step = jax.jit(task.sample_step)
    self._picture_batches: dict[str, dict[str, np.ndarray]] = {}

  def scores(self, state: TrainState) -> dict[str, float]:
    """'eval_<set>/<metric>' → the mean over the set's clips or frames."""
    scores: dict[str, float] = {}
    for set_name, batches in self._sets.items():
      sums: dict[str, tuple[float, float]] = {}
      for batch in batches():
        results = jax.device_get(self._eval_step(state, feed.place(batch).arrays))
        for name, (total, count) in results.items():
          before = sums.get(name, (0.0, 0.0))
          sums[name] = before[0] + float(total), before[1] + float(count)
      scores |= {f'eval_{set_name}/{name}': total / max(count, 1e-12) for name, (total, count) in sums.items()}
    return scores

  def samples(self, state: TrainState) -> dict[str, dict[str, np.ndarray]]:
    """Set → the results of `sample_step` for its first clips, as NumPy."""
    for set_name, batches in self._sets.items():
      if set_name not in self._picture_batches:
        self._picture_batches[set_name] = _first_clips(batches())
    return {
      name: jax.device_get(self._sample_step(state, batch)) for name, batch in self._picture_batches.items() if batch
    }


def _first_clips(batches: Iterable[feed.NumpyBatch]) -> dict[str, np.ndarray]:
  for batch in islice(batches, 1):
    return {name: np.asarray(array)[:_PICTURE_CLIPS] for name, array in batch.items() if name != features.CLIP_ID}
  return {}
