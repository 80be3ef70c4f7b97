"""FID, the Fréchet distance of Inception features, by the weights of `pt_inception-2015-12-05`.

M. Heusel et al., 'GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium', NeurIPS 2017. The
network is the one of their TensorFlow program, which differs from today's Inception V3 in its pools, as M. Seitzer's
`pytorch-fid` keeps it.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.evaluate.metric_networks import layers

FEATURES = 2048
_SIZE = 299
_EPSILON = 1e-3
_BATCH = 8


class Inception:
  """The network, compiled for uint8 pictures."""

  def __init__(self, arrays: Mapping[str, np.ndarray], path: str = 'the state dict'):
    """Takes the state dict.

    Raises:
      InputError: it is of another network.
    """
    self._arrays = {name: jnp.asarray(value) for name, value in arrays.items()}

    def pooled(weights, images):
      images = layers.resize(images.astype(jnp.float32) / 255, _SIZE)
      return pooled_features(layers.StateDict(weights, path), 2 * images - 1)

    jax.eval_shape(pooled, self._arrays, jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.uint8))
    self._features = jax.jit(pooled)

  def __call__(self, images: np.ndarray) -> np.ndarray:
    """Pictures uint8 [N, H, W, 3] → float32 [N, 2048]."""
    missing = -len(images) % _BATCH
    padded = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    return np.concatenate(
      [
        np.asarray(self._features(self._arrays, padded[start : start + _BATCH]))
        for start in range(0, len(padded), _BATCH)
      ]
    )[: len(images)]


class Moments:
  """Mean and covariance of features, of which sums alone are kept."""

  def __init__(self):
    self.count = 0
    self._sum = np.zeros(FEATURES)
    self._products = np.zeros((FEATURES, FEATURES))

  def add(self, features: np.ndarray) -> None:
    """Takes features [N, 2048]."""
    features = features.astype(np.float64)
    self.count += len(features)
    self._sum += features.sum(axis=0)
    self._products += features.T @ features

  def statistics(self) -> tuple[np.ndarray, np.ndarray]:
    """[2048] and [2048, 2048], of two features or more."""
    mean = self._sum / self.count
    return mean, (self._products - self.count * np.outer(mean, mean)) / (self.count - 1)


def distance(ours: Moments, true: Moments) -> float:
  """The FID of two sets of pictures; NaN where one has fewer than two.

  |m1 - m2|² + tr(C1 + C2 - 2 sqrt(C1 C2)), equation 6 of Heusel et al. 2017. Of few pictures it is too large, so that
  only sets of one size are to be compared.
  """
  if min(ours.count, true.count) < 2:
    return float('nan')
  (mean, covariance), (true_mean, true_covariance) = ours.statistics(), true.statistics()
  # sqrt(C1 C2) has the eigenvalues of the root of R C2 R, R the root of C1, which is symmetric.
  values, vectors = np.linalg.eigh(covariance)
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ true_covariance @ root), 0)).sum()
  return float(np.sum((mean - true_mean) ** 2) + np.trace(covariance) + np.trace(true_covariance) - 2 * shared)


def pooled_features(weights: layers.StateDict, images: jax.Array) -> jax.Array:
  """[B, 299, 299, 3] in [-1, 1] → [B, 2048]: the mean of the last features over the picture."""
  net = _InceptionLayers(weights)
  x = net.conv('Conv2d_1a_3x3', images, 32, 3, 2)
  x = net.conv('Conv2d_2a_3x3', x, 32, 3)
  x = layers.max_pool(net.conv('Conv2d_2b_3x3', x, 64, 3, same=True), 3, (2, 2))
  x = net.conv('Conv2d_3b_1x1', x, 80, 1)
  x = layers.max_pool(net.conv('Conv2d_4a_3x3', x, 192, 3), 3, (2, 2))
  for name, pooled in (('Mixed_5b', 32), ('Mixed_5c', 64), ('Mixed_5d', 64)):
    x = net.block_a(name, x, pooled)
  x = net.reduction_a('Mixed_6a', x)
  for name, inner in (('Mixed_6b', 128), ('Mixed_6c', 160), ('Mixed_6d', 160), ('Mixed_6e', 192)):
    x = net.block_c(name, x, inner)
  x = net.reduction_b('Mixed_7a', x)
  x = net.block_e('Mixed_7b', x, layers.mean_pool(x))
  x = net.block_e('Mixed_7c', x, layers.max_pool(x, 3, (1, 1), (1, 1)))
  return jnp.mean(x, axis=(1, 2))


class _InceptionLayers:
  """The blocks of Inception V3, named as in the state dict; each takes and returns [B, H, W, C]."""

  def __init__(self, weights: layers.StateDict):
    self._weights = weights

  def conv(
    self, name: str, x: jax.Array, features: int, kernel: int | layers.Pair, stride: int = 1, same: bool = False
  ) -> jax.Array:
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (kernel[0] // 2, kernel[1] // 2) if same else (0, 0)
    x = layers.conv(self._weights, f'{name}.conv', x, features, kernel, (stride, stride), padding, bias=False)
    return jax.nn.relu(layers.batch_norm(self._weights, f'{name}.bn', x, _EPSILON))

  def chain(self, name: str, x: jax.Array, *steps: tuple[str, int, int | layers.Pair]) -> jax.Array:
    for step, features, kernel in steps:
      x = self.conv(f'{name}.{step}', x, features, kernel, same=True)
    return x

  def block_a(self, name: str, x: jax.Array, pooled: int) -> jax.Array:
    return _join(
      self.chain(name, x, ('branch1x1', 64, 1)),
      self.chain(name, x, ('branch5x5_1', 48, 1), ('branch5x5_2', 64, 5)),
      self.chain(name, x, ('branch3x3dbl_1', 64, 1), ('branch3x3dbl_2', 96, 3), ('branch3x3dbl_3', 96, 3)),
      self.chain(name, layers.mean_pool(x), ('branch_pool', pooled, 1)),
    )

  def reduction_a(self, name: str, x: jax.Array) -> jax.Array:
    double = self.chain(name, x, ('branch3x3dbl_1', 64, 1), ('branch3x3dbl_2', 96, 3))
    return _join(
      self.conv(f'{name}.branch3x3', x, 384, 3, 2),
      self.conv(f'{name}.branch3x3dbl_3', double, 96, 3, 2),
      layers.max_pool(x, 3, (2, 2)),
    )

  def block_c(self, name: str, x: jax.Array, inner: int) -> jax.Array:
    wide, high = (1, 7), (7, 1)
    double = self.chain(
      name,
      x,
      ('branch7x7dbl_1', inner, 1),
      ('branch7x7dbl_2', inner, high),
      ('branch7x7dbl_3', inner, wide),
      ('branch7x7dbl_4', inner, high),
      ('branch7x7dbl_5', 192, wide),
    )
    return _join(
      self.chain(name, x, ('branch1x1', 192, 1)),
      self.chain(name, x, ('branch7x7_1', inner, 1), ('branch7x7_2', inner, wide), ('branch7x7_3', 192, high)),
      double,
      self.chain(name, layers.mean_pool(x), ('branch_pool', 192, 1)),
    )

  def reduction_b(self, name: str, x: jax.Array) -> jax.Array:
    single = self.chain(name, x, ('branch3x3_1', 192, 1))
    seven = self.chain(
      name, x, ('branch7x7x3_1', 192, 1), ('branch7x7x3_2', 192, (1, 7)), ('branch7x7x3_3', 192, (7, 1))
    )
    return _join(
      self.conv(f'{name}.branch3x3_2', single, 320, 3, 2),
      self.conv(f'{name}.branch7x7x3_4', seven, 192, 3, 2),
      layers.max_pool(x, 3, (2, 2)),
    )

  def block_e(self, name: str, x: jax.Array, pooled: jax.Array) -> jax.Array:
    single = self.chain(name, x, ('branch3x3_1', 384, 1))
    double = self.chain(name, x, ('branch3x3dbl_1', 448, 1), ('branch3x3dbl_2', 384, 3))
    return _join(
      self.chain(name, x, ('branch1x1', 320, 1)),
      self.chain(name, single, ('branch3x3_2a', 384, (1, 3))),
      self.chain(name, single, ('branch3x3_2b', 384, (3, 1))),
      self.chain(name, double, ('branch3x3dbl_3a', 384, (1, 3))),
      self.chain(name, double, ('branch3x3dbl_3b', 384, (3, 1))),
      self.chain(name, pooled, ('branch_pool', 192, 1)),
    )


def _join(*branches: jax.Array) -> jax.Array:
  return jnp.concatenate(branches, axis=-1)
