"""The notebook of docs/ runs from its first cell to its last, on small networks and half a second of speech."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import random_nets
from demo_samples import demo_speech

from atvg_jax.generate import text_to_speech
from data_pipelines import features
from data_pipelines.media import video_reader

_ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_every_cell_runs(tmp_path):
  cells = json.loads((_ROOT / 'docs' / 'first_steps.ipynb').read_text(encoding='utf-8'))['cells']
  code = [cell for cell in cells if cell['cell_type'] == 'code']
  assert code[0]['metadata']['tags'] == ['parameters'] and len(code) == 7
  assert not any(cell['outputs'] for cell in code), 'run cells are not committed'
  text_to_speech.save(demo_speech()[: features.SAMPLE_RATE // 2], str(tmp_path / 'speech.wav'))
  ours = {
    'speech': str(tmp_path / 'speech.wav'),
    'folder': str(tmp_path / 'out'),
    'weights': random_nets.save(tmp_path),
  }
  parameters = '\n'.join(f'{name} = {value!r}' for name, value in ours.items())
  sources = [''.join(cell['source']) for cell in code]
  # A file, for the workers of the conversion are spawned: they import it.
  body = '\n'.join([sources[0], parameters, *sources[1:]]).replace('\n', '\n  ')
  (tmp_path / 'cells.py').write_text(f"if __name__ == '__main__':\n  {body}\n")
  done = subprocess.run(
    [sys.executable, str(tmp_path / 'cells.py')],
    cwd=_ROOT,
    env=os.environ | {'PYTHONPATH': os.pathsep.join([str(_ROOT), *sys.path])},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert 'landmarks (13, 136) frames (13, 128, 128, 3)' in done.stdout and "'step': 8" in done.stdout
  for name in ('talking', 'mumbling'):
    assert len(video_reader.read_video(tmp_path / 'out' / f'{name}.mp4').frames) == 13
