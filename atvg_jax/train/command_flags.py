"""The command-line flags of the commands that take a config: `atvg train`, `plan` and `ablate`."""

from collections.abc import Callable, Mapping

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
  argv = [f'atvg {command}', *argv]
  needed = {'config': 'configs/vg_grid.py', **needed}
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config',
    None,
    'the config file, such as configs/vg_grid.py or configs/vg_grid.py:smoke; single fields '
    'follow as --config.field=value',
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
    raise InputError(f'there is no config file {config_flags.get_config_filename(values["config"])}: see configs/')
  return values


def _one_line(text: str) -> str:
  return ' '.join(text.split())
