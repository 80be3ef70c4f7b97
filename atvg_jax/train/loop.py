"""The training loop, one for all networks: `train(config, workdir)` returns the state and a summary.

A workdir holds config.json, landmark_basis.npz, checkpoints/, best/ (where there is a best_metric), metrics.jsonl,
tensorboard/, pictures/ and, at the end, summary.json. A run in a workdir that holds a checkpoint resumes from it.
"""

import contextlib
import errno
import functools
import logging
import math
import os
from collections.abc import Callable, Iterable
from typing import Any

import jax
from tqdm import tqdm

from atvg_jax.checkpoints import run_config, weights
from atvg_jax.checkpoints.orbax_checkpoints import Best, Checkpoints, has_checkpoint
from atvg_jax.landmarks import LandmarkBasis
from atvg_jax.runtime import flops, parallel, rng
from atvg_jax.train import (
  command_flags,
  command_logging,
  feed,
  fit_landmarks,
  metric_writers,
  optimizers,
  pictures,
)
from atvg_jax.train.metric_writers import MetricWriter
from atvg_jax.train.step_log import StepLog, StopSignals
from atvg_jax.train.task import Task, skipping_nonfinite
from atvg_jax.train.tasks import make_task
from atvg_jax.train.train_state import TrainState
from atvg_jax.train.validation import EvalSets, Validation, sets_of
from data_pipelines.errors import InputError

_log = logging.getLogger(__name__)

BatchFactory = Callable[[int], Iterable[feed.NumpyBatch]]


def train(
  config: Any,
  workdir: str,
  *,
  batches: BatchFactory | None = None,
  eval_sets: EvalSets | None = None,
  basis: LandmarkBasis | None = None,
) -> tuple[TrainState, dict[str, Any]]:
  """Trains the network of a config, or resumes from the workdir's newest checkpoint.

  Args:
    config: a locked ConfigDict, see `configs/common.py`.
    workdir: folder for everything that is written; created where it is missing.
    batches: step → endless NumPy batches of this process from that step on; by default of the config's data sets.
    eval_sets: name → factory of held-out batches; by default those of the config's data sets.
    basis: landmark basis of a new AT-net; by default fitted to the data sets.

  Returns:
    The replicated state, and a summary: 'step', 'interrupted', `StepLog.totals`, `Best.summary` and the last
    'train/...' and 'eval_.../...' numbers.

  Raises:
    InputError: if config, data or workdir are unfit, or a disk is full.
    NonFiniteLossError: names the term, step and clips.
  """
  try:
    return _train(config, workdir, batches, eval_sets, basis)
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    raise InputError(
      f'there is no room left for {error.filename or workdir}: make some, then resume by the same '
      'command; the checkpoints that are there are whole'
    ) from error


def _train(
  config: Any, workdir: str, batches: BatchFactory | None, eval_sets: EvalSets | None, basis: LandmarkBasis | None
) -> tuple[TrainState, dict[str, Any]]:
  run_config.check_workdir(config, workdir)
  feed.check_splits(config, training=batches is None, evaluation=eval_sets is None)
  run_config.init_workdir(config, workdir)
  start = None
  if config.init_from and not has_checkpoint(workdir):
    start = weights.starting_point(config.init_from, config.task)
    basis = basis or start.basis
  task = make_task(config, fit_landmarks.landmark_basis(config, workdir, basis))
  with contextlib.ExitStack() as stack:
    stop = stack.enter_context(StopSignals(config.log_every))
    checkpoints = stack.enter_context(contextlib.closing(Checkpoints(workdir, keep=config.keep_checkpoints)))
    best = Best(workdir, config.best_metric)
    state, step = _initial_state(config, task, checkpoints, start)
    writer = MetricWriter(workdir, start_step=step, enabled=parallel.is_main_process())
    stack.enter_context(contextlib.closing(writer))
    validation = Validation(task, sets_of(config) if eval_sets is None else eval_sets)
    loop = _Loop(config, task, writer, validation, checkpoints, best, stop)
    loop.score_beginning(state, step)
    if step < config.num_steps:
      title = os.path.basename(os.path.normpath(workdir))
      state, step = loop.run(state, step, batches or functools.partial(feed.train_batches, config), title)
    checkpoints.wait()  # everything is on disk before the summary says so
  summary = {'step': step, **best.summary(), **loop.summary}
  run_config.write_summary(workdir, summary)
  return state, summary


class _Loop:
  """The steps of a run, and what is due after each: to log, save, evaluate, draw, in this order.

  Attributes:
    summary: 'interrupted', and the newest 'train/...' and 'eval_.../...' numbers.
  """

  def __init__(
    self,
    config: Any,
    task: Task,
    writer: MetricWriter,
    validation: Validation,
    checkpoints: Checkpoints,
    best: Best,
    stop: StopSignals,
  ):
    self.summary: dict[str, Any] = {'interrupted': False}
    self._config, self._task = config, task
    self._writer, self._validation = writer, validation
    self._checkpoints, self._best, self._stop = checkpoints, best, stop
    self._schedule = optimizers.schedule(config.optimizer, config.num_steps)

  def run(self, state: TrainState, start_step: int, batches: BatchFactory, title: str) -> tuple[TrainState, int]:
    """Trains from a replicated state to the last step, or until asked to stop → (state, step).

    Args:
      state: used up.
      start_step: its step, below `config.num_steps`.
      batches: as in `train`.
      title: of the progress bar.
    """
    config, step = self._config, start_step
    step_function = skipping_nonfinite(self._task.train_step) if config.skip_nonfinite else self._task.train_step
    train_step = parallel.pmap_train_step(step_function)
    log = StepLog(
      frames_per_step=config.data.batch_size * config.data.window,
      last_checkpoint=self._checkpoints.last,
      operations_per_step=parallel.operations(step_function, state, feed.batch_shapes(config)),
      peak=flops.matmul_peak(config.dtype),
    )  # before the feed's threads take their share of a CPU
    with feed.Feed(lambda: batches(start_step)) as source, self._progress(start_step, title) as progress:
      while step < config.num_steps and not self.summary['interrupted']:
        batch = next(source)
        with jax.transfer_guard('disallow'):
          state, metrics = train_step(state, batch.arrays)
        step += 1
        log.add(step, batch.clip_ids, metrics)
        progress.update()
        if self._due(step, config.log_every):
          self._log(step, log, source.wait_seconds, progress)
        self._save(step, state, log)  # first: what fails after it costs no step
        if self._due(step, config.eval_every):
          self._evaluate(step, state, log, progress)
        if self._due(step, config.picture_every) and parallel.is_main_process():
          self._draw(step, state, log)
    self.summary |= log.totals()
    return state, step

  def score_beginning(self, state: TrainState, step: int) -> None:
    """Scores the state that a run goes on from, where that is due and has not been done.

    A run may have been killed after it had saved a step and before it had scored it. Weights that a new run starts from
    are scored where the best step is kept: they may be it.
    """
    start = not step and self._config.init_from and self._config.best_metric
    if (start or (step and self._due(step, self._config.eval_every))) and not metric_writers.scored(
      self._writer.workdir, step
    ):
      self._score(step, state)

  def _due(self, step: int, every: int) -> bool:
    return step == self._config.num_steps or step % every == 0

  def _progress(self, start_step: int, title: str) -> tqdm:
    return tqdm(
      total=self._config.num_steps,
      initial=start_step,
      unit='step',
      disable=not parallel.is_main_process(),
      mininterval=1,
      desc=title,
      dynamic_ncols=True,
    )

  def _log(self, step: int, log: StepLog, wait_seconds: float, progress: tqdm) -> None:
    row = log.flush(wait_seconds)
    self.summary |= row
    self._writer.scalars(step, row | {'train/learning_rate': self._schedule(step - 1)})
    progress.set_postfix_str(_postfix(row), refresh=False)

  def _evaluate(self, step: int, state: TrainState, log: StepLog, progress: tqdm) -> None:
    with log.pause():
      log.check()  # only finite states are kept
      scores = self._score(step, state)
    if scores:
      progress.write(f'step {step}: ' + ', '.join(f'{name} {value:.4g}' for name, value in scores.items()))

  def _score(self, step: int, state: TrainState) -> dict[str, float]:
    scores = self._validation.scores(state)
    self._best.offer(step, state, scores)
    self.summary |= scores
    if scores:
      self._writer.scalars(step, scores)
    return scores

  def _draw(self, step: int, state: TrainState, log: StepLog) -> None:
    with log.pause():
      for name, sample in self._validation.samples(state).items():
        self._writer.picture(step, name, pictures.render(sample))
        if (frames := pictures.animate(sample)) is not None:
          self._writer.animation(step, name, frames)

  def _save(self, step: int, state: TrainState, log: StepLog) -> None:
    """Saves where it is due or the run is asked to stop, and notes the latter."""
    asked = self._stop.asked(step)
    if asked or self._due(step, self._config.checkpoint_every):
      log.check()  # only finite states are kept
      self._checkpoints.save(step, state)
    if asked and step < self._config.num_steps:
      _log.warning('asked to stop: saved at step %d, the same command resumes from there', step)
      self.summary['interrupted'] = True


def _initial_state(
  config: Any, task: Task, checkpoints: Checkpoints, start: weights.Bundle | None
) -> tuple[TrainState, int]:
  """The newest checkpoint's state, or a new one with the weights of `start`; on all local devices, with its step."""
  init = jax.jit(task.init)
  key = rng.stream_key(config.seed, 'init')
  restored = checkpoints.restore(jax.eval_shape(init, key))
  if restored is None:
    state, step = init(key), 0
    if start is not None:
      state = weights.start_from(state, start, config.init_from)
  else:
    state, step = restored, int(restored.step)
    _log.info('resumes from the checkpoint of step %d', step)
  for name, params in (('generator', state.g_params), ('discriminator', state.d_params)):
    if params is not None:
      _log.info('%s: %s parameters', name, f'{sum(leaf.size for leaf in jax.tree.leaves(params)):,}')
  return parallel.replicate(state), step


def _postfix(row: dict[str, float]) -> str:
  return (
    f'loss {row.get("train/g_loss", math.nan):.4g}, waiting for data {row["time/data_wait_share"]:.0%}, '
    f'{row["time/share_of_matmul_peak"]:.0%} of the matmul peak'
  )


def run(argv: list[str]) -> None:
  """The command `atvg train`: trains by `--config=configs/....py[:smoke]`, `--workdir=...` and `--config.field=value`.

  Raises:
    InputError: one sentence about whatever is wrong with the flags, the config or the data.
  """
  command_logging.set_up()
  asked = command_flags.parse(argv)
  parallel.initialize(distributed=asked.distributed)
  _, summary = train(asked.config, asked.workdir)
  if parallel.is_main_process():
    width = max(map(len, summary))
    for name, value in summary.items():
      print(f'{name:<{width}}  {value:.5g}' if isinstance(value, float) else f'{name:<{width}}  {value}')
  if summary['interrupted'] and asked.interrupted_status:
    raise SystemExit(asked.interrupted_status)
