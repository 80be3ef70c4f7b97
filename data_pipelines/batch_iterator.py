"""The batches of a stream, one after another, as NumPy arrays; damaged files in clear words, and a clean end."""

import atexit
import contextlib
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from data_pipelines.errors import InputError

_MARK = 'InputError: '  # how TensorFlow quotes an exception of ours


def iterate(dataset: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
  """The batches as NumPy arrays; damaged files raise an `InputError` that names them."""
  batches = _batches(dataset)
  _running.add(batches)
  return batches


def _batches(dataset: tf.data.Dataset) -> Generator[dict[str, np.ndarray], None, None]:
  batches = dataset.as_numpy_iterator()
  while True:
    try:
      batch = next(batches)
    except StopIteration:
      return
    except tf.errors.OpError as error:
      if _MARK in error.message:
        raise InputError(error.message.split(_MARK, 1)[1].split('\n', 1)[0].strip()) from error
      reason = error.message.split('\n', 1)[0]
      raise InputError(f'A record could not be decoded, convert the data again ({reason}).') from error
    yield batch


# A pipeline that is let go waits for its threads. Once the interpreter ends they cannot enter it any more: a process
# that an error ends, whose traceback holds a pipeline until then, would wait for ever.
_running: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()


@atexit.register
def _close_running() -> None:
  for batches in list(_running):
    with contextlib.suppress(ValueError):  # another thread waits for its next batch
      batches.close()
