"""The config of a run: from the command line, into the workdir, and out of it again."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from atvg_jax.train import fit_landmarks
from atvg_jax.runtime import parallel
from atvg_jax import landmarks as lm
from data_pipelines.errors import InputError

CONFIG_FILE, BASIS_FILE, SUMMARY_FILE = 'config.json', fit_landmarks.BASIS_FILE, 'summary.json'

# What a checkpoint's arrays depend on: it cannot change while a run goes on.
_FIXED = ('task', 'model', 'discriminator', 'landmarks')


def parse(argv: list[str]) -> flags.FlagValues:
  """The flags of `atvg train`: `config` (locked), `workdir`, `distributed` (None: look), `interrupted_status`.

  Raises:
    InputError: where a flag, a field or a value is unknown or missing.
  """
  def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string('workdir', None, 'folder for checkpoints, logs and pictures', flag_values=values)
    flags.DEFINE_boolean('distributed', None, 'whether this is one of several processes; on TPU pods, in Slurm jobs '
                         'and where JAX_COORDINATOR_ADDRESS is set it is known', flag_values=values)

    flags.DEFINE_integer('interrupted_status', 0, 'exit status of a run that was asked to stop and saved, for '
                         'schedulers that start again what has failed', flag_values=values)

  return parse_flags('train', argv, define, {'workdir': 'runs/vg_grid'})


def parse_flags(command: str, argv: list[str], define: Callable[[flags.FlagValues], None],
                needed: Mapping[str, str]) -> flags.FlagValues:
  """Reads the flags of a command that takes a config.

  Args:
    command: its name.
    argv: what follows the name.
    define: adds the command's flags other than `config`.
    needed: those that must be given, with an example.

  Raises:
    InputError: where a flag, a field or a value is unknown or missing.
  """
  argv = [f'atvg {command}', *argv]
  needed = {'config': 'configs/vg_grid.py', **needed}
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
      'config', None, 'the config file, such as configs/vg_grid.py or configs/vg_grid.py:smoke; single fields '
      'follow as --config.field=value', flag_values=values, lock_config=True, sys_argv=argv)
  define(values)
  flags.DEFINE_boolean('help', False, 'show this', short_name='h', flag_values=values)
  try:
    rest = values(argv)[1:]
  except (AttributeError, KeyError) as error:
    inner = error.args[0]  # ml_collections wraps its own, which ends in a question if it has a guess
    text = _one_line(str(inner.args[0] if isinstance(inner, Exception) else inner))
    raise InputError(f'the config has no field {text.replace(" Did", ": did", 1)}') from error
  except Exception as error:  # a config file is a program: it can fail in any way
    # absl wraps what happened there as text, traceback and all; its last part says it.
    raise InputError(f"'atvg {command}': {_one_line(str(error).rpartition('InputError:')[2])}") from error
  usage = f'atvg {command} ' + ' '.join(f'--{name}={example}' for name, example in needed.items())
  if values.help:
    print(f'usage: {usage} [--config.FIELD=VALUE ...]\n')
    print(values.main_module_help() or values.get_help())
    raise SystemExit(0)
  if rest:
    raise InputError(f"'atvg {command}' takes flags only: what is {rest[0]!r}?")
  for name in needed:
    if not values[name].value:
      raise InputError(f"'atvg {command}' needs --{name}: for instance {usage}")
  if not isinstance(values.config, config_dict.ConfigDict):  # what ml_collections puts where it found no file
    raise InputError(f'there is no config file {config_flags.get_config_filename(values["config"])}: see configs/')
  return values


def _one_line(text: str) -> str:
  return ' '.join(text.split())


def plain(config: Any) -> dict[str, Any]:
  """A ConfigDict as a dict of plain values."""
  return config.to_dict() if isinstance(config, config_dict.ConfigDict) else dict(config)


def claim(config: Any, workdir: str) -> None:
  """Makes the workdir this run's: writes config.json, or checks that what is there fits.

  Raises:
    InputError: if the workdir belongs to a run whose net differs, or is no folder.
  """
  if os.path.exists(workdir) and not os.path.isdir(workdir):
    raise InputError(f'--workdir={workdir} is a file: name a folder')
  wanted = json.loads(json.dumps(plain(config)))
  path = os.path.join(workdir, CONFIG_FILE)
  if os.path.exists(path):
    found = load(workdir)
    for name in _FIXED:
      differing = sorted(differences(wanted[name], json.loads(json.dumps(found[name])), name))
      if differing:
        raise InputError(f'{workdir} holds a run with another {", ".join(differing)}: use another --workdir, or '
                         'that run\'s config')
    if bool(found['ema_decay']) != bool(wanted['ema_decay']):
      raise InputError(f'{workdir} holds a run with ema_decay={found["ema_decay"]}, and a moving average cannot begin '
                       'or end in the middle: use another --workdir')
  if parallel.is_main_process():
    os.makedirs(workdir, exist_ok=True)
    _write_json(path, wanted)


def write_summary(workdir: str, summary: Mapping[str, Any]) -> None:
  """Writes summary.json: what the run has come to, and whether it was interrupted."""
  if parallel.is_main_process():
    _write_json(os.path.join(workdir, SUMMARY_FILE), summary)


def _write_json(path: str, value: Mapping[str, Any]) -> None:
  with open(path + '.partial', 'w', encoding='utf-8') as file:
    json.dump(value, file, indent=2)
    file.write('\n')
  os.replace(path + '.partial', path)


def differences(left: Any, right: Any, name: str) -> list[str]:
  """The names of fields in which two configs differ."""
  if isinstance(left, Mapping) and isinstance(right, Mapping):
    return [difference for key in {*left, *right}
            for difference in differences(left.get(key), right.get(key), f'{name}.{key}')]
  return [] if left == right else [name]


def load(workdir: str) -> dict[str, Any]:
  """config.json of a workdir as a dict, lists as tuples; raises InputError where there is none."""
  path = os.path.join(workdir, CONFIG_FILE)
  try:
    with open(path, encoding='utf-8') as file:
      return tupled(json.load(file))
  except (OSError, json.JSONDecodeError) as error:
    raise InputError(f'{workdir} is no training workdir: its {CONFIG_FILE} cannot be read ({error})') from error


def tupled(value: Any) -> Any:
  """JSON's lists as tuples, as the nets' hyper-parameters are."""
  if isinstance(value, dict):
    return {name: tupled(item) for name, item in value.items()}
  return tuple(map(tupled, value)) if isinstance(value, list) else value


def landmark_basis(config: Any, workdir: str, basis: lm.LandmarkBasis | None = None) -> lm.LandmarkBasis | None:
  """The workdir's landmark basis; a new run of AT-net gets the given one, or one fitted to its data sets.

  VG-net learns from landmarks themselves and has none: None.
  """
  if config.task != 'at':
    return None
  path = os.path.join(workdir, BASIS_FILE)
  if os.path.exists(path):
    return lm.load(path)
  if basis is None:
    settings = config.landmarks
    basis = fit_landmarks.fit(config.data.dirs, settings.num_components, points=settings.points,
                              symmetric=settings.symmetric)
  if parallel.is_main_process():
    lm.save(path + '.partial', basis)
    os.replace(path + '.partial', path)
  return basis
