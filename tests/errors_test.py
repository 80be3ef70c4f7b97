"""What is no readable file is told as what it is."""

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
