"""The one exception whose message is meant for the person at the keyboard, and what every reader checks first."""

import errno
import os
from collections.abc import Iterator


class InputError(ValueError):
  """Bad input, described in one sentence: what is wrong, where, and what to do.

  The command line prints the sentence and exits with status 2; a library user catches it like any
  `ValueError`.
  """


def extra_command(extra: str) -> str:
  """How to install an optional part of this project, for the end of a message."""
  return f'pip install -e ".[{extra}]" in the folder of the checkout'


def check_file(path: str | os.PathLike, wanted: str) -> str:
  """The path as text, if it is a file with something in it that may be read.

  Args:
    path: to look at.
    wanted: what is needed there, with its article, for the message.

  Raises:
    InputError: missing, a directory, empty, not a regular file, or forbidden.
  """
  path = os.fspath(path)
  if os.path.isdir(path):
    raise InputError(f'{path} is a directory, where {wanted} is needed.')
  if not os.path.exists(path):
    if os.path.islink(path):
      raise InputError(f'{path} is a link to {os.readlink(path)}, which does not exist: repair the link.')
    raise InputError(f'{path} does not exist: check the path.')
  if not os.path.isfile(path):  # opening a pipe would wait for its writer for ever
    raise InputError(f'{path} is a device or a pipe, where {wanted} is needed.')
  if not os.path.getsize(path):
    raise InputError(f'{path} is empty (zero bytes): get the file again.')
  if not os.access(path, os.R_OK):
    raise InputError(f'{path} may not be read: change its permissions.')
  return path


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_TEXTS = tuple(os.strerror(number) for number in sorted(_FULL))


def of_the_machine(error: BaseException) -> str | None:
  """The sentence of a failure that is the machine's and no bug: a full disk, a forbidden file, too little memory.

  Libraries wrap what the system says, so causes are looked through; some, TensorFlow's among them, only quote it.

  Returns:
    None for any other error.
  """
  for cause in _causes(error):
    number = getattr(cause, 'errno', None)
    if number in _FULL or any(text in str(cause) for text in _FULL_TEXTS):
      where = getattr(cause, 'filename', None) or getattr(error, 'filename', None) or 'what is to be written'
      return f'there is no room left for {where}: make some on that disk, then run the same command again'
  if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
    return 'there is too little memory: close other programs, or take a smaller picture, window or batch'
  if isinstance(error, BrokenPipeError):
    return 'whoever read the output has gone'
  if isinstance(error, OSError) and error.errno is not None:
    where = f'{os.fsdecode(error.filename)}: ' if isinstance(error.filename, (str, bytes)) else ''
    return f'{where}{(error.strerror or type(error).__name__).lower()}; mend that, then run the same command again'
  return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__
