"""Beam makes the very files that the process pool makes, and says what is missing."""

import builtins

import drawn_clips
import pytest

from data_pipelines import prepare
from data_pipelines.conversion import beam_engine, convert_clip
from data_pipelines.errors import InputError


@pytest.mark.slow
def test_both_engines_make_the_same_bytes(tmp_path):
  pytest.importorskip('apache_beam')
  source = drawn_clips.write_lrw_ar(tmp_path / 'source', clips=4)
  (source / 'video' / '00002.mp4').write_bytes(b'no video')
  reports = [
    prepare.prepare('lrw_ar', source, tmp_path / name, workers=1, progress=False, **options)
    for name, options in (('pool', {}), ('beam', {'beam_runner': 'DirectRunner'}))
  ]
  assert [report['reasons'] for report in reports] == [{'unreadable': 1}] * 2
  files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ('pool', 'beam')]
  assert files[0] == files[1]
  with pytest.raises(InputError, match='runner NoRunner failed'):
    prepare.prepare('lrw_ar', source, tmp_path / 'other', progress=False, beam_runner='NoRunner')


def test_without_beam_a_sentence_says_what_to_install(tmp_path, monkeypatch):
  source = drawn_clips.write_grid(tmp_path / 'source', clips=1)
  imported = builtins.__import__

  def without_beam(name, *args, **kwargs):
    if name.split('.')[0] == 'apache_beam':
      raise ImportError(name)
    return imported(name, *args, **kwargs)

  monkeypatch.setattr(builtins, '__import__', without_beam)
  with pytest.raises(InputError, match=r'pip install -e "\.\[beam\]" in the folder of the checkout'):
    prepare.prepare('grid', source, tmp_path / 'out', progress=False, beam_runner='DirectRunner')
  assert not list(tmp_path.glob('out*'))


def test_finished_files_are_counted_meanwhile(tmp_path):
  paths = [str(tmp_path / name) for name in 'abc']
  (tmp_path / 'a').touch()
  seen = []
  with beam_engine.watched(paths, lambda: seen.append(1), interval=0.01):
    (tmp_path / 'c').touch()
  assert len(seen) == 2


def test_an_unforeseen_failure_is_a_reason(tmp_path):
  def fail(task):
    raise RuntimeError('a bug')

  task = convert_clip.StagingTask(None, 'jpeg', str(tmp_path / 'a.npz'))
  prepare._attempt(fail, task)
  assert convert_clip.load(task.path) == convert_clip.Rejection('failed', 'RuntimeError: a bug')

  def full(task):
    raise OSError('disk full')

  with pytest.raises(OSError):
    prepare._attempt(full, task)
