"""What the loop keeps an eye on: the numbers of each step, the time they take, and the wish to stop."""

import contextlib
import logging
import math
import signal
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from atvg_jax import parallel
from data_pipelines.errors import InputError

_log = logging.getLogger(__name__)


class NonFiniteLossError(InputError):
  """A loss or gradient became infinite or no number."""


class StepLog:
  """Metrics of the steps since the last row. They stay on the device until a row is due."""

  def __init__(self, *, frames_per_step: int):
    self._frames_per_step = frames_per_step
    self._pending: list[tuple[int, tuple[str, ...], dict[str, jax.Array]]] = []
    self._checked = 0  # how many of the pending ones are known to be finite
    self._row_start, self._row_wait, self._paused = time.perf_counter(), 0.0, 0.0
    self._totals: list[tuple[int, float, float]] = []  # (steps, seconds, seconds waited) of each row

  def add(self, step: int, clip_ids: tuple[str, ...], metrics: dict[str, jax.Array]) -> None:
    """Notes a step; waits for the one before, so that the host is never more than one step ahead."""
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
    """Raises NonFiniteLossError for the first noted number that is not finite."""
    for step, clip_ids, metrics in self._pending[self._checked:]:
      for name, value in jax.device_get(metrics).items():
        if not math.isfinite(value):
          clips = f' (clips {", ".join(clip_ids)})' if clip_ids else ''
          raise NonFiniteLossError(
              f'{name} is {value} at step {step}{clips}: nothing from there on was saved; go on from the last '
              'checkpoint with a lower optimizer.learning_rate or with optimizer.clip_norm')
    self._checked = len(self._pending)

  def flush(self, wait_seconds: float) -> dict[str, float]:
    """The row of the steps since the last one: 'train/<metric>' means, 'time/...' speeds.

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
    return {**{f'train/{name}': float(np.mean([row[name] for row in rows])) for name in rows[0]},
            'time/steps_per_second': len(rows) / seconds,
            'time/frames_per_second': len(rows) * self._frames_per_step / seconds,
            'time/data_wait_share': wait / seconds}

  def totals(self) -> dict[str, float]:
    """Speed over all rows but the first, which compiles; empty before there are two."""
    if len(self._totals) < 2:
      return {}
    steps, seconds, wait = np.sum(self._totals[1:], axis=0)
    return {'steps_per_second': float(steps / seconds), 'data_wait_share': float(wait / seconds)}


class StopSignals:
  """Notes SIGTERM (what schedulers send) and SIGINT (Ctrl-C) instead of dying; a second one kills as usual."""

  def __init__(self, agree_every: int):
    """Several processes agree on stopping every `agree_every` steps; one alone stops at once."""
    self._agree_every = agree_every
    self._asked = False
    self._before: dict[int, Any] = {}

  def __enter__(self) -> 'StopSignals':
    for number in (signal.SIGTERM, signal.SIGINT):
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
    """Whether to stop after this step; all processes get the same answer."""
    if jax.process_count() == 1:
      return self._asked
    return step % self._agree_every == 0 and parallel.any_process(self._asked)
