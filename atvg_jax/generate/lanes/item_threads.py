"""Work on many things in threads, a bounded number at a time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

T = TypeVar('T')
R = TypeVar('R')


def spread(
  work: Callable[[T], R], things: Iterable[T], threads: int, abort: Callable[[], None]
) -> Iterator[tuple[int, R]]:
  """Calls `work` with each of the things, of which no more are taken than there are threads.

  Args:
    work: must not raise: what it raises ends all.
    things: what to work on.
    threads: how many.
    abort: called where this is left before its end, so that the work under way ends soon.

  Yields:
    A thing's number, and what `work` has returned, as it is done.
  """
  running: dict[futures.Future[R], int] = {}
  with futures.ThreadPoolExecutor(threads, 'item') as pool:
    try:
      for number, thing in enumerate(things):
        running[pool.submit(work, thing)] = number
        if len(running) >= threads:
          yield from _done(running)
      while running:
        yield from _done(running)
    except BaseException:
      abort()
      pool.shutdown(wait=False, cancel_futures=True)
      raise


def _done(running: dict[futures.Future[R], int]) -> Iterator[tuple[int, R]]:
  """Waits for at least one, and takes what is done out."""
  done, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
  for future in sorted(done, key=running.__getitem__):
    yield running.pop(future), future.result()
