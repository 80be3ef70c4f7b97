"""The one exception whose message is meant for the person at the keyboard, and what every reader checks first."""

import os


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
