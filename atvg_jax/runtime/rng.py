"""Random keys, derived where they are needed and stored nowhere.

A key is a pure function of (seed, name of the stream, step, device), so that a run that resumes from a checkpoint draws
exactly what the uninterrupted run would have drawn.
"""

import zlib

import jax

# XLA's own generator: on CPUs the default one (threefry) takes longer than the layers whose dropout it feeds.
_IMPLEMENTATION = 'rbg'


def stream_key(seed: int, stream: str, step: int | jax.Array = 0, device_index: int | jax.Array = 0) -> jax.Array:
  """The key of one stream at one step on one device.

  Args:
    seed: the run's seed.
    stream: what the key is for, such as 'init' or 'g_dropout'; different names give unrelated keys.
    step: training step; may be traced.
    device_index: position along the batch axis; may be traced.

  Returns:
    A typed key, a scalar.
  """
  key = jax.random.key(seed, impl=_IMPLEMENTATION)
  key = jax.random.fold_in(key, zlib.crc32(stream.encode()))
  return jax.random.fold_in(jax.random.fold_in(key, step), device_index)
