"""What tests let spawned processes do: those import this file by its name, as they cannot a test's."""

import os
import pathlib
import signal
import sys


def work(task: tuple[str, str]) -> None:
  kind, path = task
  if kind == 'raise':
    raise ValueError('a bad clip')
  with pathlib.Path(path).open('a') as file:
    file.write(f'{os.getpid()}\n')
  if kind == 'die':
    os._exit(3)
  if kind == 'die once' and len(pathlib.Path(path).read_text().split()) == 1:
    os._exit(3)


def note_modules(path: str) -> None:
  from data_pipelines.conversion import convert_clip

  convert_clip.landmarker()
  pathlib.Path(path).write_text('\n'.join([*sys.modules, f'threads {os.environ["OMP_NUM_THREADS"]}']))


def crash(topology, config, clips):
  print('overflow', file=sys.stderr, flush=True)
  os.kill(os.getpid(), signal.SIGSEGV)


def seconds(topology, config, clips):
  return float(clips) if topology == 'v5e:2x2' else None
