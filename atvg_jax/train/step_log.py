"""What the loop watches: the metrics of each step, the time that steps take, and signals to stop."""

import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from atvg_jax.runtime import parallel
from atvg_jax.train.task import SKIPPED
from data_pipelines.errors import InputError

_log = logging.getLogger(__name__)


class NonFiniteLossError(InputError):
  """A loss or gradient is infinite or NaN."""


class StepLog:
  """Metrics of the steps since the last row. They stay on the device until a row is due."""

  def __init__(
    self, *, frames_per_step: int, operations_per_step: float, peak: float, last_checkpoint: Callable[[], str]
  ):
    """Begins to count.

    Args:
      frames_per_step: of all devices together.
      operations_per_step: of one device, see `flops.count`.
      peak: operations that one device can do in a second, see `flops.matmul_peak`.
      last_checkpoint: says in words from where the run can resume.
    """
    self._frames_per_step = frames_per_step
    self._operations_per_step, self._peak, self._last_checkpoint = operations_per_step, peak, last_checkpoint
    self._skipped = 0
    self._pending: list[tuple[int, tuple[str, ...], dict[str, jax.Array]]] = []
    self._checked = 0  # how many of the pending ones are known to be finite
    self._row_start, self._row_wait, self._paused = time.perf_counter(), 0.0, 0.0
    self._totals: list[tuple[int, float, float]] = []  # (steps, seconds, seconds waited) of each row

  def add(self, step: int, clip_ids: tuple[str, ...], metrics: dict[str, jax.Array]) -> None:
    """Notes a step's metrics; waits for the step before, so that the host is never more than one step ahead."""
    if self._pending:
      jax.block_until_ready(self._pending[-1][2])
    self._pending.append((step, clip_ids, metrics))

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """The time inside is not counted as the steps'."""
    start = time.perf_counter()
    yield
    self._paused += time.perf_counter() - start

  def check(self) -> None:
    """Raises NonFiniteLossError for the first noted metric that is not finite.

    With `config.skip_nonfinite`, where the device has left such steps out, it warns instead.
    """
    for step, clip_ids, metrics in self._pending[self._checked :]:
      numbers = jax.device_get(metrics)
      for name, value in numbers.items():
        if not math.isfinite(value):
          where = f'{name} is {value} at step {step}' + (f' (clips {", ".join(clip_ids)})' if clip_ids else '')
          if SKIPPED in numbers:
            _log.warning('%s: step left out', where)
            break
          raise NonFiniteLossError(
            f'{where}: nothing from there on was saved, {self._last_checkpoint()}; resume with a lower '
            'optimizer.learning_rate, with optimizer.clip_norm or with skip_nonfinite'
          )
    self._checked = len(self._pending)

  def flush(self, wait_seconds: float) -> dict[str, float]:
    """The row of the steps since the last one: 'train/<metric>' means, 'time/...' speeds.

    Steps that were left out are counted in 'train/skipped_steps', and in no mean.

    Args:
      wait_seconds: how long the loop has waited for data, since its start.
    """
    self.check()
    rows = jax.device_get([metrics for _, _, metrics in self._pending])
    now = time.perf_counter()
    seconds, wait = max(now - self._row_start - self._paused, 1e-9), wait_seconds - self._row_wait
    self._totals.append((len(rows), seconds, wait))
    self._pending, self._checked, self._paused = [], 0, 0.0
    self._row_start, self._row_wait = now, wait_seconds
    taken = [row for row in rows if not row.get(SKIPPED)]
    means = {
      f'train/{name}': float(np.mean([row[name] for row in taken])) for name in (taken or [{}])[0] if name != SKIPPED
    }
    if SKIPPED in rows[0]:
      means['train/skipped_steps'] = len(rows) - len(taken)
      self._skipped += len(rows) - len(taken)
    operations = len(rows) * self._operations_per_step / seconds
    return {
      **means,
      'time/steps_per_second': len(rows) / seconds,
      'time/frames_per_second': len(rows) * self._frames_per_step / seconds,
      'time/data_wait_share': wait / seconds,
      'time/tflops_per_device': operations / 1e12,
      'time/share_of_matmul_peak': operations / self._peak,
    }

  def totals(self) -> dict[str, float]:
    """Steps left out, if any; and, of two rows or more, the speed over all but the first, in which XLA compiles."""
    totals: dict[str, float] = {'skipped_steps': self._skipped} if self._skipped else {}
    if len(self._totals) < 2:
      return totals
    steps, seconds, wait = np.sum(self._totals[1:], axis=0)
    return totals | {
      'steps_per_second': float(steps / seconds),
      'frames_per_second': float(steps * self._frames_per_step / seconds),
      'data_wait_share': float(wait / seconds),
      'share_of_matmul_peak': float(steps * self._operations_per_step / seconds / self._peak),
    }


class StopSignals:
  """Notes SIGTERM (which schedulers send) and SIGINT (Ctrl-C), so that the loop saves first; a second one kills.

  Of several processes, one that gets SIGTERM (a host of a pod that is being preempted) stops all: with JAX's
  preemption service they agree on a step without waiting for each other.
  """

  def __init__(self, agree_every: int):
    """Several processes agree on SIGINT every `agree_every` steps; one alone stops at once."""
    self._agree_every = agree_every
    self._asked = False
    self._before: dict[int, Any] = {}

  def __enter__(self) -> 'StopSignals':
    # With several processes SIGTERM is the preemption service's: a handler here would replace its own.
    for number in (signal.SIGINT,) if parallel.watches_preemption() else (signal.SIGTERM, signal.SIGINT):
      with contextlib.suppress(ValueError):  # not the main thread: then signals are someone else's business
        self._before[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *unused: Any) -> None:
    self._restore()

  def _restore(self) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def _note(self, number: int, frame: Any) -> None:
    del frame
    self._asked = True
    self._restore()
    _log.warning('%s: saving, then stopping', signal.Signals(number).name)

  def asked(self, step: int) -> bool:
    """Whether to stop after this step, the same on all processes; call it after every step."""
    if not parallel.watches_preemption():
      return self._asked
    if parallel.preempted(step):
      return True
    return step % self._agree_every == 0 and parallel.any_process(self._asked)
