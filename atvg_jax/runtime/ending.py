"""A scheduler, a closed terminal or a service manager ends the program: an exception, so that all is cleaned up."""

import contextlib
import signal
import threading
from collections.abc import Iterator

# Those that end a process unless it says otherwise, and that somebody sends to a program of this kind. SIGINT is
# Python's KeyboardInterrupt already.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)


class Ended(BaseException):
  """A signal asked this process to end; no `Exception`, so that nothing goes on after it."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.number = number


@contextlib.contextmanager
def as_exceptions() -> Iterator[None]:
  """Within the block the main thread raises `Ended` at a signal that would end the process where it stands.

  What is ignored (nohup) or taken by somebody else stays as it is. A second signal does not disturb the cleaning up.
  """
  taken: list[signal.Signals] = []

  def end(number: int, frame: object) -> None:
    for other in taken:
      signal.signal(other, signal.SIG_IGN)
    raise Ended(number)

  if threading.current_thread() is threading.main_thread():
    taken = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
  for number in taken:
    signal.signal(number, end)
  try:
    yield
  finally:
    for number in taken:
      signal.signal(number, signal.SIG_DFL)
