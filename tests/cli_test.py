"""The command line: bad input ends in one sentence, exit status 2 and no file; interrupts in 130."""

import os
import subprocess
import sys
import wave

import numpy as np
import pytest
import random_nets
from PIL import Image

import atvg_jax
from atvg_jax import cli, cli_options
from atvg_jax.generate import demo
from data_pipelines.errors import InputError
from data_pipelines.media import video_writer


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
  """A folder with input of every kind that goes wrong."""
  folder = tmp_path_factory.mktemp('inputs')
  random_nets.save(folder)
  (folder / 'empty').write_bytes(b'')
  (folder / 'noise').write_bytes(np.random.default_rng(0).bytes(5000))
  (folder / 'text.jpg').write_text('not a picture')
  (folder / 'folder').mkdir()
  Image.new('RGB', (200, 200), 'gray').save(folder / 'nobody.png')
  with open(demo.portrait(), 'rb') as file:
    (folder / 'truncated.jpg').write_bytes(file.read()[:3000])
  for name, count in (('silent.wav', 16000), ('header.wav', 0)):
    with wave.open(str(folder / name), 'wb') as file:
      file.setparams((1, 2, 16000, 0, 'NONE', ''))
      file.writeframes(bytes(2 * count))
  with video_writer.VideoWriter(folder / 'mute.mp4', (64, 64)) as writer:
    for _ in range(5):
      writer.append(np.zeros((64, 64, 3), np.uint8))
  (folder / 'truncated.mp4').write_bytes((folder / 'mute.mp4').read_bytes()[:300])
  return folder


GOOD = {'--image': demo.portrait(), '--audio': demo.speech(), '--out': 'out.mp4', '--weights': ('at.npz', 'vg.npz')}


@pytest.mark.parametrize(
  'change, reason',
  [
    ({'--image': 'none.jpg'}, 'none.jpg does not exist'),
    ({'--image': 'folder'}, 'directory'),
    ({'--image': 'empty'}, 'empty'),
    ({'--image': 'text.jpg'}, 'cannot be read as a picture'),
    ({'--image': 'truncated.jpg'}, 'cannot be read as a picture'),
    ({'--image': 'nobody.png'}, 'nobody.png: no face'),
    ({'--audio': 'none.wav'}, 'none.wav does not exist'),
    ({'--audio': 'folder'}, 'directory'),
    ({'--audio': 'empty'}, 'empty'),
    ({'--audio': 'noise'}, 'damaged or of an unknown format'),
    ({'--audio': 'silent.wav'}, 'silent.wav is silent'),
    ({'--audio': 'header.wav'}, 'header.wav'),
    ({'--audio': 'mute.mp4'}, 'no sound'),
    ({'--audio': None, '--driving': 'truncated.mp4'}, 'truncated.mp4'),
    ({'--audio': None, '--driving': 'mute.mp4'}, 'mute.mp4: no face'),
    ({'--audio': None, '--driving': 'silent.wav'}, 'no picture'),
    ({'--audio': None}, 'nothing to say'),
    ({'--image': None}, 'nobody to speak'),
    ({'--shard': '1/2'}, '--shard'),
    ({'--save': 'landmarks,teeth'}, "'teeth'"),
    ({'--motion': 'none.mp4'}, 'none.mp4 does not exist'),
    ({'--out': '-', '--save': 'motion'}, 'standard output'),
    ({'--image': 'mute.mp4'}, 'mute.mp4: no face'),
    ({'--manifest': 'none.csv'}, 'none.csv cannot be read'),
    ({'--manifest': 'noise'}, 'noise'),
    ({'--weights': ('none.npz',)}, 'none.npz'),
    ({'--weights': ('folder',)}, 'folder'),
    ({'--weights': ('noise',)}, 'noise'),
    ({'--weights': ('at.npz', 'at.npz')}, 'both'),
    ({'--out': 'folder'}, 'must end in'),
    ({'--out': 'none/out.mp4'}, 'does not exist'),
    ({'--out': 'out.gif'}, 'must end in'),
    ({'--audio': None, '--driving': 'mute.mp4', '--out': 'mute.mp4'}, 'overwrite'),
  ],
)
def test_bad_input_ends_in_one_sentence_and_leaves_nothing(inputs, monkeypatch, capsys, change, reason):
  monkeypatch.chdir(inputs)
  before = sorted(os.listdir(inputs))
  argv = ['generate']
  for name, value in {**GOOD, **change}.items():
    if value is not None:
      argv += [name, *([value] if isinstance(value, str) else value)]
  assert cli.main(argv) == 2
  lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('atvg: ')]
  assert len(lines) == 1 and reason in lines[0], lines
  assert sorted(os.listdir(inputs)) == before


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='there is no folder here that nobody can write to')
def test_an_unwritable_folder_is_told(inputs, monkeypatch, capsys):
  monkeypatch.chdir(inputs)
  assert (
    cli.main(
      [
        'generate',
        '--image',
        demo.portrait(),
        '--audio',
        demo.speech(),
        '--out',
        '/proc/self/out.mp4',
        '--weights',
        'at.npz',
        'vg.npz',
      ]
    )
    == 2
  )
  assert '/proc/self/out.mp4 cannot be written' in capsys.readouterr().err


def test_version_and_a_light_start():
  program = (
    'import sys\nfrom atvg_jax import cli\n'
    'assert not {"jax", "tensorflow", "av"} & set(sys.modules), "heavy imports"\n'
    'cli.main(["--version"])'
  )
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  assert done.stdout == f'atvg {atvg_jax.__version__}\n'


def test_every_command_has_help(capsys):
  for command in ('prepare', 'generate', 'evaluate', 'demo', 'import-torch', 'release', 'export', 'say', 'app'):
    with pytest.raises(SystemExit) as stop:
      cli.main([command, '--help'])
    assert stop.value.code == 0
    assert command in capsys.readouterr().out


def _raising(error):
  def run(*_):
    raise error

  return run


def test_interrupts_and_errors_have_their_statuses(monkeypatch, capsys):
  monkeypatch.setattr(demo, 'run', _raising(KeyboardInterrupt()))
  assert cli.main(['demo']) == 130
  assert capsys.readouterr().err.startswith('atvg: interrupted')
  monkeypatch.setattr(demo, 'run', _raising(InputError('no.')))
  assert cli.main(['demo']) == 2
  assert capsys.readouterr().err == 'atvg: no.\n'


def test_a_package_that_is_not_installed_is_told(monkeypatch, capsys):
  def missing(name):
    return _raising(ModuleNotFoundError(f'No module named {name!r}', name=name))

  monkeypatch.setattr(demo, 'run', missing('tensorboardX.proto'))
  assert cli.main(['demo']) == 2
  told = capsys.readouterr().err
  assert told.startswith('atvg: this needs the package tensorboardX') and 'pip install -e .' in told
  assert told.count('\n') == 1
  monkeypatch.setattr(demo, 'run', missing('atvg_jax.gone'))  # a fault of this project
  with pytest.raises(ModuleNotFoundError):
    cli.main(['demo'])


def test_names_of_files_that_are_no_text_can_be_told():
  program = (
    'from atvg_jax import cli\nfrom atvg_jax.generate import demo, video_maker\n'
    'demo.run = lambda out: video_maker.Result(out, 25, 1.0)\n'
    "raise SystemExit(cli.main(['demo', '--out', '\\udcff.mp4']))"
  )
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
  assert done.returncode == 0 and done.stdout.startswith('\\udcff.mp4: 25 frames'), done.stderr


def test_options_as_they_were_spelt_before_are_taken():
  def parsed(line):
    return cli_options.make_parser().parse_args(line.split())

  hyphens = parsed('prepare grid --source a --out b --beam-runner R --beam-option x=1 --beam-option y=2')
  assert parsed('prepare grid --source a --out b --beam_runner R --beam_option x=1 --beam_option y=2') == hyphens
  assert parsed('generate --out a --still') == parsed('generate --out a')
