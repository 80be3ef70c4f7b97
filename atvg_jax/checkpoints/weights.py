"""Weights to generate with: from a training workdir, or packed into one file that runs no code when read.

A packed file (.npz or .safetensors, see `weight_files`) holds the arrays under '/'-joined paths (`params/...` in
float16, `batch_stats/...` and `basis/...` in float32) and metadata: the kind of net, the config that it was trained
with, and its provenance.
"""

import hashlib
import importlib.resources
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from atvg_jax import landmarks as lm
from atvg_jax.checkpoints import run_config, weight_files
from data_pipelines.errors import InputError

_FORMAT = 1
_KINDS = ('at', 'vg')
_HUB_FILE = 'model.safetensors'  # what hubs call the file of a folder that holds one net
# Packaged AT-nets, the default first: on the speech encoder, of all data and of GRID (CC BY 4.0) alone; on MFCC.
PACKAGED = 'packaged'
NAMED = {'speech': 'at_speech.npz', 'free': 'at_speech_free.npz', 'mfcc': 'at_small.npz'}
_PACKAGED = {'at': NAMED['speech'], 'vg': 'vg_small.npz'}


class Bundle(NamedTuple):
  """One trained net.

  Attributes:
    kind: 'at' (audio → landmarks) or 'vg' (landmarks → video).
    config: the config of its training as a plain dict; `config['model']` are the net's keywords.
    params: parameters, a dict of dicts of float32 NumPy arrays.
    batch_stats: batch-norm statistics likewise, {} where there are none.
    basis: the landmark basis that an AT-net's coefficients refer to, else None.
    provenance: step, licence, scores and the like.
  """

  kind: str
  config: dict[str, Any]
  params: Any
  batch_stats: Any
  basis: lm.LandmarkBasis | None
  provenance: dict[str, Any]


def save(path: str, bundle: Bundle, *, half: bool = True) -> None:
  """Packs a net into a file, .safetensors or (whatever else its name says) .npz; `half` rounds parameters to float16.

  Raises:
    InputError: if a parameter does not fit into float16.
  """
  arrays: dict[str, Any] = {}
  for name, array in _flatten({'params': bundle.params}).items():
    arrays[name] = np.asarray(array, np.float16 if half else np.float32)
    if not np.isfinite(arrays[name]).all():
      raise InputError(
        f'{name} holds numbers that are not finite in {arrays[name].dtype}: these weights cannot be packed'
      )
  others = {'batch_stats': bundle.batch_stats, 'basis': {} if bundle.basis is None else bundle.basis._asdict()}
  arrays |= {name: np.asarray(array, np.float32) for name, array in _flatten(others).items()}
  metadata = {'format': _FORMAT, 'kind': bundle.kind, 'config': bundle.config, 'provenance': bundle.provenance}
  weight_files.write(path, arrays, metadata)


def load(path: str) -> Bundle:
  """The net in a packed file, or in a training workdir: its newest checkpoint, the moving average if there is one.

  `WORKDIR/best` is the checkpoint that the run kept for its `best_metric`. Of a folder that holds model.safetensors and
  is no workdir, as hubs have them, it is that file.

  Raises:
    InputError: if there is nothing at `path`, or it is neither.
  """
  if os.path.isdir(path):
    packed = os.path.join(path, _HUB_FILE)
    if not os.path.exists(packed) or os.path.exists(os.path.join(path, run_config.CONFIG_FILE)):
      return _load_workdir(path)
    path = packed
  if not os.path.exists(path):
    raise InputError(f'there are no weights at {path}: name an .npz or .safetensors file, or a training workdir')
  try:
    arrays, metadata = weight_files.read(path)
    if metadata['format'] != _FORMAT:
      raise InputError(f'{path} is of format {metadata["format"]}, this version reads {_FORMAT}: update atvg_jax')
    groups = traverse_util.unflatten_dict(
      {name: np.asarray(array, np.float32) for name, array in arrays.items()}, sep='/'
    )
    basis = lm.LandmarkBasis(**groups['basis']) if 'basis' in groups else None
    return Bundle(
      metadata['kind'],
      run_config.upgrade(run_config.tupled(metadata['config'])),
      groups['params'],
      groups.get('batch_stats', {}),
      basis,
      metadata['provenance'],
    )
  except InputError:
    raise
  except weight_files.ERRORS as error:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise InputError(
      f"{path} holds no weights of atvg_jax ({reason}): name a file written by 'atvg release', or a training workdir"
    ) from error


def packaged_weights(kind: str) -> str:
  """Path of the packaged weights of a net, 'at' or 'vg'."""
  return str(importlib.resources.files('atvg_jax') / 'assets' / _PACKAGED[kind])


def _by_name(path: str) -> str:
  """The path of the packaged weights of a name in `NAMED`, unless there is such a file or folder; else `path`."""
  if path not in NAMED or os.path.exists(path):
    return path
  return str(importlib.resources.files('atvg_jax') / 'assets' / NAMED[path])


def load_nets(weights: Sequence[str | os.PathLike[str]] | None) -> tuple[Bundle, Bundle]:
  """Weights of AT-net and of VG-net; what is not given is the packaged one.

  Args:
    weights: paths of training workdirs or packed files in either order, or of a folder that holds `at` and `vg` as
      .npz or .safetensors files. 'speech', 'free' and 'mfcc' name packaged AT-nets: see `NAMED`.

  Raises:
    InputError: there are no such weights, or two are the same net's.
  """
  paths = [os.fspath(path) for path in weights or ()]
  if len(paths) == 1:
    paths = pair(paths[0]) or paths
  found: dict[str, tuple[str, Bundle]] = {}
  for path in paths:
    bundle = load_net(path)
    if bundle.kind in found:
      raise InputError(
        f'{found[bundle.kind][0]} and {path} are both weights of {bundle.kind.upper()}-net: give one of each net'
      )
    found[bundle.kind] = (path, bundle)
  at, vg = (found[kind][1] if kind in found else load_net(packaged_weights(kind)) for kind in _KINDS)
  return at, vg


def pair(folder: str | os.PathLike[str]) -> list[str]:
  """The files `at` and `vg` of a folder that holds both, in one of the forms of `weight_files`; else []."""
  for suffix in weight_files.SUFFIXES:
    paths = [os.path.join(folder, f'{kind}{suffix}') for kind in _KINDS]
    if all(map(os.path.exists, paths)):
      return paths
  return []


def load_net(path: str | os.PathLike[str], kind: str | None = None) -> Bundle:
  """Weights with their file's name in the provenance; of `kind`, or of either net; `path` may be one of `NAMED`."""
  path = _by_name(os.fspath(path))
  bundle = load(path)
  if bundle.kind not in _KINDS:
    raise InputError(f'{path} holds weights of a {bundle.kind}: generation needs those of AT-net and VG-net')
  if kind is not None and bundle.kind != kind:
    raise InputError(f'{path} holds weights of {bundle.kind.upper()}-net, where those of {kind.upper()}-net are needed')
  name = os.path.basename(os.path.abspath(path))
  return bundle._replace(provenance={**bundle.provenance, 'name': name})


def _load_workdir(workdir: str) -> Bundle:
  from atvg_jax.checkpoints import orbax_checkpoints  # Orbax takes seconds to import; packed files do without

  best = os.path.basename(os.path.normpath(workdir)) == orbax_checkpoints.BEST_FOLDER
  workdir = os.path.dirname(os.path.normpath(workdir)) if best else workdir
  config = run_config.load(workdir)
  step, generator = orbax_checkpoints.restore_generator(workdir, best=best)
  basis = lm.load(os.path.join(workdir, lm.BASIS_FILE)) if config['task'] == 'at' else None
  provenance = {'step': step, 'licence': config.get('licence', ''), 'scores': _last_scores(workdir, step)}
  return Bundle(
    config['task'],
    config,
    generator.get('g_ema_params', generator['g_params']),
    generator['g_batch_stats'],
    basis,
    provenance,
  )


def starting_point(path: str, kind: str) -> Bundle:
  """The weights at `path` (`config.init_from`), for a new run of a net of `kind` to start from.

  'packaged' names the packaged ones of that net, and `NAMED` others, unless there is such a file or folder.

  Raises:
    InputError: if there are none at `path`, or they are another kind's.
  """
  packaged = path == PACKAGED and not os.path.exists(path)
  bundle = load(packaged_weights(kind) if packaged else _by_name(path))
  if bundle.kind != kind:
    raise InputError(f'init_from={path} holds weights of {bundle.kind.upper()}-net: this run trains {kind.upper()}-net')
  return bundle


def start_from(state: Any, bundle: Bundle, path: str) -> Any:
  """A new run's `TrainState` with the parameters and statistics of `bundle` as its generator's.

  Args:
    state: as `Task.init` makes it.
    bundle: of `starting_point`.
    path: where it comes from, for the message.

  Raises:
    InputError: if the networks differ; names the first arrays that do.
  """
  wanted = {'params': state.g_params, 'batch_stats': state.g_batch_stats}
  given = {'params': bundle.params, 'batch_stats': bundle.batch_stats}
  shapes, found = ({name: np.shape(leaf) for name, leaf in _flatten(tree).items()} for tree in (wanted, given))
  differing = sorted(name for name in {*shapes, *found} if shapes.get(name) != found.get(name))
  if differing:
    raise InputError(
      f'init_from={path} is of a net with other layers or widths ({", ".join(differing[:3])}'
      f'{", …" if differing[3:] else ""}): give this config the `model` that it was trained with'
    )
  # A copy for the moving average: both are donated to the training step.
  ema = None if state.g_ema_params is None else jax.tree.map(jnp.array, bundle.params)
  return state.replace(
    g_params=jax.tree.map(jnp.asarray, bundle.params),
    g_batch_stats=jax.tree.map(jnp.asarray, bundle.batch_stats),
    g_ema_params=ema,
  )


def describe(bundle: Bundle) -> dict[str, Any]:
  """Which weights these are, for the record: name, step and person where they are known, and a hash of parameters."""
  digest = hashlib.sha256()
  for name, array in sorted(_flatten({'params': bundle.params}).items()):
    digest.update(name.encode())
    digest.update(np.ascontiguousarray(array, np.float32).data)
  known = {
    name: bundle.provenance[name] for name in ('name', 'step', 'person') if bundle.provenance.get(name) is not None
  }
  return {**known, 'sha256': digest.hexdigest()}


def _last_scores(workdir: str, step: int) -> dict[str, float]:
  """The newest 'eval_...' numbers of metrics.jsonl up to a step."""
  scores: dict[str, float] = {}
  path = os.path.join(workdir, 'metrics.jsonl')
  if os.path.exists(path):
    with open(path, encoding='utf-8') as file:
      for line in file:
        row = json.loads(line) if line.endswith('\n') else {'step': step + 1}
        if row['step'] <= step:
          scores |= {name: value for name, value in row.items() if name.startswith('eval_')}
  return scores


def release(workdir: str, out: str) -> None:
  """The command `atvg release`: packs a workdir's newest weights into the file `out` and says what it holds."""
  if not out.endswith(weight_files.SUFFIXES):
    raise InputError(f'--out={out} must end in {" or ".join(weight_files.SUFFIXES)}')
  if os.path.isdir(out):
    raise InputError(f'--out={out} is a folder: name a file')
  bundle = load(workdir)
  save(out, bundle)
  size = sum(array.size for array in jax.tree.leaves(bundle.params))
  print(
    f'{out}: {bundle.kind}-net of {size / 1e6:.2f} M parameters, step {bundle.provenance.get("step")}, '
    f'{os.path.getsize(out) / 1e6:.1f} MB'
  )


def _flatten(tree: Any) -> dict[str, Any]:
  """{'a/b/c': leaf} of a dict of dicts."""
  return traverse_util.flatten_dict(tree, sep='/')
