"""What is no readable file is told as what it is."""

import errno
import os

import pytest

from data_pipelines import errors


def test_a_file_is_its_path(tmp_path):
  (tmp_path / 'a').write_text('x')
  assert errors.check_file(tmp_path / 'a', 'a file') == str(tmp_path / 'a')


def test_anything_else_is_told(tmp_path):
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'empty').touch()
  (tmp_path / 'link').symlink_to(tmp_path / 'gone')
  os.mkfifo(tmp_path / 'pipe')
  for name, message in {
    'folder': 'is a directory, where a picture is needed',
    'missing': 'does not exist',
    'empty': 'is empty',
    'link': 'is a link to .*gone, which does not exist',
    'pipe': 'is a device or a pipe',
  }.items():
    with pytest.raises(errors.InputError, match=message):
      errors.check_file(tmp_path / name, 'a picture')


def test_a_forbidden_file_is_told(tmp_path, monkeypatch):
  (tmp_path / 'a').write_text('x')
  monkeypatch.setattr(os, 'access', lambda path, mode: False)  # root may read everything
  with pytest.raises(errors.InputError, match='may not be read'):
    errors.check_file(tmp_path / 'a', 'a picture')


def _raised(outer, inner):
  try:
    raise inner
  except Exception as cause:
    try:
      raise outer from cause
    except Exception as error:
      return error


@pytest.mark.parametrize(
  'error, sentence',
  [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/data/a.npz'), 'no room left for /data/a.npz'),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), 'no room left'),
    (_raised(RuntimeError('while writing'), OSError(errno.ENOSPC, 'full', '/b')), 'no room left for /b'),
    (RuntimeError('a/b.tfrecord; No space left on device'), 'no room left'),
    (PermissionError(errno.EACCES, os.strerror(errno.EACCES), '/c'), '/c: permission denied'),
    (OSError(errno.EIO, os.strerror(errno.EIO), b'/d'), '/d: input/output error'),
    (MemoryError(), 'too little memory'),
    (RuntimeError('RESOURCE_EXHAUSTED: Out of memory while trying to allocate'), 'too little memory'),
    (ValueError('a bug'), None),
    (OSError('a library'), None),
  ],
)
def test_failures_of_the_machine_have_a_sentence_and_bugs_have_none(error, sentence):
  told = errors.of_the_machine(error)
  assert told is None if sentence is None else sentence in told
