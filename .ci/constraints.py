"""Prints the oldest versions that setup.cfg allows, as constraints for pip: `name >= 1.2` becomes `name==1.2`."""

import configparser
import pathlib
import re
import sys

_EXTRAS = ('test',)


def constraints(text: str) -> list[str]:
  """One line a requirement of the package and of the extras that are tested; markers stay.

  Raises:
    ValueError: a requirement has no lower bound.
  """
  config = configparser.ConfigParser()
  config.read_string(text)
  lists = [config['options']['install_requires'], *(config['options.extras_require'][name] for name in _EXTRAS)]
  lines = []
  for requirement in (line.strip() for listed in lists for line in listed.splitlines() if line.strip()):
    found = re.fullmatch(r'([\w.-]+)\s*(?:>=|==)\s*([\w.]+)[^;]*(;.*)?', requirement)
    if found is None:
      raise ValueError(f'{requirement!r} in setup.cfg has no lower bound')
    lines.append(f'{found[1]}=={found[2]}{found[3] or ""}')
  return lines


if __name__ == '__main__':
  try:
    print('\n'.join(constraints((pathlib.Path(__file__).resolve().parent.parent / 'setup.cfg').read_text())))
  except ValueError as error:
    sys.exit(str(error))
