"""Which record an element of the endless training stream is: a pure function of the seed and its number.

No shuffle buffer and no state: a run that starts at step s sees what the uninterrupted run saw there.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import InputError

_PATTERN = 1024  # elements over which the weights are kept exactly


@dataclasses.dataclass(frozen=True)
class BatchShare:
  """The part of a stream of batches that one of several processes reads: as many elements of each as every other.

  Attributes:
    batch_size: elements of a batch of this process.
    process_index, process_count: which process, of how many.
  """

  batch_size: int
  process_index: int = 0
  process_count: int = 1

  def number(self, element: int) -> int:
    """The number, in the stream of all processes, of an element of this process' stream."""
    step, place = divmod(element, self.batch_size)
    return (step * self.process_count + self.process_index) * self.batch_size + place

  def batches(self, elements: int) -> int:
    """How many batches each process needs so that all together see so many elements."""
    return -(-elements // (self.batch_size * self.process_count))


class SamplePlan:
  """Epochs of shuffled records, of several sources mixed."""

  def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None, seed: int):
    """Plans the stream.

    Args:
      sizes: records of each source, at least one.
      weights: the sources' shares of the stream; None shuffles all records together, so that sources
        have shares in proportion to their sizes.
      seed: of everything.

    Raises:
      InputError: the weights do not fit the sources.
    """
    self._sizes = tuple(sizes)
    self._seed = seed
    if weights is None:
      self._quotas: tuple[int, ...] | None = None
      self._ends = np.cumsum(self._sizes)
      return
    if len(weights) != len(sizes):
      raise InputError(f'{len(weights)} weights for {len(sizes)} data sets: give one weight for each.')
    if min(weights) < 0 or sum(weights) <= 0:
      raise InputError(f'The weights {tuple(weights)} are no shares: give positive numbers.')
    shares = np.asarray(weights, np.float64) / sum(weights) * _PATTERN
    quotas = np.floor(shares).astype(int)
    # The largest remainders get what rounding down has left.
    quotas[np.argsort(quotas - shares, kind='stable')[: _PATTERN - quotas.sum()]] += 1
    self._quotas = tuple(quotas.tolist())

  @property
  def period(self) -> int:
    """How many elements show the sources with their shares, and of an unweighted stream every record once."""
    return int(self._ends[-1]) if self._quotas is None else _PATTERN

  def locate(self, n: int) -> tuple[int, int]:
    """Element `n` of the stream → (source, record)."""
    if self._quotas is None:
      record = self._draw(0, int(self._ends[-1]), n)
      source = int(np.searchsorted(self._ends, record, side='right'))
      return source, record - (int(self._ends[source - 1]) if source else 0)
    block, place = divmod(n, _PATTERN)
    pattern, ranks = _pattern(self._seed, block, self._quotas)
    source = int(pattern[place])
    return source, self._draw(1 + source, self._sizes[source], block * self._quotas[source] + int(ranks[place]))

  def _draw(self, stream: int, size: int, n: int) -> int:
    epoch, place = divmod(n, size)
    return int(_permutation(self._seed, stream, epoch, size)[place])


@functools.lru_cache(maxsize=64)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
  return np.random.default_rng((seed, 1, stream, epoch)).permutation(size)


@functools.lru_cache(maxsize=16)
def _pattern(seed: int, block: int, quotas: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
  """[1024] sources of a block's elements, and how many of the same source come before each in the block."""
  pattern = np.random.default_rng((seed, 2, block)).permutation(np.repeat(np.arange(len(quotas)), quotas))
  ranks = np.zeros(len(pattern), int)
  for source in range(len(quotas)):
    of_source = pattern == source
    ranks[of_source] = np.arange(of_source.sum())
  return pattern, ranks
