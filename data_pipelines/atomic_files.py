"""Files that are there whole or not at all: written under a temporary name in the same folder, then renamed."""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from typing import IO, Any, Literal

_NAME_LIMIT = 255  # bytes of a file name on the usual file systems
_PREFIX_LIMIT = len('.4294967295-01234567.')


@contextlib.contextmanager
def atomic_write(
  path: str | os.PathLike, mode: Literal['w', 'wb'] = 'w', *, newline: str | None = None
) -> Iterator[IO[Any]]:
  """Opens a file for writing that appears as `path` when the block ends, and not at all if it raises.

  Until then readers see the file that was there before, if any. Threads, processes and hosts may write the same path:
  the last one to finish wins. A process that is killed leaves a hidden file, see `remove_leftovers`.

  Args:
    path: the final name; a file of that name is replaced.
    mode: 'w' for text in UTF-8 or 'wb' for bytes.
    newline: as of `open`; '' for the csv module.

  Yields:
    The open file.

  Raises:
    OSError: the folder is missing or not writable, or the disk is full.
  """
  temporary = temporary_path(path)
  try:
    with open(temporary, mode, encoding=None if 'b' in mode else 'utf-8', newline=newline) as file:
      yield file
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(temporary)
    raise


def temporary_path(path: str | os.PathLike) -> str:
  """A new hidden name beside `path`, with the same suffix: for libraries that open files by name themselves."""
  folder, name = os.path.split(os.path.abspath(path))
  return os.path.join(folder, f'.{os.getpid()}-{secrets.token_hex(4)}.{_shortened(name)}')


def remove_leftovers(path: str | os.PathLike) -> None:
  """Removes what a process that was killed while it wrote `path` left beside it. Nobody else may be writing it."""
  folder, name = os.path.split(os.path.abspath(path))
  leftover = re.compile(rf'\.\d+(-[0-9a-f]{{8}})?\.{re.escape(_shortened(name))}')
  with contextlib.suppress(OSError):
    for entry in os.listdir(folder):
      if leftover.fullmatch(entry):
        with contextlib.suppress(OSError):
          os.remove(os.path.join(folder, entry))


def _shortened(name: str) -> str:
  """A name to which the prefix can be put: long ones are replaced by a digest."""
  if len(os.fsencode(name)) + _PREFIX_LIMIT <= _NAME_LIMIT:
    return name
  suffix = os.path.splitext(name)[1]
  return hashlib.sha256(os.fsencode(name)).hexdigest()[:32] + (suffix if len(os.fsencode(suffix)) < 32 else '')
