"""A run that is killed again and again, in the middle of saves too, ends where the one that was never killed does."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import pytest

from atvg_jax.checkpoints import orbax_checkpoints

_TESTS = pathlib.Path(__file__).resolve().parents[1]
_KILLS, _STEPS = 25, 500


def curve(workdir: pathlib.Path) -> list[dict[str, float]]:
  """The rows of metrics.jsonl without the clock's numbers; none before there are any."""
  try:
    lines = (workdir / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
  except FileNotFoundError:
    return []
  return [{name: value for name, value in json.loads(line).items() if not name.startswith('time/')} for line in lines]


def run_with_kills(
  command: list[str], workdir: pathlib.Path, kills: int, environment: dict[str, str], seconds: float
) -> list[str]:
  """Starts a training over and over, kills it so many times at random moments, then lets it end.

  Args:
    command: of the training.
    seconds: within so many of its first step a start is killed; every second one as soon as a save is on its way.

  Returns:
    What the checkpoints folder held at each kill.
  """
  chance, seen = random.Random(0), []
  metrics, folder = workdir / 'metrics.jsonl', workdir / 'checkpoints'
  for kill in range(kills):
    before = metrics.stat().st_mtime_ns if metrics.exists() else 0
    started = time.time_ns()
    with (
      open(workdir.with_suffix('.log'), 'w') as said,
      subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process,
    ):
      # The first row of this start: opening the file rewrites it, so its size must grow after that.
      size = None
      while process.poll() is None:
        if metrics.exists() and metrics.stat().st_mtime_ns > max(before, started - 10**9):
          if size is not None and metrics.stat().st_size > size:
            break
          size = metrics.stat().st_size if size is None else min(size, metrics.stat().st_size)
        time.sleep(0.005)
      end = time.monotonic() + chance.uniform(0, seconds)
      while process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
      while kill % 2 and process.poll() is None and not list(folder.glob('*tmp*')):
        time.sleep(0.0005)
      assert process.poll() is None, f'it ended before kill {kill}, see {said.name}'
      process.kill()
    seen.append(' '.join(sorted(os.listdir(folder))))
  subprocess.run(command, env=environment, check=True, capture_output=True)
  return seen


@pytest.mark.slow
def test_kills_leave_no_trace(tmp_path):
  environment = os.environ | {'PYTHONPATH': os.pathsep.join([str(_TESTS.parent), str(_TESTS)])}
  command = [sys.executable, str(_TESTS / 'kill_worker.py')]
  subprocess.run([*command, str(tmp_path / 'whole'), str(_STEPS)], env=environment, check=True, capture_output=True)
  killed = tmp_path / 'killed'
  seen = run_with_kills([*command, str(killed), str(_STEPS)], killed, _KILLS, environment, 0.6)
  assert len(seen) == _KILLS and sum('tmp' in names for names in seen) >= _KILLS // 2 - 3, seen
  assert len(curve(tmp_path / 'whole')) == _STEPS + _STEPS // 50
  assert curve(tmp_path / 'killed') == curve(tmp_path / 'whole')
  for best in (False, True):
    states = [orbax_checkpoints.restore_generator(str(tmp_path / name), best=best) for name in ('whole', 'killed')]
    assert states[0][0] == states[1][0]
    assert _bytes(states[0][1]) == _bytes(states[1][1])
  assert not (tmp_path / 'killed' / 'damaged_checkpoints').exists()
  shutil.rmtree(tmp_path)


def _bytes(tree) -> list[bytes]:
  return [leaf.tobytes() for leaf in _leaves(tree)]


def _leaves(tree):
  if not hasattr(tree, 'items'):
    return [tree]
  return [leaf for name in sorted(tree) for leaf in _leaves(tree[name])]
