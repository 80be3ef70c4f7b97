"""Configs are found from anywhere, and tuples can be written without brackets."""

import pytest

from atvg_jax.train import command_flags

pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')  # of ml_collections


def _config(*argv):
  return command_flags.parse([*argv, '--workdir=somewhere']).config


@pytest.mark.parametrize('name', ['release_vg', 'configs/release_vg', 'configs/release_vg.py'])
def test_a_packaged_config_is_found_from_anywhere(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  whole, smoke = _config(f'--config={name}'), _config('--config', f'{name}:smoke')
  assert whole.task == smoke.task == 'vg' and whole.num_steps > smoke.num_steps


def test_a_file_that_lies_here_comes_first(tmp_path, monkeypatch):
  (tmp_path / 'configs').mkdir()
  own = "from configs import common\n\n\ndef get_config(arg=''):\n  return common.finish(common.base('at'), arg)\n"
  for path in ('configs/release_vg.py', 'mine.py'):
    (tmp_path / path).write_text(own)
  monkeypatch.chdir(tmp_path)
  for path in ('configs/release_vg.py', 'mine.py', str(tmp_path / 'mine.py')):
    assert _config(f'--config={path}').task == 'at'
  assert _config('--config=release_vg').task == 'vg'


@pytest.mark.parametrize(
  'text, dirs',
  [
    ('data/mine', ('data/mine',)),
    ('a,b c', ('a', 'b c')),
    ("('a', 'b')", ('a', 'b')),
    ("('a',)", ('a',)),
    ('', ()),
  ],
)
def test_folders_are_written_with_commas_or_as_python_does(text, dirs):
  assert _config('--config=release_vg', f'--config.data.dirs={text}').data.dirs == dirs


def test_weights_are_those_of_the_folders_or_none():
  assert _config('--config=release_vg').data.weights == (0.3, 0.7)
  assert _config('--config=release_vg', '--config.data.dirs=a,b').data.weights == ()
  assert _config('--config=release_vg', '--config.data.dirs', 'a,b').data.weights == ()
  for order in (1, -1):
    flags = ['--config.data.dirs=a,b', '--config.data.weights=1,2.5'][::order]
    assert _config('--config=release_vg', *flags).data.weights == (1, 2.5)


def test_commas_within_brackets_part_nothing():
  config = _config('--config=release_vg', '--config.data.augment=flip,noise(1,2),rotate(5)')
  assert config.data.augment == ('flip', 'noise(1,2)', 'rotate(5)')
