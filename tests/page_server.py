"""The page of `atvg app`, served by a process of its own, as it is for people."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

HOST = '127.0.0.1'


@contextlib.contextmanager
def serve(nets: Sequence[str], folder: pathlib.Path, host: str = HOST, token: str = '') -> Iterator[str]:
  """The address of a page that listens at `host` within the block; after it, nothing may be left in its `folder`."""
  with socket.socket() as listener:
    listener.bind((HOST, 0))
    port = listener.getsockname()[1]
  # Gradio and what it is made of warn of one another: not in this process.
  command = [sys.executable, '-m', 'atvg_jax.cli', 'app', '--port', str(port), '--host', host, '--weights', *nets]
  environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path), 'TMPDIR': str(folder), 'ATVG_TOKEN': token}
  with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
    try:
      line = process.stdout.readline()
      assert f'http://{host}:{port}' in line, line
      yield f'http://{HOST}:{port}'
    finally:
      process.terminate()
      assert process.wait(60) == 0
  assert not os.listdir(folder), 'files are left behind'
