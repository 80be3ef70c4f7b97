"""`atvg import-torch`: the released .pth files → weights from which `atvg generate` works."""

import os
from typing import Any

from atvg_jax.checkpoints import weights
from atvg_jax.convert import torch_files, torch_weights
from atvg_jax.generate import published_weights
from atvg_jax.models.at_net import AtNet, AtSingle
from atvg_jax.models.discriminator import RegressionDiscriminator
from atvg_jax.models.vg_net import VgNet
from data_pipelines.errors import InputError

# By the file that is written: kind of net, the net, and the keywords that make it from a config.
_NETS = {
  'at': ('at', AtNet(), {}),
  'at_single': ('at', AtSingle(), {'name': 'at_single'}),
  'vg': ('vg', VgNet(recurrence='batch'), {'recurrence': 'batch'}),
  'discriminator': ('discriminator', RegressionDiscriminator(), {}),
}


def import_torch(
  *,
  at: str | None = None,
  vg: str | None = None,
  at_single: str | None = None,
  discriminator: str | None = None,
  basics: str | None = None,
  out: str,
) -> list[str]:
  """Converts released files; those of AT-net and VG-net carry the switch `published` with them.

  Args:
    at: .pth file of AT-net, where there is one; so are the next three.
    vg: of VG-net.
    at_single: of the AT-net without recurrence.
    discriminator: of VG-net's discriminator.
    basics: folder of the PCA bases and mean shapes that came with them; only a discriminator does without.
    out: folder to write `at.npz`, `vg.npz`, `at_single.npz`, `discriminator.npz` to, in float32.

  Returns:
    The paths written. Nothing is written unless everything could be converted.

  Raises:
    InputError: nothing to convert, PyTorch is not installed, or a file is not what it should be.
  """
  given = {'at': at, 'at_single': at_single, 'vg': vg, 'discriminator': discriminator}
  paths = {name: path for name, path in given.items() if path is not None}
  if not paths:
    raise InputError('there is nothing to convert: give --at, --vg, --at-single or --discriminator')
  if os.path.exists(out) and not os.path.isdir(out):
    raise InputError(f'--out {out} is a file: name a folder')
  arrays, basis = None, None
  if basics is not None:
    arrays, basis = published_weights.read_basics(basics)
  elif paths.keys() != {'discriminator'}:
    raise InputError('the published nets need the arrays that came with them: give their folder as --basics')
  bundles = {}
  for name, path in paths.items():
    kind, net, model = _NETS[name]
    variables = torch_weights.convert(net, torch_files.load_state_dict(path), path)
    bundles[name] = weights.Bundle(
      kind=kind,
      config=_config(kind, model, arrays),
      params=variables['params'],
      batch_stats=variables.get('batch_stats', {}),
      basis=basis if kind == 'at' else None,
      provenance={
        'step': None,
        'licence': 'MIT',
        'source': os.path.basename(path),
        'paper': 'Chen et al., CVPR 2019, arXiv 1905.03820',
      },
    )
  os.makedirs(out, exist_ok=True)
  written = []
  for name, bundle in bundles.items():
    written.append(os.path.join(out, f'{name}.npz'))
    weights.save(written[-1], bundle, half=False)
    print(f'{paths[name]} → {written[-1]}')
  return written


def _config(kind: str, model: dict[str, Any], basics: dict[str, Any] | None) -> dict[str, Any]:
  """What generation and evaluation read of a training's config."""
  config = {'task': kind, 'model': model, 'dtype': 'float32', 'licence': 'MIT', 'published': True}
  return config if basics is None else config | {'basics': basics}
