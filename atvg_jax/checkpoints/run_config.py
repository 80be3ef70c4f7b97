"""The config of a run in its workdir: written when the run begins, checked when it resumes, read to generate."""

import json
import os
from collections.abc import Mapping
from typing import Any

from ml_collections import config_dict

from atvg_jax.audio import front_ends
from atvg_jax.runtime import parallel
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError

CONFIG_FILE, SUMMARY_FILE = 'config.json', 'summary.json'

# What a checkpoint's arrays depend on: it cannot change while a run goes on.
_FIXED = ('task', 'model', 'discriminator', 'landmarks')

# By task: `generation` of configs that are older than that block and say nothing of it.
_GENERATION: dict[str, dict[str, float]] = {
  'at': {'exaggeration': 1.0},
  'vg': {'darken': 0.0, 'sharpen': 0.0, 'seam': 0.0},
}


def plain(config: Any) -> dict[str, Any]:
  """A ConfigDict as a dict of plain values."""
  return config.to_dict() if isinstance(config, config_dict.ConfigDict) else dict(config)


def check_workdir(config: Any, workdir: str) -> None:
  """Raises InputError if the workdir belongs to a run whose network differs, or is no folder."""
  if os.path.exists(workdir) and not os.path.isdir(workdir):
    raise InputError(f'--workdir={workdir} is a file: name a folder')
  if os.path.exists(os.path.join(workdir, CONFIG_FILE)):
    _check_resumable(json.loads(json.dumps(plain(config))), load(workdir), workdir)


def init_workdir(config: Any, workdir: str) -> None:
  """Begins or resumes a run in a workdir: writes config.json, after `check_workdir`."""
  check_workdir(config, workdir)
  if parallel.is_main_process():
    os.makedirs(workdir, exist_ok=True)
    _write_json(os.path.join(workdir, CONFIG_FILE), plain(config))


def _check_resumable(wanted: Mapping[str, Any], found: Mapping[str, Any], workdir: str) -> None:
  """Raises InputError where the arrays of a run with the config `found` do not fit one with the config `wanted`."""
  for name in _FIXED:
    differing = sorted(differences(wanted[name], json.loads(json.dumps(found[name])), name))
    if differing:
      raise InputError(
        f"{workdir} holds a run with another {', '.join(differing)}: use another --workdir, or that run's config"
      )
  if bool(found['ema_decay']) != bool(wanted['ema_decay']):
    raise InputError(
      f'{workdir} holds a run with ema_decay={found["ema_decay"]}, and a moving average cannot begin or end in the '
      'middle: use another --workdir'
    )


def write_summary(workdir: str, summary: Mapping[str, Any]) -> None:
  """Writes summary.json: the run's last step and numbers, and whether it was interrupted."""
  if parallel.is_main_process():
    _write_json(os.path.join(workdir, SUMMARY_FILE), summary)


def _write_json(path: str, value: Mapping[str, Any]) -> None:
  with atomic_write(path) as file:
    json.dump(value, file, indent=2)
    file.write('\n')


def differences(left: Any, right: Any, name: str) -> list[str]:
  """The dotted names, each after `name`, of the fields in which two configs or values differ."""
  if isinstance(left, Mapping) and isinstance(right, Mapping):
    return [
      difference
      for key in {*left, *right}
      for difference in differences(left.get(key), right.get(key), f'{name}.{key}')
    ]
  return [] if left == right else [name]


def load(workdir: str) -> dict[str, Any]:
  """config.json of a workdir as `upgrade` returns it, lists as tuples; raises InputError where there is none."""
  path = os.path.join(workdir, CONFIG_FILE)
  try:
    with open(path, encoding='utf-8') as file:
      return upgrade(tupled(json.load(file)))
  except (OSError, json.JSONDecodeError) as error:
    raise InputError(f'{workdir} is no training workdir: its {CONFIG_FILE} cannot be read ({error})') from error


def upgrade(config: Mapping[str, Any]) -> dict[str, Any]:
  """The config of a run of an earlier version, in the form that this version writes.

  Every config that was stored passes through here when it is read: config.json of a workdir, the metadata of packed
  weights, results of a sweep. The oldest form that is read is that of version 0.1.0. A field that moves or changes its
  name is moved here, and nowhere else is an old name known; a field that is new gets the value with which the run goes
  on as it began. What is in today's form already comes back as it is.

  Since 0.1.0, `model.darken`, `model.sharpen` and `exaggeration` have moved to `generation`, and `model.members` is
  `model.ensemble_size`. `model.recurrent_kernel` and `model.recurrent_dilation` are fixed at 3 and 2.

  Args:
    config: plain values (`plain`), lists as tuples (`tupled`); left unchanged.

  Returns:
    A new dict, likewise of plain values.
  """
  config, model = dict(config), dict(config['model'])
  generation = dict(_GENERATION.get(config['task'], {}))
  for place, name in ((model, 'darken'), (model, 'sharpen'), (config, 'exaggeration')):
    if name in place:
      generation[name] = place.pop(name)
  if 'members' in model:
    model['ensemble_size'] = model.pop('members')
  for name, fixed in (('recurrent_kernel', 3), ('recurrent_dilation', 2)):
    if model.get(name) == fixed:
      del model[name]
  if config['task'] == 'at':
    model.setdefault('audio', front_ends.MFCC)
    if 'landmarks' in config:
      config['landmarks'] = {'rest_gap': None, **config['landmarks']}
  return {**config, 'model': model, 'generation': generation | dict(config.get('generation', {}))}


def tupled(value: Any) -> Any:
  """JSON's lists as tuples, as the nets' hyper-parameters are."""
  if isinstance(value, dict):
    return {name: tupled(item) for name, item in value.items()}
  return tuple(map(tupled, value)) if isinstance(value, list) else value
