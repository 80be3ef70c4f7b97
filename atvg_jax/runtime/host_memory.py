"""How the C library hands out memory to XLA's programs on CPUs."""

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8

_FEW_CORES = 16  # on more, threads would wait for the one arena's lock


def keep_freed() -> bool:
  """Has freed memory kept for the next allocation, where the C library is glibc; says whether it will be.

  XLA allocates a program's buffers anew in every call. Blocks of such sizes come from the kernel and go back to it,
  and every page of them is cleared when it is touched first: on two cores a third of the time of VG-net's large
  layers. Call it first, before other threads allocate.
  """
  if (os.cpu_count() or 1) > _FEW_CORES:
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):  # another C library
    return False
  options = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1))
  return all(mallopt(option, value) for option, value in options)
