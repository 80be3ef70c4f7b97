"""Conversion as a whole: it can be killed, repeated and spread over workers, and the result is the same."""

import dataclasses
import fcntl
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import drawn_clips
import full_disks
import pytest

from data_pipelines import prepare
from data_pipelines.conversion import convert_clip, cut_video
from data_pipelines.datasets.clips import clips_source
from data_pipelines.errors import InputError

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_made(tmp_path):
  source = drawn_clips.write_lrw_ar(tmp_path / 'source', clips=4)
  drawn_clips.write(source / 'video' / '00007.mp4', num_frames=5)
  drawn_clips.write(source / 'video' / '00008.mp4', num_frames=20)
  with (source / 'speakers.csv').open('a') as file:
    file.write('00007,c01\n00009,c01\n')
  report = prepare.prepare('lrw_ar', source, tmp_path / 'out', workers=1, progress=False)
  assert (report['clips'], report['kept'], report['new_clips']) == (7, 4, 7)
  assert report['reasons'] == {'speaker unknown': 1, 'too short': 1, 'unreadable': 1}
  assert report['splits']['validation']['speakers'] == ['c18']
  assert report['splits']['train']['clips'] == 3
  files = contents(tmp_path / 'out')
  assert set(files) >= {
    'dataset_info.json',
    'features.json',
    'report.json',
    'report.html',
    'rejected.csv',
    'contact_sheet.jpg',
    'landmark_statistics.npz',
    'index-train.npz',
    'index-validation.npz',
  }
  rejected = files['rejected.csv'].decode()
  assert 'c01_00007' in rejected and 'c01_00009' in rejected and 'unknown_00008' in rejected
  assert not (tmp_path / 'out.partial').exists()
  # A second time there is nothing to do.
  times = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').iterdir()}
  again = prepare.prepare('lrw_ar', source, tmp_path / 'out', workers=1, progress=False)
  assert again['new_clips'] == 0 and again['kept'] == 4
  assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').iterdir()}
  # And something else is not written over it.
  with pytest.raises(InputError, match='holds another conversion .source_fingerprint'):
    prepare.prepare('lrw_ar', source, tmp_path / 'out', limit=1, progress=False)


SCRIPT = """
import sys
from data_pipelines import prepare
if __name__ == '__main__':
  prepare.prepare('grid', sys.argv[1], sys.argv[2], workers=1)
"""


def test_a_killed_run_goes_on_and_ends_the_same_with_any_number_of_workers(tmp_path):
  source = drawn_clips.write_grid(tmp_path / 'source', clips=5)
  (tmp_path / 'run.py').write_text(SCRIPT)
  process = subprocess.Popen(
    [sys.executable, tmp_path / 'run.py', source, tmp_path / 'killed'],
    env=os.environ | {'PYTHONPATH': str(_ROOT)},
    stderr=subprocess.DEVNULL,
  )
  staging = tmp_path / 'killed.partial' / 'clips'
  deadline = time.time() + 120
  while len(list(staging.glob('[!.]*.npz'))) < 2:
    assert process.poll() is None and time.time() < deadline
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.wait()
  time.sleep(1)  # a worker may still finish its clip
  assert not (tmp_path / 'killed').exists()
  finished = {path.name: path.stat().st_mtime_ns for path in staging.glob('[!.]*.npz')}

  moments = {}
  load = convert_clip.load

  def noting(path, *args, **kwargs):
    moments[pathlib.Path(path).name] = os.stat(path).st_mtime_ns
    return load(path, *args, **kwargs)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(convert_clip, 'load', noting)
    report = prepare.prepare('grid', source, tmp_path / 'killed', workers=2, progress=False)
  assert report['new_clips'] == 5 - len(finished) and report['kept'] == 5
  assert len(finished) < 5, 'the kill came too late to test anything'
  assert {name: moments[name] for name in finished} == finished  # not one was made again

  prepare.prepare('grid', source, tmp_path / 'whole', workers=1, progress=False)
  assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')


def test_a_long_video_that_was_killed_goes_on_with_its_next_part(tmp_path, monkeypatch):
  for name in ('anna', 'bert'):
    drawn_clips.write(tmp_path / 'source' / name / 'talk.mp4', num_frames=75)
  monkeypatch.setattr(clips_source, '_SMALL', 0)
  monkeypatch.setattr(cut_video, 'PART_FRAMES', 30)
  run = functools.partial(prepare.prepare, 'clips', tmp_path / 'source', progress=False)

  def killed(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(prepare, '_build', killed)
    with pytest.raises(KeyboardInterrupt):
      run(tmp_path / 'killed', workers=2)
  staging = tmp_path / 'killed.partial' / 'clips'
  parts = sorted(path for path in staging.iterdir() if path.name.startswith('anna_talk.'))
  assert len(parts) == 2  # 75 frames: the second part is the rest
  parts[1].unlink()  # as if it had been killed there
  report = run(tmp_path / 'killed', workers=1)
  assert report['new_clips'] == 1 and report['kept'] == 4 and report['splits']['validation']['clips'] == 2
  run(tmp_path / 'whole', workers=1)
  assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')


def test_a_disk_that_fills_up_while_records_are_written_is_told(tmp_path, monkeypatch):
  source = drawn_clips.write_grid(tmp_path / 'source', clips=4)

  def killed(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(prepare, '_build', killed)
    prepare.prepare('grid', source, tmp_path / 'out', progress=False)
  largest = max(path.stat().st_size for path in (tmp_path / 'out.partial' / 'clips').iterdir())
  with (
    pytest.raises(InputError, match=r'out.partial cannot be written\b.* make (room|some on that disk)'),
    full_disks.small_files(largest),
  ):
    prepare.prepare('grid', source, tmp_path / 'out', progress=False)
  assert not (tmp_path / 'out').exists()
  report = prepare.prepare('grid', source, tmp_path / 'out', progress=False)
  assert report['new_clips'] == 0 and report['kept'] == 4
  assert sorted(path.name for path in tmp_path.iterdir()) == ['out', 'source']


def test_bad_arguments_are_told_before_any_work(tmp_path):
  source = drawn_clips.write_grid(tmp_path / 'source', clips=1)
  (tmp_path / 'taken').mkdir()
  (tmp_path / 'taken' / 'thesis.txt').write_text('precious')
  (tmp_path / 'file').write_text('')
  for message, arguments in {
    "no data set 'vox'": {'dataset': 'vox'},
    'grid has one face a clip': {'all_faces': True},
    'clips measures the sound': {'dataset': 'clips', 'sound_offsets': tmp_path},
    'report.json cannot be read': {'sound_offsets': tmp_path},
    'is not a folder': {'source': tmp_path / 'nothing'},
    '0 workers': {'workers': 0},
    'limit of 0': {'limit': 0},
    'lies in the source': {'out': source / 'out'},
    'is not empty and no data set': {'out': tmp_path / 'taken'},
    'is a file': {'out': tmp_path / 'file'},
    'cannot be written': {'out': tmp_path / 'file' / 'below'},
  }.items():
    with pytest.raises(InputError, match=message):
      prepare.prepare(**{'dataset': 'grid', 'source': source, 'out': tmp_path / 'out', 'progress': False} | arguments)
  assert (tmp_path / 'taken' / 'thesis.txt').read_text() == 'precious'
  assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'source', 'taken']


def test_a_split_that_leaks_a_speaker_is_refused(tmp_path, monkeypatch):
  source = drawn_clips.write_lrw_ar(tmp_path / 'source', clips=3)
  module = prepare._source_module('lrw_ar')
  clips = module.list_clips(str(source))
  leaking = [*clips, dataclasses.replace(clips[0], clip_id='other', split='validation')]
  monkeypatch.setattr(module, 'list_clips', lambda source: leaking)
  with pytest.raises(InputError, match='splits of lrw_ar share 1 speakers .c01'):
    prepare.prepare('lrw_ar', source, tmp_path / 'out', progress=False)
  assert not list(tmp_path.glob('out*'))


def test_two_conversions_do_not_write_the_same_folder(tmp_path):
  source = drawn_clips.write_grid(tmp_path / 'source', clips=1)
  (tmp_path / 'out.partial' / 'clips').mkdir(parents=True)
  with (tmp_path / 'out.partial' / 'lock').open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(InputError, match='Another conversion is writing'):
      prepare.prepare('grid', source, tmp_path / 'out', progress=False)


def test_nothing_but_bad_clips_is_an_error_that_says_why(tmp_path):
  drawn_clips.write(tmp_path / 'source' / 's1' / 'a.mpg', num_frames=3)
  with pytest.raises(InputError, match='None of the 1 clips .* s1_a, too short: 3 frames'):
    prepare.prepare('grid', tmp_path / 'source', tmp_path / 'out', workers=1, progress=False)
  assert not (tmp_path / 'out').exists()


def test_limit_takes_some_of_each_split(tmp_path):
  source = drawn_clips.write_lrw_ar(tmp_path / 'source', clips=6)
  clips = prepare._limited(prepare._source_module('lrw_ar').list_clips(str(source)), 1)
  assert [clip.split for clip in clips] == ['train', 'validation']
  assert json.dumps([clip.clip_id for clip in clips]) == '["c01_00000", "c18_00001"]'
