"""Files that are there whole or not at all: written under a temporary name in the same folder, then renamed.

A temporary file is locked by who writes it. The lock goes with its process, however that ends; so what a killed process
left is told from what is being written, and the next process that writes into the folder removes it.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any, Literal, Self

from data_pipelines.errors import InputError

_NAME_LIMIT = 255  # bytes of a file name on the usual file systems
# Process, host and a number that nobody else has. The host counts, for locks of some network file systems do not reach
# beyond it.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:4]
_TEMPORARY = re.compile(r'\.\d+-(?P<host>[0-9a-f]{4})[0-9a-f]{4}\..+', re.DOTALL)
_PREFIX_LIMIT = len('.4294967295-01234567.')
_LOCK = '.lock'  # in a temporary folder
_STALE = 3600  # seconds since the last change of another host's file that nobody seems to write any more

_swept: set[tuple[int, str]] = set()  # process and folder


class Unfinished:
  """A file that is being written, beside its place, for libraries that open files by name themselves.

  Until `publish`, readers see the file that was there before, if any. Threads, processes and hosts may write the same
  path: the last one to finish wins. The first one of a process in a folder removes what killed processes left there.

  Attributes:
    path: the temporary name, hidden and with the same suffix; an empty file lies there.
  """

  def __init__(self, path: str | os.PathLike):
    """Takes the final name.

    Raises:
      OSError: the folder is missing or not writable, or the name is too long.
    """
    self._final = os.path.abspath(path)
    folder, name = os.path.split(self._final)
    if len(os.fsencode(name)) > _NAME_LIMIT:
      raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), self._final)
    _sweep(folder)
    while True:
      self.path = os.path.join(folder, f'.{os.getpid()}-{_HOST}{secrets.token_hex(2)}.{_shortened(name)}')
      try:
        self._lock = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
      except FileExistsError:
        continue
      with contextlib.suppress(OSError):  # a file system without locks: nothing is swept there
        fcntl.flock(self._lock, fcntl.LOCK_EX)
      if os.path.exists(self.path):  # else it was swept before it was locked
        return
      os.close(self._lock)

  def publish(self) -> None:
    """Gives the file its name, and replaces a file of that name; where that fails, the file is gone."""
    try:
      os.replace(self.path, self._final)
    except BaseException:
      self.discard()
      raise
    self._release()

  def discard(self) -> None:
    """Removes the file, unless it has been published."""
    if self._lock >= 0:
      with contextlib.suppress(OSError):
        os.remove(self.path)
      self._release()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, value, traceback) -> None:
    if kind is None:
      self.publish()
    else:
      self.discard()

  def _release(self) -> None:
    os.close(self._lock)
    self._lock = -1


@contextlib.contextmanager
def atomic_write(
  path: str | os.PathLike, mode: Literal['w', 'wb'] = 'w', *, newline: str | None = None
) -> Iterator[IO[Any]]:
  """Opens a file for writing that appears as `path` when the block ends, and not at all if it raises: see `Unfinished`.

  Args:
    path: the final name; a file of that name is replaced.
    mode: 'w' for text in UTF-8 or 'wb' for bytes.
    newline: as of `open`; '' for the csv module.

  Yields:
    The open file.

  Raises:
    OSError: the folder is missing or not writable, or the disk is full.
  """
  encoding = None if 'b' in mode else 'utf-8'
  with Unfinished(path) as unfinished, open(unfinished.path, mode, encoding=encoding, newline=newline) as file:
    yield file


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
  """A folder among the system's temporary ones, gone when the block ends; those that killed processes left go, too."""
  parent = os.path.abspath(tempfile.gettempdir())
  if (os.getpid(), os.path.join(parent, prefix)) not in _swept:
    _swept.add((os.getpid(), os.path.join(parent, prefix)))
    for folder in glob.glob(os.path.join(glob.escape(parent), f'{glob.escape(prefix)}*')):
      with contextlib.suppress(OSError):
        _remove_unlocked(os.path.join(folder, _LOCK))
        shutil.rmtree(folder, ignore_errors=True)
  with tempfile.TemporaryDirectory(prefix=prefix) as folder:
    # Locked before it has its name: a folder without one has just been made.
    lock = os.open(os.path.join(folder, f'{_LOCK}.new'), os.O_CREAT | os.O_RDWR, 0o600)
    try:
      with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
      os.rename(os.path.join(folder, f'{_LOCK}.new'), os.path.join(folder, _LOCK))
      yield folder
    finally:
      os.close(lock)


def check_name(path: str | os.PathLike) -> None:
  """Raises `InputError` where a file's name is longer than the system takes."""
  name = os.path.basename(os.fspath(path))
  if len(os.fsencode(name)) > _NAME_LIMIT:
    raise InputError(
      f'the name {name[:30]}…{name[-12:]} has {len(os.fsencode(name))} bytes, more than {_NAME_LIMIT}: '
      'choose a shorter one'
    )


def remove_leftovers(path: str | os.PathLike) -> None:
  """Removes what killed processes left in the folder of `path`; what is being written stays."""
  folder, name = os.path.split(os.path.abspath(path))
  _sweep(folder, again=True)
  earlier = re.compile(rf'\.\d+\.{re.escape(_shortened(name))}')  # of versions that locked nothing
  with contextlib.suppress(OSError):
    for entry in os.listdir(folder):
      if earlier.fullmatch(entry):
        with contextlib.suppress(OSError):
          os.remove(os.path.join(folder, entry))


def _sweep(folder: str, again: bool = False) -> None:
  """Once a process, for a folder may have many files."""
  if (os.getpid(), folder) in _swept and not again:
    return
  _swept.add((os.getpid(), folder))
  with contextlib.suppress(OSError), os.scandir(folder) as entries:
    for entry in entries:
      if (name := _TEMPORARY.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
        with contextlib.suppress(OSError):
          if name['host'] == _HOST or time.time() - entry.stat().st_mtime > _STALE:
            _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
  file = os.open(path, os.O_RDWR)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.remove(path)
  finally:
    os.close(file)


def _shortened(name: str) -> str:
  """A name to which the prefix can be put: long ones are replaced by a digest."""
  if len(os.fsencode(name)) + _PREFIX_LIMIT <= _NAME_LIMIT:
    return name
  suffix = os.path.splitext(name)[1]
  return hashlib.sha256(os.fsencode(name)).hexdigest()[:32] + (suffix if len(os.fsencode(suffix)) < 32 else '')
