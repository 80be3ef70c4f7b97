"""Whoever ends the program, nothing unfinished is left."""

import os
import signal
import subprocess
import sys

import pytest

from atvg_jax.runtime import ending

# The command with a demo that writes a frame and then waits.
_PROGRAM = """
import signal, sys, time
import numpy as np
from atvg_jax import cli
from atvg_jax.generate import demo
from data_pipelines.media import video_writer

def run(out):
  with video_writer.VideoWriter(out, (64, 64), np.zeros(0, np.float32)) as writer:
    writer.append(np.zeros((64, 64, 3), np.uint8))
    print('writing', flush=True)
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have those in the background ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this
demo.run = run
sys.exit(cli.main(['demo', '--out', sys.argv[1]]))
"""


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGXCPU', 'SIGUSR1'])
def test_a_signal_ends_it_in_a_sentence_and_leaves_nothing(tmp_path, name):
  number = signal.Signals[name]
  with subprocess.Popen(
    [sys.executable, '-c', _PROGRAM, str(tmp_path / 'a.mp4')],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == 'writing\n'
    assert len(os.listdir(tmp_path)) == 1
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
  assert process.returncode == 128 + number
  assert told.startswith('atvg: ') and 'Traceback' not in told and len(told.splitlines()) == 1
  assert not os.listdir(tmp_path)


def test_what_is_ignored_stays_ignored_and_handlers_are_given_back():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
  try:
    with ending.as_exceptions():
      os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  finally:
    signal.signal(signal.SIGHUP, before)
  with pytest.raises(ending.Ended, match='SIGTERM') as ended, ending.as_exceptions():
    os.kill(os.getpid(), signal.SIGTERM)
  assert ended.value.number == signal.SIGTERM and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
