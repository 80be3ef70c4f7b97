"""Of those who work on one folder, one makes an output; a claim ends with its holder, however that ends."""

import os
import signal
import subprocess
import sys
import threading

from atvg_jax.generate.lanes.claims import Claims

_HOLDER = """
import sys, time
from atvg_jax.generate.lanes.claims import Claims
with Claims(sys.argv[1]).on('a.mp4') as mine:
  print(mine, flush=True)
  time.sleep(60)
"""


def test_an_output_has_one_maker_at_a_time(tmp_path):
  claims, others = Claims(str(tmp_path)), Claims(str(tmp_path))
  with claims.on('a.mp4') as mine:
    with others.on('a.mp4') as theirs, others.on('b.mp4') as another:
      assert (mine, theirs, another) == (True, False, True)
    others.tidy()  # leaves what is claimed
    with others.on('a.mp4') as theirs:
      assert not theirs
  with others.on('a.mp4') as theirs:
    assert theirs
  claims.tidy()
  assert not os.listdir(tmp_path)


def test_a_killed_holder_leaves_its_claim_to_the_next(tmp_path):
  environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
  command = [sys.executable, '-c', _HOLDER, str(tmp_path)]
  with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout is not None and process.stdout.readline() == 'True\n'
    claims = Claims(str(tmp_path))
    with claims.on('a.mp4') as mine:
      assert not mine
    process.send_signal(signal.SIGKILL)
    process.wait()
    with claims.on('a.mp4') as mine:
      assert mine
  (tmp_path / '.claims').mkdir(exist_ok=True)
  (tmp_path / '.claims' / 'left').touch()  # by one that was killed
  claims.tidy()
  assert not os.listdir(tmp_path)


def test_of_many_threads_one_at_a_time_has_it(tmp_path):
  holders, most, made = [], [], []

  def work():
    claims = Claims(str(tmp_path))
    for _ in range(100):
      with claims.on('a.mp4') as mine:
        if mine:
          holders.append(1)
          most.append(len(holders))
          holders.pop()
          made.append(1)
      claims.tidy()

  threads = [threading.Thread(target=work) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert set(most) == {1} and made
