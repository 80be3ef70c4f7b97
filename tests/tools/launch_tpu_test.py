"""The launcher's commands, as its dry run prints them; no cloud is asked."""

import os
import pathlib
import shlex
import subprocess

import pytest

_TOOLS = pathlib.Path(__file__).resolve().parents[2] / 'atvg_jax' / 'tools'


def _dry_run(*arguments, **environment):
  """The commands that would run, each as a list of words."""
  done = subprocess.run(
    [_TOOLS / 'launch_tpu.sh', '--dry-run', *arguments],
    check=True,
    capture_output=True,
    text=True,
    env=os.environ | environment,
  )
  return [shlex.split(line.replace("$'", "'")) for line in done.stdout.splitlines()]


@pytest.mark.parametrize('name', ['launch_tpu.sh', 'train.slurm'])
def test_the_scripts_are_bash(name):
  subprocess.run(['bash', '-n', _TOOLS / name], check=True)


def test_a_slice_is_made_as_asked():
  (words,) = _dry_run('create', 'pod', '--zone=z', '--project=p', '--type=v6e-16', '--spot')
  assert words == [
    'gcloud',
    'compute',
    'tpus',
    'tpu-vm',
    'create',
    'pod',
    '--zone=z',
    '--project=p',
    '--accelerator-type=v6e-16',
    '--version=v2-alpha-tpuv6e',
    '--spot',
  ]


def test_every_worker_is_installed_and_started_with_the_flags_as_given():
  archive, copy, install = _dry_run('install', 'pod', '--zone=z', '--share=host:/x')
  assert archive[0] == 'tar' and copy[4:6] == ['scp', archive[-2]] and copy[-1] == install[7] == '--worker=all'
  assert 'mount -t nfs -o hard host:/x' in install[-1] and '.[tpu]' in install[-1]
  flag = "--config.data.dirs=('shared/a b',)"
  done = subprocess.run(
    [_TOOLS / 'launch_tpu.sh', '--dry-run', 'run', 'pod', '--zone=z', '--', '--workdir=w', flag],
    check=True,
    capture_output=True,
    text=True,
  )
  # What the workers' shell makes of it is the flag again: expand the outer quoting as our shell would.
  expanded = subprocess.run(
    ['bash', '-c', f'set -- {done.stdout}\nprintf %s "${{@: -1}}"'], check=True, capture_output=True, text=True
  )
  command = expanded.stdout.removeprefix('--command=')
  started = next(line for line in command.splitlines() if 'atvg train' in line)
  words = shlex.split(started.partition('>>')[0])
  assert words[-4:] == ['train', '--distributed', '--workdir=w', flag]


@pytest.mark.parametrize(
  'state, steps',
  [
    ('READY', ['ssh']),
    ('PREEMPTED', ['delete', 'create', 'scp', 'ssh', 'ssh']),
    ('', ['create', 'scp', 'ssh', 'ssh']),
  ],
)
def test_resuming_makes_anew_what_was_taken_away(state, steps):
  commands = _dry_run('resume', 'pod', '--zone=z', '--type=v5litepod-16', '--', '--workdir=w', LAUNCH_TPU_STATE=state)
  assert [words[4] for words in commands if words[0] == 'gcloud'] == steps


def test_logs_of_all_workers_and_the_workdir_are_collected(tmp_path):
  commands = _dry_run('collect', 'pod', '--zone=z', '--from=shared/run', f'--to={tmp_path}', LAUNCH_TPU_WORKERS='3')
  copied = [words[5:] for words in commands if words[0] == 'gcloud']
  assert copied[0][:2] == ['--recurse', 'pod:atvg/shared/run']
  assert [words[1] for words in copied[1:]] == [f'{tmp_path}/train.{worker}.log' for worker in range(3)]
  assert [words[-1] for words in copied[1:]] == [f'--worker={worker}' for worker in range(3)]


@pytest.mark.parametrize(
  'arguments',
  [
    [],
    ['create'],
    ['create', 'pod', '--zone=z'],
    ['create', 'pod', '--type=v6e-8'],
    ['run', 'pod', '--zone=z'],
    ['run', 'pod', '--zone=z', '--workdir=w'],
    ['dance', 'pod', '--zone=z'],
    ['delete', 'Po;d', '--zone=z'],
    ['collect', 'pod', '--zone=z', '--from=w'],
  ],
)
def test_what_makes_no_sense_is_one_sentence(arguments):
  done = subprocess.run([_TOOLS / 'launch_tpu.sh', '--dry-run', *arguments], capture_output=True, text=True)
  assert done.returncode == 2 and done.stderr.startswith('launch_tpu.sh: ') and done.stderr.count('\n') == 1
