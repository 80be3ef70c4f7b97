"""A generation that is ended at any moment, in any way, leaves nothing that the next one does not remove."""

import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import random_nets
from demo_samples import demo_speech

from atvg_jax.generate import demo, text_to_speech
from data_pipelines import features
from data_pipelines.media import video_reader

_MOMENTS = 5  # of each seed
_SECONDS = 2  # of speech
_WAYS = ('SIGTERM', 'SIGHUP', 'SIGKILL', 'full disk')
_WHOLE = ['a.attention.mp4', 'a.landmarks.npz', 'a.motion.mp4', 'a.mp4']


def _start(folder, nets):
  speech = folder.parent / 'speech.wav'
  if not speech.exists():
    text_to_speech.save(demo_speech(), str(speech))
  command = ['generate', '--image', demo.portrait(), '--audio', str(speech), '--out', str(folder / 'a.mp4')]
  return subprocess.Popen(
    [sys.executable, '-m', 'atvg_jax.cli', *command, '--save', 'landmarks,attention,motion', '--weights', *nets],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def _end(process, way, rng):
  """Ends a process, or lets its disk be full; returns what status it may have then."""
  if way == 'full disk':
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (rng.choice([0, 1_000, 30_000]),) * 2)
    return {0, 2}
  process.send_signal(signal.Signals[way])
  number = signal.Signals[way]
  return {0, -number, 128 + number}


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
def test_a_generation_may_be_ended_at_any_moment(tmp_path, seed):
  rng, nets, folder = random.Random(seed), random_nets.save(tmp_path), tmp_path / 'out'
  folder.mkdir()
  start = time.monotonic()
  process = _start(folder, nets)
  assert process.wait() == 0, process.stderr.read()
  process.stderr.close()
  seconds = time.monotonic() - start
  assert sorted(os.listdir(folder)) == _WHOLE
  for moment in range(_MOMENTS):
    for path in folder.iterdir():
      if not path.name.startswith('.'):
        path.unlink()
    way = _WAYS[(moment + seed * _MOMENTS) % len(_WAYS)]
    before = set(os.listdir(folder))
    with _start(folder, nets) as process:
      # Not before Python has read the command line and watches signals.
      time.sleep(rng.uniform(0.3, 1) * seconds)
      allowed = _end(process, way, rng) if process.poll() is None else {0}
      told = process.communicate()[1]
    assert process.returncode in allowed and 'Traceback' not in told, (way, process.returncode, told)
    left = set(os.listdir(folder)) - before
    if way != 'SIGKILL':  # all files or none
      assert sorted(left) in ([], _WHOLE), (way, left)
  with _start(folder, nets) as process:
    assert process.communicate() and process.returncode == 0
  assert sorted(os.listdir(folder)) == _WHOLE
  assert len(video_reader.read_video(folder / 'a.mp4').frames) == _SECONDS * features.FPS
