"""Who makes what: several processes work on one list of files, and none makes what another is making.

A claim is a file in the hidden folder `.claims` of the output folder, locked while its holder makes the output. The
kernel, or the file server, takes the lock away when the holder's process ends, however it ends, so a claim never
outlives its holder. Where a file system knows no locks, nothing is claimed, and each output belongs to one process
by `--shard`.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator

_FOLDER = '.claims'
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Claims:
  """The claims on the outputs of a folder."""

  def __init__(self, out: str):
    """Takes the folder of the outputs, which exists."""
    self._folder = os.path.join(out, _FOLDER)

  @contextlib.contextmanager
  def on(self, output: str) -> Iterator[bool]:
    """Whether this process, and this thread of it, may make an output meanwhile: nobody else is making it.

    Args:
      output: its name, the same in all processes.

    Raises:
      OSError: the folder cannot be written.
    """
    path = os.path.join(self._folder, hashlib.sha256(os.fsencode(output)).hexdigest()[:32])
    file = self._locked(path)
    if file is None:
      yield False
      return
    try:
      yield True
    finally:
      with contextlib.suppress(OSError):
        os.remove(path)  # before the lock is given up: who waits for it sees that the file is another
      os.close(file)

  def tidy(self) -> None:
    """Removes the folder, and what processes that were killed have left in it, unless others are at work."""
    with contextlib.suppress(OSError):
      for name in os.listdir(self._folder):
        path = os.path.join(self._folder, name)
        if (file := self._locked(path)) is not None:
          with contextlib.suppress(OSError):
            os.remove(path)
          os.close(file)
      os.rmdir(self._folder)

  def _locked(self, path: str) -> int | None:
    """The claim's file, open and locked; None where somebody else has it."""
    while True:
      try:
        os.makedirs(self._folder, exist_ok=True)
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
      except (FileExistsError, FileNotFoundError):  # the folder is being tidied away
        if not os.path.isdir(os.path.dirname(self._folder)):
          raise
        continue
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except OSError as error:
        if error.errno in _NO_LOCKS:
          return file
        os.close(file)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
          return None
        raise
      if _is_still(file, path):
        return file
      os.close(file)  # its holder has removed it since it was opened


def _is_still(file: int, path: str) -> bool:
  try:
    return os.path.samestat(os.fstat(file), os.stat(path))
  except FileNotFoundError:
    return False
