"""Five hundred damaged and unusual inputs: each ends in a right file or in one sentence, and leaves nothing."""

import os
import subprocess
import sys

import pytest
import unusual_inputs


@pytest.mark.parametrize('seed', (1, 2))
def test_a_few_inputs_of_each_kind(tmp_path, seed):
  outcomes = unusual_inputs.run(tmp_path, 13, seed)
  assert not [one for one in outcomes if one.wrong]
  assert len(outcomes) >= 13 and {one.status for one in outcomes} == {0, 2}


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(5))
def test_a_hundred_inputs_in_two_gigabytes(tmp_path, seed):
  # In a process of their own: its memory is theirs.
  done = subprocess.run(
    [sys.executable, unusual_inputs.__file__, str(tmp_path), '100', str(seed)],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
