"""Loops compiled to machine code."""

from collections.abc import Callable

import numba


def compiled(function: Callable) -> Callable:
  """`function` compiled by numba; from the disk where it was before, if there is a folder to keep it in."""
  try:
    return numba.njit(cache=True, nogil=True)(function)
  except RuntimeError:
    return numba.njit(nogil=True)(function)
