"""Prints a table of the versions that a run tested: each argument is a JSON file that `versions.py --of SET` wrote.

`python .ci/versions.py --of oldest > oldest.json` in one environment, `--of newest` in the other, then `python
.ci/versions.py oldest.json newest.json` in either.
"""

import importlib.metadata
import json
import pathlib
import platform
import sys

_PACKAGES = (
  'jax',
  'flax',
  'optax',
  'orbax-checkpoint',
  'tensorflow-cpu',
  'tensorflow-datasets',
  'numpy',
  'scipy',
  'av',
  'librosa',
  'ai-edge-litert',
  'pillow',
  'numba',
  'matplotlib',
  'safetensors',
)


def _found(name: str) -> dict[str, str]:
  return {'set': name, 'Python': platform.python_version()} | {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:  # tensorflow-cpu is tensorflow on other machines
    return '-'


def _table(columns: list[dict[str, str]]) -> str:
  rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
  rows.insert(1, ['---'] * len(rows[0]))
  return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


if __name__ == '__main__':
  if sys.argv[1] == '--of':
    print(json.dumps(_found(sys.argv[2])))
  else:
    print(_table([json.loads(pathlib.Path(path).read_text()) for path in sys.argv[1:]]))
