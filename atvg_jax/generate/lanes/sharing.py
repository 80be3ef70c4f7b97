"""Which process makes what, and in which order: longest first, so that nobody draws a long clip at the end alone."""

import heapq
from collections.abc import Sequence
from concurrent import futures

import av

from atvg_jax.generate.video_maker import Job
from data_pipelines import work_shards
from data_pipelines.errors import InputError
from data_pipelines.media import audio

_THREADS = 16  # what is waited for is the disk


def lengths(jobs: Sequence[Job | None]) -> list[float]:
  """How long the videos will be, about, in seconds, by what their files say of themselves; 0 where they do not."""
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    return list(pool.map(_length, jobs))


def _length(job: Job | None) -> float:
  path = job and (job.driving or job.audio)
  if not path:
    return 0.0
  try:
    with audio.open_media(path) as container:
      return max(0.0, (container.duration or 0) / av.time_base)
  except InputError:  # said when it is made
    return 0.0


def shares(lengths: Sequence[float], processes: int) -> list[list[int]]:
  """The numbers of the items that each of several processes makes, longest first.

  The longest item that is left goes to the process that has the least (Graham 1969), the same in all processes.
  """
  loads = [(0.0, place) for place in range(processes)]
  shared: list[list[int]] = [[] for _ in loads]
  for number in longest_first(lengths):
    load, place = heapq.heappop(loads)
    shared[place].append(number)
    # Each costs something, however short: without, all that say no length would be one process's.
    heapq.heappush(loads, (load + lengths[number] + 1, place))
  return shared


def order(lengths: Sequence[float], process: work_shards.WorkShard) -> list[int]:
  """The numbers of all items in the order in which one of several processes takes them: its share, then the others'.

  Of those it takes last what they take first, for that is under way.
  """
  mine = shares(lengths, process.total)[process.number - 1]
  taken = set(mine)
  return mine + [number for number in reversed(longest_first(lengths)) if number not in taken]


def longest_first(lengths: Sequence[float]) -> list[int]:
  """The numbers of the items, equal ones in their order."""
  return sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
