"""What the commands that train print to standard error. A library call (`loop.train`) changes nothing of it."""

import logging
import sys
import threading
from typing import Any


def set_up() -> None:
  """Prints this package's messages without those of libraries; for a process that runs one command."""
  logging.basicConfig(format='%(message)s', force=True)  # libraries have set up theirs
  logging.getLogger('atvg_jax').setLevel(logging.INFO)
  logging.getLogger('absl').setLevel(logging.CRITICAL)  # Orbax logs what it also raises
  sys.unraisablehook, threading.excepthook = _unraisable, _in_thread


def _unraisable(what: Any) -> None:
  """Prints what could not be raised, except two errors that were reported before.

  They are those of tensorstore, of writes that were given up, and of TensorBoard's files at exit.
  """
  if str(what.exc_value) != 'Event loop is closed' and not isinstance(what.exc_value, OSError):
    sys.__unraisablehook__(what)


def _in_thread(what: Any) -> None:
  """Prints an error that ends a thread, except of a full disk in TensorBoard's writer: the loop raises that too."""
  if not isinstance(what.exc_value, OSError):
    threading.__excepthook__(what)
