"""Programs whose lowered form is cached on disk, beside JAX's own cache of compiled programs.

JAX's cache is keyed by the lowered program (StableHLO), for which all Python must be traced and lowered in every
process: half of the time until the first frame. Here the lowered program itself is cached, by `jax.export`.
"""

import functools
import hashlib
import importlib.resources
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
from jax import export as jax_export

from atvg_jax.runtime import parallel
from data_pipelines.atomic_files import atomic_write

_DIGEST = 32  # bytes of the SHA-256 before a program: a file that is not whole does not match it


class Program:
  """`jax.jit(function)`, for pytrees of arrays; what it returns is of dicts, lists and tuples.

  Attributes:
    function: what was wrapped.
    loaded: the programs by their arguments' structure, shapes and types.
  """

  def __init__(self, function: Callable[..., Any], *about: Any, donate: Sequence[int] = ()):
    """Wraps a function.

    Args:
      function: as for `jax.jit`.
      about: all that it depends on besides its arguments and this project's code, with a `repr` that tells values
        apart.
      donate: positions of arguments whose memory the results take.
    """
    self.function, self._about = function, repr((function.__qualname__, *about))
    self._donate = donate
    self._loading = threading.Lock()
    self.loaded: dict[Hashable, Callable[..., Any]] = {}

  def __call__(self, *arguments: Any) -> Any:
    """The function's result."""
    leaves, tree = jax.tree.flatten(arguments)
    kind = tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    if kind not in self.loaded:
      with self._loading:
        if kind not in self.loaded:
          self.loaded[kind] = self._load(*kind, leaves, self._donated(arguments))
    return self.loaded[kind](*leaves)

  def _donated(self, arguments: Sequence[Any]) -> tuple[int, ...]:
    """Positions of the donated arguments' arrays among those of all arguments."""
    counts = [len(jax.tree.leaves(argument)) for argument in arguments]
    return tuple(place for index in self._donate for place in range(sum(counts[:index]), sum(counts[: index + 1])))

  def _load(self, tree: Any, shapes: Hashable, leaves: list[Any], donated: tuple[int, ...]) -> Callable[..., Any]:
    """The program for arguments of this structure and these shapes: from the cache, or traced and put there."""
    traced = jax.jit(lambda *leaves: self.function(*jax.tree.unflatten(tree, leaves)), donate_argnums=donated)
    folder = parallel.setting('jax_compilation_cache_dir')
    if not folder or not parallel.setting('jax_enable_compilation_cache'):
      return traced
    about = repr(
      (
        jax.__version__,
        jax.default_backend(),
        jax.devices()[0].device_kind,
        parallel.setting('jax_enable_x64'),
        parallel.setting('jax_default_matmul_precision'),
        _code(),
        self._about,
        tree,
        shapes,
      )
    )
    path = os.path.join(folder, f'program-{hashlib.sha256(about.encode()).hexdigest()}')
    content = _read(path)
    if content is None:
      try:
        content = bytes(jax_export.export(traced)(*leaves).serialize())
      except (ValueError, NotImplementedError):  # something in it cannot be serialised: a callback, a vendor's kernel
        return traced
      _write(path, content)
    return jax.jit(jax_export.deserialize(bytearray(content)).call, donate_argnums=donated)


@functools.cache
def _code() -> str:
  """Digest of all code of this project, which programs are traced from: a changed network is another program."""
  digest = hashlib.sha256()
  for package in ('atvg_jax', 'data_pipelines'):
    root = importlib.resources.files(package)
    for folder, _, names in sorted(os.walk(str(root))):
      for name in sorted(name for name in names if name.endswith('.py')):
        with open(os.path.join(folder, name), 'rb') as file:
          digest.update(f'{package}/{name}'.encode() + file.read())
  return digest.hexdigest()


def _read(path: str) -> bytes | None:
  """The program in a file, or None where the file is missing or not whole."""
  try:
    with open(path, 'rb') as file:
      digest, content = file.read(_DIGEST), file.read()
  except OSError:
    return None
  return content if hashlib.sha256(content).digest() == digest else None


def _write(path: str, content: bytes) -> None:
  """Caches a program, where that is possible: not on a full disk, or in a folder of another user."""
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with atomic_write(path, 'wb') as file:
      file.write(hashlib.sha256(content).digest() + content)
  except OSError:
    pass
