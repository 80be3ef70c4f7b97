"""Devices that are asked for and are not there are told."""

import os
import subprocess
import sys

import pytest

from atvg_jax.generate import demo


@pytest.mark.parametrize('platform', ['cuda', 'rocm', 'gpuu'])
def test_a_device_that_is_not_there_is_told_in_a_sentence(tmp_path, platform):
  command = ['generate', '--image', demo.portrait(), '--audio', demo.speech(), '--out', str(tmp_path / 'a.mp4')]
  done = subprocess.run(
    [sys.executable, '-m', 'atvg_jax.cli', *command],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path), 'JAX_PLATFORMS': platform},
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode == 0:
    pytest.skip(f'there is {platform} here')
  assert done.returncode == 2 and 'Traceback' not in done.stderr
  assert f'JAX_PLATFORMS={platform} asks for devices' in done.stderr.splitlines()[-1]
  assert not os.listdir(tmp_path)
