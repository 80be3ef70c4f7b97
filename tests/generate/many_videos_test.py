"""Batches restart, shard, refuse what leads out of their folder, and go on after what fails."""

import json
import os
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
import random_nets

from atvg_jax import cli
from atvg_jax.generate import demo, many_videos
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('batch')
  random_nets.save(folder)
  rng = np.random.default_rng(0)
  for number in range(3):
    with wave.open(str(folder / f'speech{number}.wav'), 'wb') as file:
      file.setparams((1, 2, 16000, 0, 'NONE', ''))
      file.writeframes(rng.integers(-5000, 5000, 3200 * (number + 1), np.int16).tobytes())
  (folder / 'face.jpg').symlink_to(demo.portrait())
  return folder


@pytest.fixture(scope='module')
def nets(folder):
  return [str(folder / 'at.npz'), str(folder / 'vg.npz')]


def _manifest(folder, lines, name='list.jsonl'):
  (folder / name).write_text('\n'.join(line if isinstance(line, str) else json.dumps(line) for line in lines))
  return str(folder / name)


def _item(output, **more):
  return {'image': 'face.jpg', 'audio': 'speech0.wav', 'output': output, **more}


def test_a_bad_item_is_told_and_the_rest_go_on(folder, nets, tmp_path, capsys):
  out = tmp_path / 'out'
  manifest = _manifest(
    folder,
    [
      _item('a.mp4'),
      _item('b.mp4', image='none.jpg'),
      'nonsense',
      _item('deep/er/c.mkv', frame='full'),
      _item('d.mp4', audio='face.jpg'),
      _item('e.mp4', frame='half'),
      _item('a.mp4'),
      _item('f.mp4', audio='speech1.wav', save='landmarks'),
      {'image': 'face.jpg', 'output': 'g.mp4'},
    ],
  )
  assert cli.main(['generate', '--manifest', manifest, '--out', str(out), '--weights', *nets]) == 2
  captured = capsys.readouterr()
  assert '6 of 9 videos' in captured.err and 'Traceback' not in captured.err
  assert 'none.jpg does not exist' in captured.out and 'same output as line 1' in captured.out
  rows = json.loads((out / 'summary.json').read_text())
  assert [row['status'] for row in rows] == ['made'] + 2 * ['failed'] + ['made'] + 3 * ['failed'] + ['made', 'failed']
  found = sorted(str(path.relative_to(out)) for path in out.rglob('*') if path.is_file())
  assert found == ['a.mp4', 'deep/er/c.mkv', 'f.landmarks.npz', 'f.mp4', 'summary.json']
  clip = video_reader.read_video(out / 'deep/er/c.mkv')
  assert clip.frames[0].shape == video_reader.read_image(demo.portrait()).shape and len(clip.frames) == 5
  with np.load(out / 'f.landmarks.npz') as arrays:
    assert arrays['landmarks'].shape == (10, 136) and arrays['points_in_picture'].shape == (10, 68, 2)
  # Once more: what is there stays as it is.
  stamps = {name: os.stat(out / name).st_mtime_ns for name in ('a.mp4', 'f.mp4')}
  rows = many_videos.run(many_videos.from_manifest(manifest, str(out)), str(out), weights=nets)
  assert [row.status for row in rows].count('skipped') == 3
  assert stamps == {name: os.stat(out / name).st_mtime_ns for name in stamps}


@pytest.mark.parametrize(
  'name',
  ['../a.mp4', '/tmp/a.mp4', 'x/../../a.mp4', 'link/a.mp4', '', '.', 'a\0.mp4', 'file.mp4', 'a.exe', 'summary.json'],
)
def test_no_output_leads_out_of_the_folder(folder, nets, tmp_path, name):
  out, elsewhere = tmp_path / 'out', tmp_path / 'elsewhere'
  out.mkdir()
  elsewhere.mkdir()
  (out / 'link').symlink_to(elsewhere)
  (out / 'file.mp4').symlink_to(elsewhere / 'x.mp4')
  items = many_videos.from_manifest(_manifest(folder, [_item(name)], 'bad.jsonl'), str(out))
  rows = many_videos.run(items, str(out), weights=nets)
  assert [row.status for row in rows] == ['failed'], rows
  assert not os.listdir(elsewhere) and sorted(os.listdir(tmp_path)) == ['elsewhere', 'out']


def test_nothing_kept_beside_a_video_leads_out_or_is_made_twice(folder, tmp_path):
  out = tmp_path / 'out'
  (tmp_path / '.1.evil.npz').touch()  # what looks like a leftover of another's
  lines = [
    _item('a.mp4', save='/../../evil'),
    _item('b.mp4', save='landmarks'),
    _item('b.mkv', save='landmarks'),
    _item('c.mp4', save='motion'),
    _item('c.motion.mp4'),
    _item('d.mp4', save='a\0'),
  ]
  items = many_videos.from_manifest(_manifest(folder, lines, 'bad.jsonl'), str(out))
  reasons = [item.reason for item in items]
  assert 'cannot be saved' in reasons[0] and 'no text' in reasons[5]
  assert 'same output as line 2' in reasons[2] and 'same output as line 4' in reasons[4]
  assert items[1].job and items[3].job and os.listdir(tmp_path) == ['.1.evil.npz']


def test_items_say_how_far_the_mouth_moves(folder, tmp_path):
  lines = [
    _item('a.mp4', expressiveness=1.3),
    _item('b.mp4', expressiveness='0.5'),
    _item('c.mp4'),
    *(_item(f'{wrong}.mp4', expressiveness=wrong) for wrong in ('much', 3, -1, 'nan', [1])),
  ]
  items = many_videos.from_manifest(_manifest(folder, lines, 'lively.jsonl'), str(tmp_path), expressiveness=1.1)
  assert [item.job.expressiveness for item in items[:3]] == [1.3, 0.5, 1.1]
  assert all(item.job is None and 'expressiveness' in item.reason for item in items[3:]), items[3:]


def test_csv_names_are_relative_to_it(folder, nets, tmp_path):
  manifest = _manifest(
    folder,
    ['image,audio,output,frame', 'face.jpg,speech0.wav,"a, b.mp4",', '', 'face.jpg,speech1.wav,c.mp4,full,more'],
    'list.csv',
  )
  items = many_videos.from_manifest(manifest, str(tmp_path))
  assert items[0].job.image == str(folder / 'face.jpg') and items[0].output == 'a, b.mp4'
  assert items[0].job.frame == 'crop' and 'unknown' in items[1].reason
  for content, reason in [('', 'nothing'), ('image,audio\n', "no column 'output'"), ('\xff\xfe', 'no column')]:
    with pytest.raises(InputError, match=reason):
      many_videos.from_manifest(_manifest(folder, [content], 'bad.csv'), str(tmp_path))
  with pytest.raises(InputError, match='cannot be read'):
    many_videos.from_manifest(str(folder), str(tmp_path))


def test_which_face_and_force_are_said_row_by_row(folder, tmp_path):
  lines = ['image,audio,output,face,force', 'face.jpg,speech0.wav,a.mp4,right,yes', 'face.jpg,speech0.wav,b.mp4,,']
  items = many_videos.from_manifest(_manifest(folder, lines, 'faces.csv'), str(tmp_path), face='2', force=False)
  assert [(item.job.face, item.job.force) for item in items] == [('right', True), ('2', False)]
  (bad,) = many_videos.from_manifest(_manifest(folder, [_item('a.mp4', force='perhaps')]), str(tmp_path))
  assert "force 'perhaps' is neither yes nor no" in bad.reason


def test_folders_make_their_product_and_shards_share_it(folder, tmp_path):
  items = many_videos.from_folders(str(folder), str(folder), str(tmp_path))
  assert [item.output for item in items] == [f'face__speech{number}.mp4' for number in range(3)]
  (tmp_path / 'empty').mkdir()
  with pytest.raises(InputError, match='without any picture'):
    many_videos.from_folders(str(tmp_path / 'empty'), str(folder), str(tmp_path))
  missing = [item._replace(job=None, reason='no.') for item in items]
  out = tmp_path / 'out'
  with pytest.raises(InputError, match='shard'):
    many_videos.run(missing, str(out), shard='0/2')
  shares = [[item.output for item in items[number::2]] for number in range(2)]
  assert shares == [['face__speech0.mp4', 'face__speech2.mp4'], ['face__speech1.mp4']]


def test_a_killed_batch_goes_on_without_a_half_file(folder, nets, tmp_path):
  out = tmp_path / 'out'
  manifest = _manifest(folder, [_item(f'{number}.mp4', audio='speech2.wav') for number in range(12)], 'many.jsonl')
  command = [
    sys.executable,
    '-m',
    'atvg_jax.cli',
    'generate',
    '--manifest',
    manifest,
    '--out',
    str(out),
    '--weights',
    *nets,
  ]
  environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
  with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    deadline = time.monotonic() + 120
    while len(list(out.glob('[0-9]*.mp4'))) < 2 and time.monotonic() < deadline:
      time.sleep(0.01)
    time.sleep(float(np.random.default_rng().uniform(0, 0.2)))
    process.send_signal(signal.SIGKILL)
  made = {path.name: path.stat().st_mtime_ns for path in out.glob('[0-9]*.mp4')}
  (out / '.12345.11.mp4').write_bytes(b'half')  # as a kill at the worst moment leaves it
  rows = many_videos.run(many_videos.from_manifest(manifest, str(out)), str(out), weights=nets)
  assert [row.status for row in rows].count('skipped') == len(made) >= 2
  assert sorted(os.listdir(out)) == sorted([f'{number}.mp4' for number in range(12)] + ['summary.json'])
  for number in range(12):
    assert len(video_reader.read_video(out / f'{number}.mp4').frames) == 15
  assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in made.items())
