"""Runs one function over many inputs in worker processes that may die without taking the rest along."""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any

_TRIES = 2  # a worker may have been killed for another's fault, such as memory


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of one input: `error` is None, the worker's traceback, or how the worker died."""

  index: int
  error: str | None


def default_workers() -> int:
  """The number of cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def run(function: Callable[[Any], None], inputs: Sequence[Any], workers: int) -> Generator[Outcome]:
  """Yields an outcome for every input, as they finish. `function` must be importable and leaves its result on disk.

  Workers are spawned, so they inherit neither threads nor libraries of this process, and each
  computes on one thread. They end when this process does, however it does. An input whose worker
  dies is tried once more and then given up.
  """
  context = multiprocessing.get_context('spawn')
  waiting = list(enumerate(inputs))[::-1]
  tries = [0] * len(inputs)
  idle: list[_Worker] = []
  busy: dict[multiprocessing.connection.Connection, tuple[_Worker, int, Any]] = {}
  try:
    while waiting or busy:
      while waiting and len(busy) < max(1, workers):
        worker = idle.pop() if idle else _Worker(context, function)
        index, value = waiting.pop()
        tries[index] += 1
        # A worker that died while idle shows when its answer is awaited.
        with contextlib.suppress(BrokenPipeError):
          worker.connection.send(value)
        busy[worker.connection] = worker, index, value
      ready = multiprocessing.connection.wait(list(busy))
      for connection in [connection for connection in busy if connection in ready]:
        worker, index, value = busy.pop(connection)
        try:
          error: str | None = connection.recv()
        except (EOFError, ConnectionResetError):
          worker.stop()
          if tries[index] < _TRIES:
            waiting.append((index, value))
          else:
            yield Outcome(index, f'the worker process died (exit code {worker.process.exitcode})')
          continue
        idle.append(worker)
        yield Outcome(index, error)
  finally:
    for worker in [*idle, *(worker for worker, _, _ in busy.values())]:
      worker.stop()


class _Worker:
  """A process and the pipe to it."""

  def __init__(self, context, function: Callable[[Any], None]):
    self.connection, child = context.Pipe()
    self.process = context.Process(target=_serve, args=(child, function), daemon=True)
    with _one_thread_each():
      self.process.start()
    child.close()  # so that the pipe breaks when the process dies

  def stop(self) -> None:
    self.connection.close()
    self.process.join(timeout=0.2)
    if self.process.is_alive():
      self.process.terminate()
    self.process.join()


def _serve(connection: multiprocessing.connection.Connection, function: Callable[[Any], None]) -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
  while True:
    try:
      value = connection.recv()
    except (EOFError, ConnectionResetError):  # the parent is done, or dead
      return
    try:
      function(value)
      error = None
    except Exception:  # an unforeseen failure of one clip must not end the others
      error = traceback.format_exc()
    with contextlib.suppress(BrokenPipeError):
      connection.send(error)


@contextlib.contextmanager
def _one_thread_each():
  """Environment under which NumPy's libraries start without a thread pool; workers are the parallelism."""
  names = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')
  before = {name: os.environ.get(name) for name in names}
  os.environ.update(dict.fromkeys(names, '1'))
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value
