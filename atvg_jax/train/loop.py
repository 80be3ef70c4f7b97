"""The training loop, one for all nets: `train(config, workdir)` returns the state and a summary.

A workdir holds config.json, landmark_basis.npz, checkpoints/, best/ (where there is a best_metric), metrics.jsonl,
tensorboard/, pictures/ and, at the end, summary.json. Training in a workdir that holds a checkpoint goes on from it.
"""

import contextlib
import errno
import functools
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import jax
from tqdm import tqdm

from atvg_jax.checkpoints import run_config, weights
from atvg_jax.checkpoints.orbax_checkpoints import Best, Checkpoints, has_checkpoint
from atvg_jax.landmarks import LandmarkBasis
from atvg_jax.runtime import flops, parallel, rng
from atvg_jax.train import command_flags, feed, fit_landmarks, optimizers, pictures
from atvg_jax.train.metric_writers import MetricWriter
from atvg_jax.train.step_log import StepLog, StopSignals
from atvg_jax.train.task import skipping_nonfinite
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
  """Trains the net of a config, or goes on where the workdir's newest checkpoint stands.

  Args:
    config: a locked ConfigDict, see `configs/common.py`.
    workdir: folder for everything that is written; made where it is missing.
    batches: step → endless NumPy batches of this process from that step on; by default those of the config's
      data sets.
    eval_sets: name → factory of held-out batches; by default those of the config's data sets.
    basis: landmark basis of a new AT-net; by default fitted to the data sets.

  Returns:
    The replicated state, and a summary: 'step', 'interrupted', `StepLog.totals`, `Best.summary` and the last
    'train/...' and 'eval_.../...' numbers.

  Raises:
    InputError: if config, data or workdir are unfit, or a disk is full; NonFiniteLossError names the term, step and
      clips.
  """
  try:
    return _train(config, workdir, batches, eval_sets, basis)
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    raise InputError(
      f'there is no room left for {error.filename or workdir}: make some, then go on by the same '
      'command; the checkpoints that are there are whole'
    ) from error


def _train(
  config: Any, workdir: str, batches: BatchFactory | None, eval_sets: EvalSets | None, basis: LandmarkBasis | None
) -> tuple[TrainState, dict[str, Any]]:
  # 1. The run: its config, its landmark basis, its state (new or restored).
  run_config.init_workdir(config, workdir)
  start = None
  if config.init_from and not has_checkpoint(workdir):
    start = weights.starting_point(config.init_from, config.task)
    basis = basis or start.basis
  task = make_task(config, fit_landmarks.landmark_basis(config, workdir, basis))
  with contextlib.ExitStack() as stack:

    def closing(thing: Any) -> Any:
      return stack.enter_context(contextlib.closing(thing))

    stop = stack.enter_context(StopSignals(config.log_every))
    checkpoints = closing(Checkpoints(workdir, keep=config.keep_checkpoints))
    best = Best(workdir, config.best_metric)
    state, start_step = _initial_state(config, task, checkpoints, start)

    # 2. What surrounds the step: batches, held-out sets, logs, the compiled step itself.
    batches = batches or functools.partial(feed.train_batches, config)
    writer = closing(MetricWriter(workdir, start_step=start_step, enabled=parallel.is_main_process()))
    validation = Validation(task, sets_of(config) if eval_sets is None else eval_sets)
    step_function = skipping_nonfinite(task.train_step) if config.skip_nonfinite else task.train_step
    train_step = parallel.pmap_train_step(step_function)
    schedule = optimizers.schedule(config.optimizer, config.num_steps)
    summary: dict[str, Any] = {'interrupted': False}
    step = start_step
    if step < config.num_steps:
      log = StepLog(
        frames_per_step=config.data.batch_size * config.data.window,
        last_checkpoint=checkpoints.last,
        operations_per_step=parallel.operations(step_function, state, feed.batch_shapes(config)),
        peak=flops.matmul_peak(config.dtype),
      )  # before the feed's threads take their share of a CPU
      source = closing(feed.Feed(lambda: batches(start_step)))
      progress = closing(
        tqdm(
          total=config.num_steps,
          initial=step,
          unit='step',
          disable=not parallel.is_main_process(),
          mininterval=1,
          desc=os.path.basename(os.path.normpath(workdir)),
          dynamic_ncols=True,
        )
      )

    # 3. The loop. In a step's order: update, log, evaluate, draw, save.
    while step < config.num_steps:
      batch = next(source)
      with jax.transfer_guard('disallow'):
        state, metrics = train_step(state, batch.arrays)
      step += 1
      log.add(step, batch.clip_ids, metrics)
      progress.update()
      last = step == config.num_steps
      if last or step % config.log_every == 0:
        row = log.flush(source.wait_seconds)
        summary |= row
        writer.scalars(step, row | {'train/learning_rate': schedule(step - 1)})
        progress.set_postfix_str(_postfix(row), refresh=False)
      if last or step % config.eval_every == 0:
        with log.pause():
          scores = validation.scores(state)
          log.check()  # only finite states are kept
          best.offer(step, state, scores)
        summary |= scores
        if scores:
          writer.scalars(step, scores)
          progress.write(f'step {step}: ' + ', '.join(f'{name} {value:.4g}' for name, value in scores.items()))
      if parallel.is_main_process() and (last or step % config.picture_every == 0):
        with log.pause():
          for name, sample in validation.samples(state).items():
            writer.picture(step, name, pictures.render(sample))
            if (frames := pictures.animate(sample)) is not None:
              writer.animation(step, name, frames)
      stopped = stop.asked(step)
      if last or stopped or step % config.checkpoint_every == 0:
        log.check()  # likewise
        checkpoints.save(step, state)
      if stopped and not last:
        _log.warning('asked to stop: saved at step %d, the same command goes on from there', step)
        summary['interrupted'] = True
        break

    # 4. The end: everything is on disk before anything is said.
    checkpoints.wait()
    if step > start_step:
      summary |= log.totals()
  summary = {'step': step, **best.summary(), **summary}
  run_config.write_summary(workdir, summary)
  return state, summary


def _initial_state(
  config: Any, task: Any, checkpoints: Checkpoints, start: weights.Bundle | None
) -> tuple[TrainState, int]:
  """The newest checkpoint's state or a new one, with the weights of `start`, on all local devices, and its step."""
  init = jax.jit(task.init)
  key = rng.stream_key(config.seed, 'init')
  restored = checkpoints.restore(jax.eval_shape(init, key))
  if restored is None:
    state, step = init(key), 0
    if start is not None:
      state = weights.start_from(state, start, config.init_from)
  else:
    state, step = restored, int(restored.step)
    _log.info('goes on from the checkpoint of step %d', step)
  for name, params in (('generator', state.g_params), ('discriminator', state.d_params)):
    if params is not None:
      _log.info('%s', parameter_table(name, params))
  return parallel.replicate(state), step


def parameter_table(name: str, params: Any) -> str:
  """How many parameters a net has, in all and in each of its parts."""
  counts = {part: sum(leaf.size for leaf in jax.tree.leaves(tree)) for part, tree in params.items()}
  rows = [(name, sum(counts.values())), *((f'  {part}', count) for part, count in counts.items())]
  return '\n'.join(f'{part:<28}{count:>12,} parameters' for part, count in rows)


def _postfix(row: dict[str, float]) -> str:
  return (
    f'loss {row.get("train/g_loss", math.nan):.4g}, waiting for data {row["time/data_wait_share"]:.0%}, '
    f'{row["time/share_of_matmul_peak"]:.0%} of the matmul peak'
  )


def _hush() -> None:
  """Keeps quiet what libraries print of a full disk in threads of theirs: what matters is raised here too."""

  def unraisable(what: Any) -> None:
    # tensorstore, of writes that were given up; TensorBoard's files at exit.
    if str(what.exc_value) != 'Event loop is closed' and not isinstance(what.exc_value, OSError):
      sys.__unraisablehook__(what)

  def in_thread(what: Any) -> None:
    if not isinstance(what.exc_value, OSError):  # TensorBoard's writer
      threading.__excepthook__(what)

  logging.getLogger('absl').setLevel(logging.CRITICAL)  # Orbax logs what it also raises
  sys.unraisablehook, threading.excepthook = unraisable, in_thread


def set_up_logging() -> None:
  """The loop's words on standard error, without those of libraries."""
  logging.basicConfig(format='%(message)s', force=True)  # libraries have set up theirs
  logging.getLogger('atvg_jax').setLevel(logging.INFO)
  _hush()


def run(argv: list[str]) -> None:
  """The command `atvg train`: trains by `--config=configs/....py[:smoke]`, `--workdir=...` and `--config.field=value`.

  Raises:
    InputError: one sentence about whatever is wrong with the flags, the config or the data.
  """
  set_up_logging()
  asked = command_flags.parse(argv)
  parallel.initialize(distributed=asked.distributed)
  _, summary = train(asked.config, asked.workdir)
  if parallel.is_main_process():
    width = max(map(len, summary))
    for name, value in summary.items():
      print(f'{name:<{width}}  {value:.5g}' if isinstance(value, float) else f'{name:<{width}}  {value}')
  if summary['interrupted'] and asked.interrupted_status:
    raise SystemExit(asked.interrupted_status)
