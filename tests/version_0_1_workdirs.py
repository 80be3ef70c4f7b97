"""Training workdirs that version 0.1.0 wrote, and the recipe that they were made by.

They lie in tests/golden/version_0_1/ as at.tar.xz and vg.tar.xz: tiny nets with all that the packaged ones have, and a
discriminator for VG-net, half-way through eight steps on noise. `workdirs.json` holds what version 0.1.0 came to when
it went on from there.

  PYTHONPATH=.:tests python -m version_0_1_workdirs

made all of it, at commit c727939. Later versions go on from the same files, and do not make them anew. What VG-net
comes to, and the frame, were recorded once more when its warp got two sheets: the loss at step 8 is 68.89 with them
and was 68.84, and one pixel in 150 of the frame differs by two to four grey levels.

  PYTHONPATH=.:tests python -m version_0_1_workdirs jax_0_12

made tests/golden/jax_0_12/at.tar.xz by the same recipe, under JAX 0.12.0.1 and Python 3.13.
"""

import json
import os
import pathlib
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import synthetic
from ml_collections import ConfigDict

from atvg_jax.generate import Generator, demo
from atvg_jax.train import loop
from configs import release_at, release_vg
from data_pipelines import features
from data_pipelines.media import audio, video_reader

FOLDER = pathlib.Path(__file__).parent / 'golden' / 'version_0_1'
NEWER = FOLDER.parent / 'jax_0_12'  # AT-net's alone, which is smaller
NETS = ('at', 'vg')
SAVED_STEP = 4  # where the workdirs stand
# Smaller still than `:smoke`, for small files.
_AT_MODEL = {
  'audio_features': ((2, 4), (4,)),
  'audio_head_features': (8,),
  'landmark_features': (4, 4),
  'recurrent_features': 4,
}
_VG_MODEL = {
  'encoder_features': (2, 2, 4),
  'deep_features': (4, 4),
  'landmark_features': (4, 4),
  'landmark_attention_features': (4, 4),
  'bottleneck_features': 4,
  'recurrent_features': 4,
  'decoder_features': (4, 4),
  'upsample_features': (4,),
}
_DISCRIMINATOR = {
  'features': (4, 4, 4, 4),
  'image_head_features': 4,
  'landmark_features': (4, 4),
  'recurrent_features': 4,
  'recurrent_layers': 1,
}
_TREES = ('g_params', 'g_ema_params', 'd_params')


def config(net: str) -> ConfigDict:
  """The locked config of the runs, 'at' or 'vg': that of the packaged net at a tiny size."""
  made = {'at': release_at, 'vg': release_vg}[net].get_config('smoke')
  made.log_every = 1
  if net == 'at':
    made.model.update(_AT_MODEL)
  else:
    made.model.update(_VG_MODEL)
    made.discriminator = ConfigDict(_DISCRIMINATOR)
    made.ema_decay = 0.0
  return made.lock()


def run(net: str, workdir: str | os.PathLike) -> tuple[Any, dict[str, Any]]:
  """Trains in `workdir` up to step 8, or goes on there; returns what `train.train` does."""
  settings = config(net)
  return loop.train(settings, os.fspath(workdir), **synthetic.arguments(settings) | {'eval_sets': {}})


def digest(state: Any) -> dict[str, list[float]]:
  """What a state's parameters are: 'g_params/dense/kernel' → [mean, norm] for every array of every net."""

  def short(value: float) -> float:
    return float(f'{value:.9g}')

  return {
    f'{name}/{path}': [short(np.mean(leaf, dtype=np.float64)), short(np.linalg.norm(np.float64(leaf)))]
    for name in _TREES
    if getattr(state, name) is not None
    for path, leaf in leaves(jax.device_get(getattr(state, name)))
  }


def leaves(tree: Any, prefix: str = '') -> Iterator[tuple[str, np.ndarray]]:
  """(path, array) of a tree of dicts, in the order of the paths."""
  if not hasattr(tree, 'items'):
    yield prefix, np.asarray(tree)
    return
  for name in sorted(tree):
    yield from leaves(tree[name], f'{prefix}/{name}' if prefix else name)


def curve(workdir: str | os.PathLike) -> dict[int, dict[str, float]]:
  """The 'train/...' numbers of a workdir's metrics.jsonl by step."""
  lines = pathlib.Path(workdir, 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
  return {
    row['step']: {name: value for name, value in row.items() if name.startswith('train/')}
    for row in map(json.loads, lines)
  }


def unpack(net: str, folder: pathlib.Path, source: str = FOLDER.name) -> pathlib.Path:
  """Unpacks the workdir of 'at' or 'vg' into `folder` and returns where it is."""
  with tarfile.open(FOLDER.parent / source / f'{net}.tar.xz') as archive:
    archive.extractall(folder, filter='data')
  return folder / net


def draw(workdirs: dict[str, pathlib.Path]) -> np.ndarray:
  """uint8 [64, 64, 3]: every second pixel of the fifth frame that the nets of both workdirs make of the demo."""
  generator = Generator.from_pretrained(at=workdirs['at'], vg=workdirs['vg'])
  samples = audio.read_audio(demo.speech())[: 5 * features.SAMPLES_PER_FRAME]
  return generator(video_reader.read_image(demo.portrait()), samples)[4, ::2, ::2]


def _pack(workdir: pathlib.Path, path: pathlib.Path) -> None:
  """Packs what resuming and generating need, as it was at SAVED_STEP, without times and owners."""

  def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, '', ''
    return entry

  metrics = workdir / 'metrics.jsonl'
  rows = metrics.read_text(encoding='utf-8').splitlines(keepends=True)
  metrics.write_text(''.join(row for row in rows if json.loads(row)['step'] <= SAVED_STEP), encoding='utf-8')
  with tarfile.open(path, 'w:xz', preset=9) as archive:
    for name in ('config.json', 'landmark_basis.npz', 'metrics.jsonl', f'checkpoints/{SAVED_STEP}'):
      if (workdir / name).exists():
        archive.add(workdir / name, f'{workdir.name}/{name}', filter=plain)


def _one_row_each(answers: dict[str, Any]) -> str:
  """JSON with a line for each array of parameters and each step."""
  text = json.dumps(answers, indent=1)
  return (
    re.sub(
      r'([\[{])([^\[\]{}]*)([\]}])',
      lambda found: ''.join((found[1], re.sub(r'\n *', ' ', found[2]).strip(), found[3])),
      text,
    )
    + '\n'
  )


def make() -> None:
  """Makes the workdirs and writes down what resuming them gives."""
  FOLDER.mkdir(parents=True, exist_ok=True)
  answers: dict[str, Any] = {}
  with tempfile.TemporaryDirectory() as name:
    trained, unpacked = pathlib.Path(name, 'trained'), pathlib.Path(name, 'unpacked')
    for net in NETS:
      run(net, trained / net)
      _pack(trained / net, FOLDER / f'{net}.tar.xz')
      unpack(net, unpacked)
    frame = draw({net: unpacked / net for net in NETS})
    for net in NETS:
      state, _ = run(net, unpacked / net)
      answers[net] = {'digest': digest(state), 'curve': curve(unpacked / net)}
  np.savez_compressed(FOLDER / 'workdirs.npz', frame=frame)
  with open(FOLDER / 'workdirs.json', 'w', encoding='utf-8') as file:
    file.write(_one_row_each(answers))


def make_newer() -> None:
  """Makes AT-net's workdir by the libraries that are here."""
  NEWER.mkdir(exist_ok=True)
  with tempfile.TemporaryDirectory() as name:
    workdir = pathlib.Path(name, 'at')
    run('at', workdir)
    _pack(workdir, NEWER / 'at.tar.xz')


if __name__ == '__main__':
  make_newer() if sys.argv[1:] == [NEWER.name] else make()
