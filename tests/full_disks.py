"""A disk that is full, for tests that may not mount one."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
  """Within the block no file of this process grows beyond `size` bytes: writing on fails as on a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
