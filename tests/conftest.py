"""What all tests share: programs that are compiled once for all processes, and workers that stay small."""

import ctypes
import gc
import os
import pathlib
import sys
import time

import jax
import psutil
import pytest

from atvg_jax.runtime import parallel

_MAPS = pathlib.Path('/proc/self/maps')
_MANY = 20_000  # Linux allows a process 65,530; beyond that compilers and other libraries crash
_MUCH = 1 << 30  # bytes
_WEEK = 7 * 24 * 3600  # seconds that a compiled program is kept
_QUICK = 'JAX_DISABLE_MOST_OPTIMIZATIONS'  # JAX's own name of the option
# The emitters that came with fusions take twice as long to compile; JAX 0.11 and later have no others.
_QUICK_FLAGS = '--xla_cpu_use_fusion_emitters=false' if jax.__version_info__ < (0, 11) else ''


def pytest_configure(config):
  """Keeps compiled programs in pytest's cache: for all workers, for the processes that tests start, for the next run.

  JAX finds them by the whole program, the compiler's options and its version, so nothing old is taken for new.

  Compiling takes most of the suite's time, and half of that goes into optimisations that programs of a few steps do not
  pay back: they are left out, unless the environment's variable asks for them.
  """
  os.environ.setdefault(_QUICK, '1')  # processes that tests start have it from here
  jax.config.update(_QUICK.lower(), os.environ[_QUICK] == '1')
  if os.environ[_QUICK] == '1' and _QUICK_FLAGS not in os.environ.get('XLA_FLAGS', ''):
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_QUICK_FLAGS}'
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:  # workers have it from who starts them
    folder = config.cache.mkdir('compiled')
    for path in folder.iterdir():
      if path.stat().st_mtime < time.time() - _WEEK:
        path.unlink(missing_ok=True)
    os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder)
    jax.config.update('jax_compilation_cache_dir', str(folder))
  parallel.use_compilation_cache()


@pytest.fixture(scope='module')
def optimised():
  """For modules whose programs run for longer than they are compiled: they are compiled with all optimisations."""
  quick = jax.config.read(_QUICK.lower())
  jax.config.update(_QUICK.lower(), False)
  yield
  jax.config.update(_QUICK.lower(), quick)


class _Worker:
  """This process, and its memory when it last forgot its programs."""

  def __init__(self):
    self._process = psutil.Process()
    self._memory = self._process.memory_info().rss

  def shrink(self, anyway: bool) -> None:
    """Forgets compiled programs where much memory was taken since the last time."""
    if anyway or self._process.memory_info().rss > self._memory + _MUCH:
      jax.clear_caches()
      gc.collect()
      if sys.platform == 'linux':
        ctypes.CDLL(None).malloc_trim(0)
      self._memory = self._process.memory_info().rss


@pytest.fixture(scope='session')
def worker():
  return _Worker()


@pytest.fixture(autouse=True)
def little_memory(worker):
  """Forgets compiled programs once they take much memory, which nothing else gives back: they are read anew."""
  yield
  worker.shrink(False)


@pytest.fixture(autouse=True, scope='module')
def few_memory_maps(worker):
  """The same between files once there are many memory maps."""
  yield
  worker.shrink(_MAPS.exists() and _MAPS.read_bytes().count(b'\n') > _MANY)
