"""`--shard=i/n`: work divided between hosts that share a folder and nothing else."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from data_pipelines.errors import InputError

T = TypeVar('T')


class WorkShard(NamedTuple):
  """The `number`-th of `total` equal shares, counted from 1."""

  number: int
  total: int

  def of(self, items: Sequence[T]) -> Sequence[T]:
    """Every `total`-th of the items, from the `number`-th on."""
    return items[self.number - 1 :: self.total]


WHOLE = WorkShard(1, 1)


def parse(text: str | None) -> WorkShard:
  """'i/n' with 1 <= i <= n, e.g. '1/4'; None is all of the work.

  Raises:
    InputError: anything else.
  """
  if text is None:
    return WHOLE
  number, _, count = text.partition('/')
  if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
    return WorkShard(int(number), int(count))
  raise InputError(f'--shard={text} is not a shard: use i/n with i from 1 to n, e.g. 1/4')
