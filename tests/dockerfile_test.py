"""The Dockerfile as far as it can be checked without a daemon: what it copies, installs and starts is there."""

import configparser
import json
import pathlib
import re
import subprocess

import pytest

from atvg_jax import cli_options

_ROOT = pathlib.Path(__file__).parents[1]
_TEXT = (_ROOT / 'Dockerfile').read_text(encoding='utf-8')
_RUNS = [run.replace('\\\n', ' ') for run in re.findall(r'^RUN ((?:.*\\\n)*.*)$', _TEXT, re.MULTILINE)]


def _shell(command, accelerator):
  """What a RUN line does, its programs replaced by ones that say how they were called."""
  stand_ins = ''.join(f'{name}() {{ echo {name} "$@"; }}; ' for name in ('pip', 'rm', 'useradd', 'mkdir', 'chown'))
  return subprocess.run(
    ['sh', '-c', f'{stand_ins} ACCELERATOR={accelerator}; {command}'], capture_output=True, text=True, check=False
  )


def _setup():
  parser = configparser.ConfigParser()
  parser.read(_ROOT / 'setup.cfg')
  return parser


@pytest.mark.parametrize('accelerator, extras', [('cpu', 'demo,tts'), ('cuda', 'demo,tts,cuda')])
def test_it_installs_the_extras_of_its_accelerator(accelerator, extras):
  assert _shell(_RUNS[0], accelerator).returncode == 0
  done = _shell(_RUNS[1], accelerator)
  assert done.returncode == 0 and f'pip install --no-cache-dir /src[{extras}]' in done.stdout.splitlines()[0]
  assert set(extras.split(',')) <= set(_setup()['options.extras_require'])


def test_another_accelerator_is_refused():
  done = _shell(_RUNS[0], 'rocm')
  assert done.returncode == 1 and 'cpu or cuda, not rocm' in done.stderr


def test_what_is_copied_is_what_the_package_is_built_of():
  rules = (_ROOT / '.dockerignore').read_text(encoding='utf-8').split()
  kept = {rule[1:] for rule in rules if rule.startswith('!')}
  setup = _setup()
  packages = {name.rstrip('*') for name in setup['options.packages.find']['include'].split()}
  licences = {pattern.split('/')[0] for pattern in setup['metadata']['license_files'].split()}
  readme = setup['metadata']['long_description'].split()[-1]
  assert packages | licences | {readme, 'setup.cfg', 'pyproject.toml'} <= kept
  assert all((_ROOT / name).exists() for name in kept)


def test_what_it_starts_is_a_command_of_ours():
  started = json.loads(re.search(r'^CMD (\[.*\])$', _TEXT, re.MULTILINE)[1])
  arguments = cli_options.make_parser().parse_args(started)
  assert arguments.command == 'app' and arguments.host == '0.0.0.0'
