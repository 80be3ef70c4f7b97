"""The C library's allocator, tuned for XLA's programs on CPUs."""

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8

_FEW_CORES = 16  # on more, threads would wait for the one arena's lock


def keep_freed() -> bool:
  """Has glibc's malloc keep freed memory for the next allocation → whether it will.

  XLA allocates a program's buffers in every call. By default the kernel hands out blocks of such sizes and takes them
  back, and clears each page at its first use: on two cores that is a third of the time of VG-net's large layers. Call
  it before other threads allocate.

  Returns:
    False where the C library is another, or there are more than 16 cores, whose threads would wait for one lock.
  """
  if (os.cpu_count() or 1) > _FEW_CORES:
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):  # another C library
    return False
  options = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1))
  return all(mallopt(option, value) for option, value in options)
