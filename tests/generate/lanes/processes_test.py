"""Processes on one manifest and folder, some of them killed: all videos come out whole, none is made twice."""

import collections
import json
import os
import signal
import socket
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
import random_nets

from atvg_jax.generate import demo, many_videos
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('batch')
  random_nets.save(folder)
  rng = np.random.default_rng(0)
  with wave.open(str(folder / 'speech.wav'), 'wb') as file:
    file.setparams((1, 2, 16000, 0, 'NONE', ''))
    file.writeframes(rng.integers(-5000, 5000, 9600, np.int16).tobytes())
  (folder / 'face.jpg').symlink_to(demo.portrait())
  return folder


def _manifest(folder, count):
  lines = [
    json.dumps({'image': 'face.jpg', 'audio': 'speech.wav', 'output': f'{number}.mp4'}) for number in range(count)
  ]
  (folder / f'list{count}.jsonl').write_text('\n'.join(lines))
  return str(folder / f'list{count}.jsonl')


def _start(folder, manifest, out, *options, **environment):
  command = [sys.executable, '-m', 'atvg_jax.cli', 'generate', '--manifest', manifest, '--out', str(out)]
  command += ['--weights', str(folder / 'at.npz'), str(folder / 'vg.npz'), '--lanes', '2', *options]
  environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path), **environment}
  return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _made(process):
  """Outputs that a process says it has made, by its table."""
  table, _ = process.communicate(timeout=500)
  assert process.returncode == 0, table
  rows = [line.split() for line in table.splitlines()]
  return {row[0] for row in rows if len(row) > 1 and row[1] == 'made'}


def _check(out, count):
  for number in range(count):
    assert len(video_reader.read_video(out / f'{number}.mp4').frames) == 15
  assert {name for name in os.listdir(out) if not name.startswith('summary')} == {f'{i}.mp4' for i in range(count)}


def test_two_processes_share_a_manifest_and_make_nothing_twice(folder, tmp_path):
  manifest, out = _manifest(folder, 16), tmp_path / 'out'
  processes = [_start(folder, manifest, out) for _ in range(2)]
  made = [_made(process) for process in processes]
  assert not made[0] & made[1] and made[0] | made[1] == {f'{number}.mp4' for number in range(16)}
  _check(out, 16)


@pytest.mark.slow
def test_a_killed_host_s_share_is_taken_up(folder, tmp_path):
  manifest, out = _manifest(folder, 30), tmp_path / 'out'
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  address = {'JAX_COORDINATOR_ADDRESS': f'localhost:{port}', 'JAX_NUM_PROCESSES': '2', 'JAX_PLATFORMS': 'cpu'}
  processes = [
    _start(folder, manifest, out, '--distributed', **address, JAX_PROCESS_ID=str(number)) for number in range(2)
  ]
  deadline = time.monotonic() + 200
  while not list(out.glob('*.mp4')) and time.monotonic() < deadline:
    time.sleep(0.01)
  processes[1].send_signal(signal.SIGKILL)
  made = _made(processes[0])  # the other one's share as well
  processes[1].communicate()
  assert len(made) >= 15
  _check(out, 30)
  assert not _made(_start(folder, manifest, out))  # a second run has nothing to do


@pytest.mark.slow
def test_fifty_items_killed_three_times_are_whole_and_made_once(folder, tmp_path):
  manifest, out = _manifest(folder, 50), tmp_path / 'out'
  rng = np.random.default_rng()
  seen: dict[str, set[int]] = collections.defaultdict(set)

  def look():
    for path in out.glob('[0-9]*.mp4'):
      status = path.stat()
      seen[path.name].add((status.st_ino, status.st_mtime_ns))

  for _ in range(3):
    before = len(list(out.glob('[0-9]*.mp4')))
    process = _start(folder, manifest, out)
    deadline = time.monotonic() + 300
    while len(list(out.glob('[0-9]*.mp4'))) < before + 3 and process.poll() is None and time.monotonic() < deadline:
      time.sleep(0.01)
    time.sleep(float(rng.uniform(0, 1)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    look()
  _made(_start(folder, manifest, out))
  look()
  assert len(seen) == 50 and all(len(versions) == 1 for versions in seen.values())
  _check(out, 50)


def test_every_kind_of_damaged_item_costs_itself_alone(folder, tmp_path):
  whole = (folder / 'speech.wav').read_bytes()
  (folder / 'torn.mp4').write_bytes(os.urandom(5000))
  with wave.open(str(folder / 'silent.wav'), 'wb') as file:
    file.setparams((1, 2, 16000, 0, 'NONE', ''))
    file.writeframes(bytes(6400))
  from PIL import Image

  Image.new('RGB', (200, 200), 'white').save(folder / 'wall.png')
  (folder / 'letters.png').write_text('no picture')
  (folder / 'cut.wav').write_bytes(whole[:20])
  bad = {
    'no_face': {'image': 'wall.png'},
    'torn': {'driving': 'torn.mp4'},
    'torn_face': {'image': 'torn.mp4'},
    'silent': {'audio': 'silent.wav'},
    'unreadable': {'image': 'letters.png'},
    'cut': {'audio': 'cut.wav'},
    'missing': {'audio': 'none.wav'},
    'leads_out': {'output': '../out.mp4'},
  }
  entries = [
    {'image': 'face.jpg', 'audio': 'speech.wav', 'output': f'{name}.mp4', **more}
    for name, more in [('first', {}), *bad.items(), ('last', {})]
  ]
  (folder / 'bad.jsonl').write_text('\n'.join(map(json.dumps, entries)))
  out = tmp_path / 'out'
  rows = many_videos.run(
    many_videos.from_manifest(str(folder / 'bad.jsonl'), str(out)),
    str(out),
    weights=[str(folder / 'at.npz'), str(folder / 'vg.npz')],
    lanes=2,
  )
  assert [row.status for row in rows] == ['made', *['failed'] * len(bad), 'made'], rows
  assert all(len(row.reason) > 20 and 'Error' not in row.reason for row in rows[1:-1]), rows
  assert sorted(os.listdir(out)) == ['first.mp4', 'last.mp4', 'summary.json']
