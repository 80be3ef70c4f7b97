"""Files of named arrays with a JSON text beside them, which run no code when they are read.

Two forms hold the same: NumPy's `.npz`, compressed, whose text is the array `metadata`; and `.safetensors`, the form of
model hubs, whose text is the header's `atvg_jax`.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.atomic_files import atomic_write

SUFFIXES = ('.npz', '.safetensors')
# What is raised by `read` where a file is damaged or of another kind; safetensors' own error is made one of these.
ERRORS = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
_ZIP = b'PK'  # how an .npz file begins
_TEXT = 'atvg_jax'


def write(path: str, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
  """Writes a file, whole or not at all, in the form that its name's ending says; .npz where it says nothing."""
  os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
  text = json.dumps(metadata)
  with atomic_write(path, 'wb') as file:
    if path.endswith('.safetensors'):
      from safetensors import numpy as safetensors  # here and below: packaged files do without

      contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
      file.write(safetensors.save(contiguous, {'format': 'flax', _TEXT: text}))
    else:
      np.savez_compressed(file, metadata=np.array(text), **arrays)


def read(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """The arrays and the metadata of a file, whose form is seen from how it begins.

  Raises:
    OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile: it is damaged, or of another kind.
  """
  with open(path, 'rb') as file:
    if file.read(len(_ZIP)) == _ZIP:
      file.seek(0)
      with np.load(file, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files if name != 'metadata'}
        return arrays, json.loads(str(content['metadata']))
  import safetensors

  try:
    with safetensors.safe_open(path, framework='numpy') as opened:
      text = (opened.metadata() or {}).get(_TEXT)
      if text is None:
        raise ValueError('safetensors of another program')
      return {name: opened.get_tensor(name) for name in opened.keys()}, json.loads(text)  # noqa: SIM118 (no mapping)
  except safetensors.SafetensorError as error:
    raise ValueError(str(error)) from error
