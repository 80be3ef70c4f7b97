"""Programs whose tracing is kept on disk, beside what JAX keeps of its compilation.

JAX finds a compiled program again by its text, for which all Python must be traced and lowered anew: of the nets'
programs that is half of the time until the first frame. Here the text itself is kept.
"""

import functools
import hashlib
import importlib.resources
import os
from collections.abc import Callable, Hashable
from typing import Any

import jax
from jax import export as jax_export

from data_pipelines.atomic_files import atomic_write

_DIGEST = 32  # bytes of it before a program, by which half of a file is known


class Program:
  """`jax.jit(function)`, for pytrees of arrays; what it returns is of dicts, lists and tuples.

  Attributes:
    loaded: the programs by their arguments' structure, shapes and types.
  """

  def __init__(self, function: Callable[..., Any], *about: Any):
    """Takes a function and all that it depends on besides its arguments and this package's code, as `repr` shows it."""
    self._function, self._about = function, repr((function.__qualname__, *about))
    self.loaded: dict[Hashable, Callable[..., Any]] = {}

  def __call__(self, *arguments: Any) -> Any:
    """The function's answer."""
    leaves, tree = jax.tree.flatten(arguments)
    kind = tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    if kind not in self.loaded:
      self.loaded[kind] = self._load(*kind, leaves)
    return self.loaded[kind](*leaves)

  def _load(self, tree: Any, shapes: Hashable, leaves: list[Any]) -> Callable[..., Any]:
    """The program for such arguments, from the cache if there is one; else it is traced, and put there."""
    traced = jax.jit(lambda *leaves: self._function(*jax.tree.unflatten(tree, leaves)))
    folder = jax.config.jax_compilation_cache_dir
    if not folder or not jax.config.jax_enable_compilation_cache:
      return traced
    about = repr(
      (
        jax.__version__,
        jax.default_backend(),
        jax.devices()[0].device_kind,
        jax.config.jax_enable_x64,
        jax.config.jax_default_matmul_precision,
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
        content = jax_export.export(traced)(*leaves).serialize()
      except (ValueError, NotImplementedError):  # something in it has no text: a callback, a vendor's kernel
        return traced
      _write(path, content)
    return jax.jit(jax_export.deserialize(bytearray(content)).call)


@functools.cache
def _code() -> str:
  """Digest of all code that a program can be made by: whoever changes a net must not meet the one before."""
  digest = hashlib.sha256()
  for package in ('atvg_jax', 'data_pipelines'):
    root = importlib.resources.files(package)
    for folder, _, names in sorted(os.walk(str(root))):
      for name in sorted(name for name in names if name.endswith('.py')):
        with open(os.path.join(folder, name), 'rb') as file:
          digest.update(f'{package}/{name}'.encode() + file.read())
  return digest.hexdigest()


def _read(path: str) -> bytes | None:
  """A whole program, or None."""
  try:
    with open(path, 'rb') as file:
      digest, content = file.read(_DIGEST), file.read()
  except OSError:
    return None
  return content if hashlib.sha256(content).digest() == digest else None


def _write(path: str, content: bytes) -> None:
  """Keeps a program; where nothing can be kept (a full disk, a folder of somebody else), nothing is."""
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with atomic_write(path, 'wb') as file:
      file.write(hashlib.sha256(content).digest() + content)
  except OSError:
    pass
