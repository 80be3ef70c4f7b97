"""The command-line flags of the commands that take a config: `atvg train`, `plan` and `ablate`.

Two things are easier than in ml_collections: a config is found by its name from anywhere, and fields that hold tuples
take `a,b`.
"""

import ast
import difflib
import importlib.resources
import os
import re
from collections.abc import Callable, Mapping, Sequence

from absl import flags
from ml_collections import config_dict, config_flags

from data_pipelines.errors import InputError


def parse(argv: list[str]) -> flags.FlagValues:
  """The flags of `atvg train`: `config` (locked), `workdir`, `distributed` (None: look), `interrupted_status`.

  Raises:
    InputError: where a flag, a field or a value is unknown or missing.
  """

  def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string('workdir', None, 'folder for checkpoints, logs and pictures', flag_values=values)
    flags.DEFINE_boolean(
      'distributed',
      None,
      'whether this is one of several processes; on TPU pods, in Slurm jobs '
      'and where JAX_COORDINATOR_ADDRESS is set it is known',
      flag_values=values,
    )

    flags.DEFINE_integer(
      'interrupted_status',
      0,
      'exit status of a run that was asked to stop and saved, for schedulers that start again what has failed',
      flag_values=values,
    )

  return parse_flags('train', argv, define, {'workdir': 'runs/vg_grid'})


def parse_flags(
  command: str, argv: list[str], define: Callable[[flags.FlagValues], None], needed: Mapping[str, str]
) -> flags.FlagValues:
  """Reads the flags of a command that takes a config.

  Args:
    command: its name.
    argv: what follows the name.
    define: adds the command's flags other than `config`.
    needed: those that must be given, with an example.

  Raises:
    InputError: where a flag, a field or a value is unknown or missing.
  """
  argv = [f'atvg {command}', *_plainer(argv)]
  needed = {'config': 'configs/vg_grid.py', **needed}
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config',
    None,
    'a packaged config or a file, such as vg_grid, configs/vg_grid.py or my/config.py:smoke; single fields follow as '
    '--config.field=value',
    flag_values=values,
    lock_config=True,
    sys_argv=argv,
  )
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
    raise InputError(_no_config(config_flags.get_config_filename(values['config'])))
  return values


def _plainer(argv: Sequence[str]) -> list[str]:
  """The arguments with each as `--name=value`, configs as paths, and tuples as Python writes them.

  Folders of one's own are drawn from by their number of clips, unless weights are given too: a config's weights are
  those of its own folders.
  """
  plainer: list[str] = []
  given = iter(argv)
  for argument in given:
    if found := re.fullmatch(r'--?(config(?:\.data\.(?:dirs|weights|augment))?)(?:=(.*))?', argument, re.DOTALL):
      name, value = found[1], found[2] if found[2] is not None else next(given, None)
      if value is not None:
        argument = f'--{name}={_config_path(value) if name == "config" else _tuple_text(value)}'
    plainer.append(argument)
  fields = {argument.partition('=')[0] for argument in plainer}
  if '--config.data.dirs' in fields and '--config.data.weights' not in fields:
    plainer.append('--config.data.weights=()')
  return plainer


def _config_path(text: str) -> str:
  """The file of a config that is packaged, where it is named so and no such file lies here; else the text itself."""
  path, colon, argument = text.partition(':')
  name = re.fullmatch(r'(?:configs/)?(\w+?)(?:\.py)?', path)
  if name is None or os.path.isfile(path):
    return text
  packaged = importlib.resources.files('configs') / f'{name[1]}.py'
  return f'{packaged}{colon}{argument}' if name[1] in _packaged_configs() else text


def _packaged_configs() -> list[str]:
  """Names of the packaged files that make configs."""
  names = (entry.name.removesuffix('.py') for entry in importlib.resources.files('configs').iterdir())
  return sorted(name for name in names if re.fullmatch('[a-z][a-z_]*', name) and name != 'common')


def _no_config(path: str) -> str:
  names = _packaged_configs()
  near = difflib.get_close_matches(os.path.basename(path).removesuffix('.py'), names, 1)
  guess = f'did you mean {near[0]}?' if near else f'the packaged ones are {", ".join(names)}'
  return f'there is no config file {path}, and none is packaged under this name: {guess}'


def _tuple_text(text: str) -> str:
  """`a,b` as Python writes a tuple; what is written so already stays. Commas within brackets part nothing."""
  if text.lstrip().startswith(('(', '[', '"', "'")):
    return text
  return repr(tuple(_value(part.strip()) for part in re.split(r',(?![^(]*\))', text) if part.strip()))


def _value(text: str) -> str | float:
  """A number where the text is one."""
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
  return value if isinstance(value, int | float) else text


def _one_line(text: str) -> str:
  return ' '.join(text.split())
