import os
import subprocess
import sys
import threading
import time

import pytest

from data_pipelines import atomic_files
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError


def test_the_file_appears_when_it_is_whole(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('before')
  with atomic_write(path) as file:
    file.write('größer\n')
    file.flush()
    assert path.read_text() == 'before'
  assert path.read_bytes() == 'größer\n'.encode()
  assert os.listdir(tmp_path) == ['a.txt']


def test_bytes_and_csv_newlines(tmp_path):
  with atomic_write(tmp_path / 'a.bin', 'wb') as file:
    file.write(b'\x00\r\n')
  with atomic_write(tmp_path / 'a.csv', newline='') as file:
    file.write('1,2\r\n')
  assert (tmp_path / 'a.bin').read_bytes() == b'\x00\r\n'
  assert (tmp_path / 'a.csv').read_bytes() == b'1,2\r\n'


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, error):
  path = tmp_path / 'a.txt'
  path.write_text('before')
  with pytest.raises(error), atomic_write(path) as file:
    file.write('half')
    raise error
  assert path.read_text() == 'before'
  assert os.listdir(tmp_path) == ['a.txt']


def test_a_target_that_cannot_be_replaced_leaves_nothing(tmp_path):
  (tmp_path / 'folder' / 'inside').mkdir(parents=True)
  with pytest.raises(OSError), atomic_write(tmp_path / 'folder') as file:
    file.write('text')
  assert os.listdir(tmp_path) == ['folder']


def test_a_missing_folder_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError), atomic_write(tmp_path / 'none' / 'a.txt'):
    pass


@pytest.mark.parametrize('name', ['n' * 251 + '.npz', 'ü' * 127, 'a.' + 'x' * 253])
def test_names_up_to_the_limit_of_the_file_system(tmp_path, name):
  with atomic_write(tmp_path / name) as file:
    file.write('text')
  assert os.listdir(tmp_path) == [name]


def test_files_are_as_readable_as_others(tmp_path):
  with atomic_write(tmp_path / 'a.txt') as file:
    file.write('text')
  (tmp_path / 'b.txt').write_text('text')
  assert (tmp_path / 'a.txt').stat().st_mode == (tmp_path / 'b.txt').stat().st_mode


def test_threads_may_write_the_same_file(tmp_path):
  inside = threading.Barrier(4)

  def write(number: int) -> None:
    with atomic_write(tmp_path / 'a.txt') as file:
      inside.wait()
      file.write(str(number) * 1000)

  threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(set((tmp_path / 'a.txt').read_text())) == 1
  assert os.listdir(tmp_path) == ['a.txt']


_WRITES = 'print(atomic_files.Unfinished(sys.argv[1]).path, flush=True)\nos.kill(os.getpid(), 9)'
_HOLDS = """
tempfile.tempdir = sys.argv[1]
with atomic_files.temporary_folder('atvg-test-') as folder:
  open(os.path.join(folder, 'a'), 'w').close()
  print(folder, flush=True)
  os.kill(os.getpid(), 9)
"""


def _killed(path, what=_WRITES):
  """A process that is killed while it does something."""
  program = f'import os, sys, tempfile\nfrom data_pipelines import atomic_files\n{what}'
  environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
  done = subprocess.run(
    [sys.executable, '-c', program, path], env=environment, capture_output=True, text=True, check=False
  )
  return done.stdout.strip()


@pytest.mark.parametrize('name', ['a.mp4', 'n' * 251 + '.mp4'])
def test_the_next_process_removes_what_a_killed_one_left(tmp_path, name):
  killed = _killed(tmp_path / name)
  assert os.listdir(tmp_path) == [os.path.basename(killed)] and killed.endswith('.mp4')
  kept = [name, f'.{name[:240]}', f'.12.other.{name[-20:]}', '.12.a.mp4.txt', '.notes']
  for other in kept:
    (tmp_path / other).touch()
  with atomic_write(tmp_path / 'another.txt'):
    pass
  assert sorted(os.listdir(tmp_path)) == sorted([*kept, 'another.txt'])


def test_a_folder_that_a_killed_process_left_goes_with_the_next(tmp_path, monkeypatch):
  killed = _killed(tmp_path, _HOLDS)
  assert os.listdir(killed) and os.listdir(tmp_path) == [os.path.basename(killed)]
  (tmp_path / 'atvg-test-new').mkdir()  # that somebody is just making
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
  with atomic_files.temporary_folder('atvg-test-') as folder:
    monkeypatch.setattr(atomic_files, '_swept', set())
    with atomic_files.temporary_folder('atvg-test-') as other:
      assert sorted(os.listdir(tmp_path)) == sorted(
        ['atvg-test-new', os.path.basename(folder), os.path.basename(other)]
      )
  assert os.listdir(tmp_path) == ['atvg-test-new']


def test_what_is_being_written_is_no_leftover(tmp_path):
  with atomic_files.Unfinished(tmp_path / 'a.mp4') as unfinished:
    atomic_files.remove_leftovers(tmp_path / 'a.mp4')
    assert os.listdir(tmp_path) == [os.path.basename(unfinished.path)]
  assert os.listdir(tmp_path) == ['a.mp4']


def test_of_another_host_only_what_is_old_is_a_leftover(tmp_path):
  for name, age in (('.1-ffff0000.new.mp4', 60), ('.1-ffff0001.old.mp4', 7200)):
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (time.time() - age,) * 2)
  atomic_files.remove_leftovers(tmp_path / 'a.mp4')
  assert os.listdir(tmp_path) == ['.1-ffff0000.new.mp4']


@pytest.mark.parametrize('name', ['n' * 252 + '.npz', 'ü' * 128])
def test_a_name_beyond_the_limit_is_told(tmp_path, name):
  with pytest.raises(InputError, match='256 bytes, more than 255'):
    atomic_files.check_name(tmp_path / name)
  with pytest.raises(OSError, match='too long'), atomic_write(tmp_path / name):
    pass
  assert not os.listdir(tmp_path)


def test_leftovers_of_earlier_versions_are_removed(tmp_path):
  (tmp_path / '.4711.a.mp4').touch()
  atomic_files.remove_leftovers(tmp_path / 'a.mp4')
  assert not os.listdir(tmp_path)


def test_leftovers_in_no_folder(tmp_path):
  atomic_files.remove_leftovers(tmp_path / 'none' / 'a.mp4')
