"""The one exception whose message is meant for the person at the keyboard."""


class InputError(ValueError):
  """Bad input, told in one sentence: what is wrong, where, and what to do.

  The command line prints the sentence and exits with status 2; a library user catches it like any
  `ValueError`.
  """
