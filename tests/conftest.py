"""What all tests share: a worker's memory maps stay few."""

import gc
import pathlib

import jax
import pytest

_MAPS = pathlib.Path('/proc/self/maps')
_MANY = 20_000  # Linux allows a process 65,530; beyond that compilers and other libraries crash


@pytest.fixture(autouse=True, scope='module')
def few_memory_maps():
  """Forgets compiled programs between files once there are many: each takes maps, which nothing else gives back."""
  yield
  if _MAPS.exists() and _MAPS.read_bytes().count(b'\n') > _MANY:
    jax.clear_caches()
    gc.collect()
