"""The recipe for the weights and inputs of the golden vectors, and where those vectors are.

The vectors are what the published PyTorch nets answer to these weights and inputs. Those in tests/golden/ have
their large pictures thinned to every second pixel. $ATVG_GOLDEN_DIR and $ATVG_GOLDEN_SEED name others.
"""

import json
import os
import pathlib
import zlib

import numpy as np

SEED = os.environ.get('ATVG_GOLDEN_SEED') or '2019'
_OWN = pathlib.Path(__file__).parent / 'golden'
_GIVEN = pathlib.Path(os.environ.get('ATVG_GOLDEN_DIR') or _OWN)
if not _GIVEN.is_dir():
  raise NotADirectoryError(f'ATVG_GOLDEN_DIR={_GIVEN} is no folder')


def path(name: str) -> pathlib.Path:
  """A golden file: of the given folder, or of the tests' own where that has none."""
  return _GIVEN / name if (_GIVEN / name).exists() else _OWN / name


def read_json(name: str):
  return json.loads(path(name).read_text())


def answers() -> dict[str, np.ndarray]:
  """What the published nets answer in evaluation mode; pictures are NTCHW."""
  with np.load(path(f'reference_{SEED}.npz'), allow_pickle=False) as file:
    return dict(file)


def step_answers() -> dict[str, dict[str, float]]:
  """'losses' and 'grad_norms' of one training step."""
  return read_json(f'reference_{SEED}_step.json')


def _generator(name: str) -> np.random.Generator:
  return np.random.Generator(np.random.PCG64(zlib.crc32(f'{SEED}:{name}'.encode())))


def state_dict(net: str, prefix: str = '') -> dict[str, np.ndarray]:
  """The weights of 'at_net', 'at_single', 'vg_net' or 'discriminator' under their PyTorch names, or some of them."""
  return {
    key: weight(key, tuple(shape))
    for key, (shape, _) in read_json('state_dicts.json')[net].items()
    if key.startswith(prefix)
  }


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
  """The weight of that name, of any shape."""
  rng = _generator(key)
  if key.endswith('num_batches_tracked'):
    return np.zeros(shape, np.int64)
  if key.endswith('running_mean'):
    values = 0.1 * rng.standard_normal(shape)
  elif key.endswith('running_var'):
    values = 0.5 + rng.random(shape)
  elif len(shape) == 1:
    values = 0.1 * rng.standard_normal(shape) + key.endswith('weight')
  else:
    values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
  return values.astype(np.float32)


def inputs(name: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
  """An input of the recipe, in PyTorch's layout."""
  return (scale * _generator(f'input:{name}').standard_normal(shape)).astype(np.float32)


def pictures(name: str, count: int) -> np.ndarray:
  """uint8 [count, 128, 128, 3]: blots of colour."""
  coarse = inputs(name, (count, 16, 16, 3), 60).repeat(8, axis=1).repeat(8, axis=2)
  return np.clip(coarse + 128, 0, 255).astype(np.uint8)


def channels_last(pictures: np.ndarray) -> np.ndarray:
  """[..., C, H, W] -> [..., H, W, C]."""
  return np.moveaxis(pictures, -3, -1)


def assert_close(ours: np.ndarray, published: np.ndarray, tolerance: float = 5e-4) -> None:
  """Largest difference within `tolerance` of the largest published value; thins our pictures as theirs are."""
  ours = np.asarray(ours)
  if ours.shape != published.shape:
    step = ours.shape[-1] // published.shape[-1]
    ours = ours[..., ::step, ::step]
  assert ours.shape == published.shape
  difference = np.abs(ours - published).max()
  assert difference <= tolerance * np.abs(published).max(), f'they differ by {difference}'
