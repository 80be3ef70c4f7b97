"""Checkpoints of a run. The only module that uses Orbax.

A checkpoint is two items: `generator` (parameters, their moving average, batch-norm statistics: all that generation
needs) and `training` (the rest). The generator of the best step and its score are in `best/`.
Orbax gets NumPy copies of the replicated state: what n processes save any other number of processes restores, and
donating the state to the next step cannot disturb a save that is still being written.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from atvg_jax.runtime import parallel
from data_pipelines.errors import InputError

_FOLDER, BEST_FOLDER, _DAMAGED_FOLDER = 'checkpoints', 'best', 'damaged_checkpoints'
_GENERATOR = ('g_params', 'g_batch_stats', 'g_ema_params')
_TRAINING = ('step', 'g_opt_state', 'd_params', 'd_batch_stats', 'd_opt_state')

State = Any  # a `flax.struct.PyTreeNode` with the fields above, such as `train_state.TrainState`
_log = logging.getLogger(__name__)


def _items(state: State) -> dict[str, dict[str, Any]]:
  """The state as the items of a checkpoint, without what is None."""
  return {
    item: {name: getattr(state, name) for name in names if getattr(state, name) is not None}
    for item, names in (('generator', _GENERATOR), ('training', _TRAINING))
  }


class Checkpoints:
  """The checkpoints of a workdir, saved in the background."""

  def __init__(self, workdir: str, *, keep: int = 3):
    """Opens `workdir`; the newest `keep` checkpoints are kept."""
    self._workdir = os.path.abspath(workdir)
    self._keep = keep
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      preservation_policy=preservation_policy.LatestN(self._keep), enable_async_checkpointing=True, create=True
    )
    return ocp.CheckpointManager(
      os.path.join(self._workdir, _FOLDER),
      options=options,
      item_handlers={item: ocp.StandardCheckpointHandler() for item in ('generator', 'training')},
    )

  def steps(self) -> list[int]:
    """The steps of which there are checkpoints, ascending."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: State) -> None:
    """Begins to save a replicated state; does nothing where the step is saved already.

    Raises:
      InputError: if this save, or the one before that was still being written, fails: a disk is full, for instance.
    """
    if step in self._manager.all_steps():
      return
    items = {item: ocp.args.StandardSave(parallel.to_host(tree)) for item, tree in _items(state).items()}
    with self._write_errors():
      self._manager.save(step, args=ocp.args.Composite(**items))

  def wait(self) -> None:
    """Returns when everything is on disk; raises InputError where that cannot be."""
    with self._write_errors():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, then releases the files."""
    with self._write_errors():
      self._manager.close()

  def last(self) -> str:
    """Which checkpoint to resume from, in words."""
    steps = self.steps()
    return f'the last good checkpoint is of step {steps[-1]}' if steps else 'there is no checkpoint yet'

  @contextlib.contextmanager
  def _write_errors(self) -> Iterator[None]:
    """Turns failures to write into an `InputError`."""
    try:
      yield
    except Exception as error:  # Orbax, tensorstore and the file system each have their own
      names = os.listdir(os.path.join(self._workdir, _FOLDER))
      last = max((int(name) for name in names if re.fullmatch(r'\d+', name)), default=0)
      raise InputError(
        f'a checkpoint could not be written to {self._workdir} ({_reason(error)}): make room; the same '
        f'command resumes from step {last}'
      ) from error

  def restore(self, like: State) -> State | None:
    """The newest state that can be read, as NumPy, or None where there is no checkpoint.

    A damaged checkpoint is named in the log and moved to `damaged_checkpoints/`, and the one before is taken.

    Args:
      like: a state of the same structure and shapes, for instance from `jax.eval_shape`.

    Raises:
      InputError: if there are checkpoints but none can be read, or the newest is of another net.
    """
    damaged: list[int] = []
    for step in reversed(self.steps()):
      try:
        restored = self._restore(step, like)
      except InputError:
        raise
      except Exception as error:  # Orbax and tensorstore raise many kinds for damaged files
        _log.warning('checkpoint %d of %s is damaged (%s): taking the one before', step, self._workdir, _reason(error))
        damaged.append(step)
        continue
      if damaged:
        self._put_aside(damaged)
      return restored
    if damaged:
      raise InputError(
        f'no checkpoint in {self._workdir} can be read, all {len(damaged)} are damaged: use another --workdir'
      )
    return None

  def _restore(self, step: int, like: State) -> State:
    wanted = {
      item: jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree) for item, tree in _items(like).items()
    }
    found = self._manager.item_metadata(step)
    for item, tree in wanted.items():
      if found[item] is None:
        raise ValueError(f'the metadata of its {item} cannot be read')
      if _shapes(found[item]) != _shapes(tree):
        raise InputError(
          f'checkpoint {step} of {self._workdir} is whole, but of another net or optimizer: resume with '
          'the config and the version that it was made with, or use another --workdir'
        )
    restored = self._manager.restore(
      step, args=ocp.args.Composite(**{item: ocp.args.StandardRestore(tree) for item, tree in wanted.items()})
    )
    return like.replace(**restored['generator'], **restored['training'])

  def _put_aside(self, steps: list[int]) -> None:
    """Moves damaged checkpoints away, so that the run can save at the same steps."""
    self._manager.close()
    if parallel.is_main_process():
      aside = os.path.join(self._workdir, _DAMAGED_FOLDER)
      os.makedirs(aside, exist_ok=True)
      for step in steps:
        shutil.rmtree(os.path.join(aside, str(step)), ignore_errors=True)
        os.rename(os.path.join(self._workdir, _FOLDER, str(step)), os.path.join(aside, str(step)))
    self._manager = self._open()  # waits for all processes


class Best:
  """The generator of the best step so far, in `best/` of a workdir, next to its score."""

  def __init__(self, workdir: str, metric: str):
    """Reads the score of the best step so far, if there is one.

    Args:
      workdir: the run's.
      metric: `config.best_metric`: name of a score, after a minus where lower is better; '' keeps nothing.
    """
    self._sign, self._name = (-1, metric[1:]) if metric.startswith('-') else (1, metric)
    self._folder = os.path.join(os.path.abspath(workdir), BEST_FOLDER)
    self.step, self.score = 0, None
    if metric and has_checkpoint(workdir, BEST_FOLDER):
      with self._open() as manager:
        self.step = manager.latest_step()
        found = manager.restore(self.step, args=ocp.args.Composite(score=ocp.args.JsonRestore()))['score']
      self.score = found['value'] if found['metric'] == self._name else None

  def _open(self) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      preservation_policy=preservation_policy.LatestN(1), enable_async_checkpointing=False, create=True
    )
    return ocp.CheckpointManager(
      self._folder,
      options=options,
      item_handlers={'generator': ocp.StandardCheckpointHandler(), 'score': ocp.JsonCheckpointHandler()},
    )

  def offer(self, step: int, state: State, scores: Mapping[str, float]) -> None:
    """Saves a step's generator if its score is the best so far; all processes must call it.

    Raises:
      InputError: if the scores do not include the metric, or the generator cannot be written.
    """
    if not self._name or not scores:
      return
    if self._name not in scores:
      raise InputError(
        f'best_metric={self._name!r} is no score of the evaluation: use one of '
        f'{", ".join(sorted(scores))}, after a minus where less is better'
      )
    value = scores[self._name]
    if self.score is not None and not self._sign * value > self._sign * self.score:
      return
    try:
      with self._open() as manager:
        manager.save(
          step,
          force=True,
          args=ocp.args.Composite(
            generator=ocp.args.StandardSave(parallel.to_host(_items(state)['generator'])),
            score=ocp.args.JsonSave({'metric': self._name, 'value': value}),
          ),
        )
    except Exception as error:  # as above
      raise InputError(
        f'the best generator could not be written to {self._folder} ({_reason(error)}): make room, then '
        'resume by the same command'
      ) from error
    self.step, self.score = step, value

  def summary(self) -> dict[str, float]:
    """{'best_step', 'best_<metric>'}; empty before there is one."""
    return {} if self.score is None else {'best_step': self.step, f'best_{self._name}': self.score}


def _reason(error: Exception) -> str:
  """The first line of an error's message, or the system's message where the cause is a full disk or a limit."""
  text = str(error).strip()
  for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
    if os.strerror(number) in text:
      return os.strerror(number)
  return (text.splitlines() or [type(error).__name__])[0][:200]


def _shapes(tree: Any) -> list[tuple[int, ...]]:
  """The sorted shapes of a tree's arrays, or of those that Orbax' metadata describe."""
  return sorted(tuple(leaf.shape) for leaf in jax.tree.leaves(getattr(tree, 'tree', tree)))


def has_checkpoint(workdir: str, folder: str = _FOLDER) -> bool:
  """Whether a workdir holds a finished checkpoint."""
  folder = os.path.join(workdir, folder)
  return os.path.isdir(folder) and any(re.fullmatch(r'\d+', name) for name in os.listdir(folder))


def restore_generator(workdir: str, *, best: bool = False) -> tuple[int, dict[str, Any]]:
  """The newest readable generator of a workdir: (step, {'g_params', 'g_batch_stats', 'g_ema_params'?}), as NumPy.

  `best` takes the one that `Best` kept.

  Raises:
    InputError: if the workdir holds no checkpoint that can be read.
  """
  name = BEST_FOLDER if best else _FOLDER
  if not has_checkpoint(workdir, name):
    how = ' with a best_metric' if best else ''
    raise InputError(
      f'{workdir} holds no {"best " if best else ""}checkpoint: train there first{how} '
      f'(atvg train --workdir={workdir} ...)'
    )
  folder = os.path.join(os.path.abspath(workdir), name)
  steps = sorted((int(name) for name in os.listdir(folder) if re.fullmatch(r'\d+', name)), reverse=True)
  for step in steps:
    try:
      with ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(create=False),
        item_handlers={'generator': ocp.StandardCheckpointHandler()},
      ) as manager:
        restored = manager.restore(step, args=ocp.args.Composite(generator=ocp.args.StandardRestore()))
      return step, {'g_batch_stats': {}, **restored['generator']}
    except Exception as error:  # as above
      _log.warning('checkpoint %d of %s cannot be read (%s): trying the one before', step, workdir, _reason(error))
  raise InputError(f'no checkpoint in {workdir} can be read: they are damaged')
