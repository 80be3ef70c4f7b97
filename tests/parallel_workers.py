"""Starts `parallel_worker.py`, and compares what its processes end with."""

import os
import pathlib
import subprocess
import sys

import numpy as np

_TESTS = pathlib.Path(__file__).resolve().parent


def start(*arguments: str, program: str = 'parallel_worker.py') -> subprocess.Popen:
  """Starts tests/parallel_worker.py, or another program."""
  environment = os.environ | {'PYTHONPATH': os.pathsep.join([str(_TESTS.parent), str(_TESTS)])}
  return subprocess.Popen(
    [sys.executable, str(_TESTS / program), *arguments],
    env=environment,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
  )


def finish(*workers: subprocess.Popen) -> None:
  """Waits for workers; a failure shows what they said."""
  for worker in workers:
    said, _ = worker.communicate(timeout=600)
    assert worker.returncode == 0, said[-4000:]


def compare(left: pathlib.Path, right: pathlib.Path, tolerance: float = 1e-5) -> None:
  """Asserts that two workers' states and numbers agree."""
  with np.load(left) as first, np.load(right) as second:
    assert first.files == second.files and len(first.files) > 20
    for name in first.files:
      if name.endswith('opening_correlation'):
        continue  # of rounding errors, as long as the net opens no mouth
      # A bias before a batch norm has no gradient but rounding errors, which Adam blows up to whole steps; the
      # norm's mean follows it, and nothing else does.
      noise = any(
        f"['landmark_attention{layer}']{array}" in name
        for layer in (0, 1)
        for array in ("['bias']", "['norm']['mean']")
      )
      scale = max(1.0, float(np.abs(first[name]).max()))
      np.testing.assert_allclose(
        second[name], first[name], atol=1e-3 if noise and tolerance else tolerance * scale, rtol=0, err_msg=name
      )
