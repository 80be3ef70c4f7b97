"""Reads .pth files of tensors, of today's format and of 2019's, and never runs code that one may hold."""

import os
import pickle
import warnings
from collections.abc import Mapping

import numpy as np

from data_pipelines.errors import InputError, extra_command


def load_state_dict(path: str) -> dict[str, np.ndarray]:
  """Reads a file of named tensors; half precision becomes float32.

  Raises:
    InputError: torch is not installed, or the file is missing, damaged or holds something else than named tensors.
  """
  try:
    import torch
  except ImportError as error:
    raise InputError(f'reading .pth files needs PyTorch: {extra_command("torch")}') from error
  if not os.path.isfile(path):
    raise InputError(f'there is no file {path}: name a .pth file of the published weights')
  with open(path, 'rb') as file:
    start = file.read(512).lstrip().lower()
  if start.startswith((b'<!doctype', b'<html')):
    raise InputError(f'{path} is a web page, not weights: the download went wrong, get the file again')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      loaded = torch.load(path, map_location='cpu', weights_only=True)
  except pickle.UnpicklingError as error:
    # PyTorch's own words advise to run the code.
    raise InputError(
      f'{path} holds something else than tensors, and none of it was run: name a published .pth file'
    ) from error
  except Exception as error:  # PyTorch's reader raises a dozen kinds for damaged files
    raise InputError(f'{path} is damaged, or no .pth file: get it again') from error
  if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
    raise InputError(f'{path} does not hold a state dict, that is names and tensors: name a published .pth file')
  return {
    str(key): value.float().numpy() if value.is_floating_point() else value.numpy() for key, value in loaded.items()
  }
