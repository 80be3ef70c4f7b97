"""Many videos at a time, in lanes on all devices; killed and started again it goes on.

A video that is there is finished, since it gets its name when it is whole: it is skipped. What fails is reported, and
the rest goes on. Any number of processes may work on the same list and folder: what one is making, the others leave to
it (`lanes.claims`). `--distributed` gives each its share, and `--shard i/n` every n-th item, so that hosts that do not
see each other's locks share the work and none makes what another does.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from atvg_jax.generate import dubbing, side_outputs
from atvg_jax.generate.lanes import sharing
from atvg_jax.generate.lanes.claims import Claims
from atvg_jax.generate.lanes.item_threads import spread
from atvg_jax.generate.lanes.lanes import Lanes
from atvg_jax.generate.lanes.usage import Shares
from atvg_jax.generate.manifest import Item, from_folders, from_manifest
from atvg_jax.generate.video_maker import PIPE, VideoMaker
from atvg_jax.runtime import parallel
from data_pipelines import atomic_files, work_shards
from data_pipelines.conversion import beam_engine
from data_pipelines.errors import InputError

__all__ = ['Item', 'Row', 'from_folders', 'from_manifest', 'make', 'make_all', 'run', 'table']

_PART = 32  # videos that a Beam worker makes at a time, once it has loaded the nets
_POLL = 0.3  # seconds between looks at what another process is making


class Row(NamedTuple):
  """What became of an item."""

  output: str
  status: str  # 'made', 'skipped' or 'failed'
  frames: int = 0
  seconds: float = 0.0
  frames_per_second: float = 0.0
  reason: str = ''


class Made(NamedTuple):
  """What became of a list of items, and what the time went into, where there was anything to make."""

  rows: list[Row]
  shares: Shares | None


def make_all(items: Sequence[Item], out: str, **options: Any) -> None:
  """The command: `run`, and its table; raises InputError where an item failed, after all the others were made.

  Args:
    items: what to make.
    out: folder for the videos.
    **options: of `run`.
  """
  made = _run(items, out, **options)
  print(table(*made))
  if failed := sum(row.status == 'failed' for row in made.rows):
    raise InputError(f'{failed} of {len(made.rows)} videos could not be made: the table says why')


def run(items: Sequence[Item], out: str, **options: Any) -> list[Row]:
  """Makes every video that is not there yet.

  Beside the videos lies `summary.json` (`summary-i-of-n.json` of a shard, or of the i-th of several processes): a list
  of `Row`s as objects.

  Args:
    items: what to make; see `from_manifest` and `from_folders`.
    out: folder for the videos; made where there is none.
    **options: `weights`, see `generate_video`; `shard`, 'i/n', 1 <= i <= n: only the items i, i + n, ...;
      `distributed`: this process is one of several that JAX finds by their environment: it makes its share first, and
      then helps the others; `lanes`: clips that a device draws at a time; `beam_runner` and `beam_options`: make
      parts of the list by Apache Beam instead, on machines that see the files under the same names.

  Returns:
    A row for each item, or each of the shard.
  """
  return _run(items, out, **options).rows


def _run(
  items: Sequence[Item],
  out: str,
  *,
  weights: Sequence[str] | None = None,
  shard: str | None = None,
  distributed: bool = False,
  lanes: int | None = None,
  beam_runner: str | None = None,
  beam_options: Sequence[str] = (),
) -> Made:
  share, process = work_shards.parse(shard), work_shards.WHOLE
  if distributed:
    if share != work_shards.WHOLE:
      raise InputError('--distributed shares the work by itself: leave --shard out')
    process = work_shards.WorkShard(*parallel.place_among_processes())
  if out == PIPE:
    raise InputError('many videos cannot go to standard output: give --out a folder')
  try:
    os.makedirs(out, exist_ok=True)
  except (OSError, ValueError) as error:
    raise InputError(f'{out} cannot be the folder of the videos ({getattr(error, "strerror", error)})') from error
  named = process if distributed else share
  name = 'summary.json' if named == work_shards.WHOLE else f'summary-{named.number}-of-{named.total}.json'
  rows: list[Row] = []
  try:
    if beam_runner is not None:
      rows += on_beam(share.of(items), out, weights, lanes, beam_runner, beam_options)
      return Made(rows, None)
    return make(share.of(items), out, weights=weights, process=process, lanes=lanes, rows=rows)
  finally:
    with atomic_files.atomic_write(os.path.join(out, name)) as file:
      file.write(json.dumps([row._asdict() for row in rows if row.status], indent=1) + '\n')


def make(
  items: Sequence[Item],
  out: str,
  *,
  weights: Sequence[str] | None = None,
  maker: VideoMaker | None = None,
  process: work_shards.WorkShard = work_shards.WHOLE,
  lanes: int | None = None,
  rows: list[Row] | None = None,
) -> Made:
  """Makes every video of a folder that is not there yet; shows progress on standard error.

  Args:
    items: what to make.
    out: the folder, which exists.
    weights: see `generate_video`.
    maker: instead of one with these weights.
    process: which of several this one is: it makes its share first, and then helps the others.
    lanes: clips that a device draws at a time.
    rows: filled in meanwhile, for who wants to know them where this raises; of items that are not done the status is
      empty.
  """
  rows = [] if rows is None else rows
  rows[:] = [_at_once(item) for item in items]
  left = [number for number, row in enumerate(rows) if not row.status]
  with tqdm(total=len(items), initial=len(items) - len(left), unit='video', dynamic_ncols=True) as progress:

    def note(number: int, row: Row) -> None:
      rows[number] = row
      progress.update()
      progress.set_description(row.output[-40:])
      if row.status == 'failed':
        tqdm.write(f'atvg: {row.output}: {row.reason}', file=sys.stderr)

    for row in rows:
      if row.status == 'failed':
        tqdm.write(f'atvg: {row.output}: {row.reason}', file=sys.stderr)
    if not left:
      return Made(rows, None)
    maker = maker or VideoMaker(weights)
    with Lanes(maker.generator, lanes) as drawer:
      if drawer.num_lanes * process.total > 1:
        lengths = sharing.lengths([items[number].job for number in left])
        left = [left[place] for place in sharing.order(lengths, process)]
      claims = Claims(out)
      taken: list[int] = []
      for number, made in _made(maker, drawer, claims, items, left, wait=False):
        taken.append(number) if made is None else note(number, made)
      for number, made in _made(maker, drawer, claims, items, taken, wait=True):
        assert made is not None
        note(number, made)
      claims.tidy()
      return Made(rows, drawer.usage.summary())


class _Part(NamedTuple):
  """Part of a list, which a Beam worker makes."""

  items: list[Item]
  out: str
  weights: Sequence[str] | None
  lanes: int | None
  rows: str  # the file for them


def on_beam(
  items: Sequence[Item],
  out: str,
  weights: Sequence[str] | None,
  lanes: int | None,
  runner: str,
  options: Sequence[str] = (),
) -> list[Row]:
  """`make` by Apache Beam, see `beam_engine.run`."""
  beam_engine.require()
  folder = os.path.join(out, '.parts')
  shutil.rmtree(folder, ignore_errors=True)
  os.makedirs(folder)
  lengths = sharing.lengths([item.job for item in items])
  numbers = sharing.shares(lengths, -(-len(items) // _PART))
  parts = [
    _Part([items[number] for number in part], out, weights, lanes, os.path.join(folder, f'{place}.json'))
    for place, part in enumerate(numbers)
  ]
  progress = tqdm(total=len(parts), unit='part', dynamic_ncols=True)
  with progress, beam_engine.watched([part.rows for part in parts], progress.update):
    beam_engine.run(make_part, parts, runner, options)
  rows: dict[int, Row] = {}
  for part, of_part in zip(parts, numbers, strict=True):
    with open(part.rows, encoding='utf-8') as file:
      rows |= {number: Row(**row) for number, row in zip(of_part, json.load(file), strict=True)}
  shutil.rmtree(folder)
  return [rows[number] for number in range(len(items))]


def make_part(part: _Part) -> None:
  """What a Beam worker does."""
  rows = make(part.items, part.out, weights=part.weights, lanes=part.lanes).rows
  with atomic_files.atomic_write(part.rows) as file:
    json.dump([row._asdict() for row in rows], file)


def _at_once(item: Item) -> Row:
  """What needs no nets; an empty status where the item is to be made."""
  if item.job is None:
    return Row(item.output, 'failed', reason=item.reason)
  return Row(item.output, 'skipped' if os.path.exists(item.job.out) else '')


def _made(
  maker: VideoMaker, drawer: Lanes, claims: Claims, items: Sequence[Item], numbers: Sequence[int], *, wait: bool
) -> Iterator[tuple[int, Row | None]]:
  """(number, row) of these items as they are done; without `wait`, None for those that others are making."""

  def work(number: int) -> Row | None:
    item = items[number]
    while True:
      try:
        with claims.on(item.output) as mine:
          if mine:
            return _row(maker, drawer, item)
      except OSError as error:  # of the claim: `_row` raises none
        return Row(item.output, 'failed', reason=f'the folder cannot be written ({error.strerror}): make room in it')
      if not wait:
        return None
      drawer.check()
      time.sleep(_POLL)

  for place, row in spread(work, numbers, drawer.num_threads, drawer.stop):
    yield numbers[place], row


def _row(maker: VideoMaker, drawer: Lanes, item: Item) -> Row:
  """Makes an item's video unless it is there; what fails is a row too."""
  assert item.job is not None
  if os.path.exists(item.job.out):
    return Row(item.output, 'skipped')
  try:
    return _make(maker, drawer, item)
  except InputError as error:
    drawer.check()  # of all lanes, not of this item alone
    return Row(item.output, 'failed', reason=str(error))
  except Exception as error:  # an unforeseen failure of one video must not end the others
    drawer.check()
    return Row(item.output, 'failed', reason=f'{type(error).__name__}: {error}')


def _make(maker: VideoMaker, drawer: Lanes, item: Item) -> Row:
  assert item.job is not None
  try:
    os.makedirs(os.path.dirname(item.job.out), exist_ok=True)
    for path in (item.job.out, *side_outputs.paths(item.job.out, item.job.save)):
      atomic_files.remove_leftovers(path)
  except (OSError, ValueError) as error:
    raise InputError(f'no folder can be made for {item.output}: {error}') from error
  start = time.perf_counter()
  # To follow the face of a video takes long: no lane waits for that.
  with drawer.at_work(opens_clip=not dubbing.is_video(item.job.image)):
    result = maker.make(item.job, progress=False, drawer=drawer)
  seconds = time.perf_counter() - start
  return Row(item.output, 'made', result.num_frames, round(seconds, 3), round(result.num_frames / seconds, 1))


def table(rows: Sequence[Row], shares: Shares | None = None) -> str:
  """What was made, skipped and failed, as a table and a last line, and with shares what the time went into."""
  width = max([len(row.output) for row in rows] + [6])
  lines = [f'{"output":{width}}  status   frames  frames/s']
  for row in rows:
    numbers = f'{row.frames:6d}  {row.frames_per_second:8.1f}' if row.status == 'made' else row.reason
    lines.append(f'{row.output:{width}}  {row.status:7}  {numbers}'.rstrip())
  made = [row for row in rows if row.status == 'made']
  frames = sum(row.frames for row in made)
  seconds = sum(row.seconds for row in made) if shares is None else shares.seconds
  counts = {status: sum(row.status == status for row in rows) for status in ('made', 'skipped', 'failed')}
  speed = f', {frames / seconds:.1f} frames/s' if made else ''
  lines.append(', '.join(f'{count} {status}' for status, count in counts.items()) + f'; {frames} frames{speed}')
  if shares is not None and made:
    lines.append(shares.sentence())
  return '\n'.join(lines)
