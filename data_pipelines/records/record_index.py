"""Where every record of a split lies, how long its clip is, and a checksum: for reading in any order.

TFRecord files can be read from any offset, but do not say where records begin. `atvg prepare` writes one
index a split; for a data set built by `tfds build` alone it is made when first needed.
"""

import json
import os
import pathlib
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines import clip_source, features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError

_HEADER = struct.Struct('<QI')  # length of the record, checksum of the length
_FOOTER = 4  # checksum of the record
_SHARD_NAME = re.compile(r'.+-(?P<split>[^-]+)\.tfrecord-(?P<shard>\d{5})-of-(?P<count>\d{5})')


class NoSplitError(InputError):
  """A data set is there, but too small or made without such a split."""


class RecordIndex(NamedTuple):
  """The N records of a split, in the order of the files."""

  folder: pathlib.Path
  shards: tuple[str, ...]  # file names
  shard: np.ndarray  # int32 [N]: index into `shards`
  offset: np.ndarray  # int64 [N]: of the record's first byte
  size: np.ndarray  # int64 [N]
  checksum: np.ndarray  # uint32 [N]: zlib.crc32 of the record
  num_frames: np.ndarray  # int32 [N]
  clip_id: np.ndarray  # str [N]
  speaker: np.ndarray  # str [N]

  def __len__(self) -> int:
    return len(self.shard)

  def read(self, i: int, check: bool = True) -> bytes:
    """The bytes of record `i`.

    Raises:
      InputError: the shard is gone, or torn at this place.
    """
    path = self.folder / self.shards[self.shard[i]]
    try:
      with path.open('rb') as file:
        file.seek(self.offset[i])
        content = file.read(self.size[i])
    except OSError as error:
      raise InputError(f'{path} cannot be read ({error.strerror}): restore it or run `atvg prepare` again.') from error
    if len(content) != self.size[i] or (check and zlib.crc32(content) != self.checksum[i]):
      raise _torn(path, i, self.clip_id[i])
    return content

  def first_torn(self, shard: int) -> str:
    """The clip of the first record of a shard that is not what it was; the last one's if it is only the end."""
    records = np.flatnonzero(self.shard == shard)
    for i in records.tolist():
      try:
        self.read(i)
      except InputError:
        break
    return str(self.clip_id[i])


def file_name(split: str) -> str:
  """The index of a split, in its data set's folder."""
  return f'index-{split}.npz'


def shards(folder: str | os.PathLike, split: str) -> list[pathlib.Path]:
  """The split's TFRecord files, sorted; empty if there is no such split.

  Raises:
    InputError: some of them are missing.
  """
  found = {}
  for path in pathlib.Path(folder).iterdir():
    match = _SHARD_NAME.fullmatch(path.name)
    if match and match['split'] == split:
      found[int(match['shard'])] = path
      count = int(match['count'])
  if found and sorted(found) != list(range(count)):
    raise InputError(
      f'{folder} has {len(found)} of {count} files of the split {split}: restore them or run `atvg prepare` again.'
    )
  return [found[shard] for shard in sorted(found)]


def build(folder: str | os.PathLike, split: str) -> RecordIndex:
  """Reads all records of a split once.

  Raises:
    InputError: a shard is torn.
  """
  import tensorflow as tf

  paths = shards(folder, split)
  rows, ids, speakers = [], [], []
  for shard, path in enumerate(paths):
    for number, (offset, content) in enumerate(_scan(path)):
      try:
        record = tf.train.Example.FromString(content).features.feature
      except Exception as error:  # protobuf's own, whose home moves between versions
        raise _torn(path, number) from error
      rows.append((shard, offset, len(content), zlib.crc32(content), len(record[features.VIDEO].bytes_list.value)))
      ids.append(record[features.CLIP_ID].bytes_list.value[0].decode())
      speakers.append(record[features.SPEAKER].bytes_list.value[0].decode())
  columns = np.array(rows, np.int64).reshape(-1, 5).T
  return RecordIndex(
    pathlib.Path(folder),
    tuple(path.name for path in paths),
    columns[0].astype(np.int32),
    columns[1],
    columns[2],
    columns[3].astype(np.uint32),
    columns[4].astype(np.int32),
    np.array(ids, np.str_),
    np.array(speakers, np.str_),
  )


def save(index: RecordIndex, split: str) -> None:
  """Writes the index into its data set's folder."""
  arrays = {name: value for name, value in index._asdict().items() if name not in ('folder', 'shards')}
  with atomic_write(index.folder / file_name(split), 'wb') as file:
    np.savez(file, allow_pickle=False, shards=np.array(index.shards, np.str_), **arrays)


def find(folder: str | os.PathLike, split: str) -> list[pathlib.Path]:
  """The TFRecord files of a split of a converted data set.

  Raises:
    InputError: no data set, a half-converted one, missing files, or no such split (`NoSplitError`).
  """
  folder = pathlib.Path(folder)
  if not (folder / 'dataset_info.json').is_file():
    command = f'`atvg prepare clips|grid|lrw|lrw_ar --source DIR --out {folder}`'
    if pathlib.Path(f'{folder}.partial').is_dir() and not folder.exists():
      raise InputError(f'The conversion of {folder} has not finished: run the same `atvg prepare` command again.')
    what = 'is no converted data set (it has no dataset_info.json)' if folder.is_dir() else 'does not exist'
    raise InputError(f'{folder} {what}: convert the clips with {command} first.')
  paths = shards(folder, split)
  if not paths:
    splits = [entry['name'] for entry in json.loads((folder / 'dataset_info.json').read_text()).get('splits', [])]
    raise NoSplitError(f'{folder} has no split {split!r}: it has {", ".join(splits) or "none"}.')
  return paths


def load(folder: str | os.PathLike, split: str) -> RecordIndex:
  """The index of a split of a converted data set.

  Raises:
    InputError: as `find`, or shards that do not fit the index.
  """
  folder = pathlib.Path(folder)
  paths = find(folder, split)
  path = folder / file_name(split)
  if not path.is_file():
    return build(folder, split)
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    index = RecordIndex(folder=folder, **arrays | {'shards': tuple(map(str, arrays['shards']))})
  except Exception as error:  # whatever a damaged zip raises
    raise InputError(f'{path} is damaged: remove it, it will be made anew.') from error
  if index.shards != tuple(path.name for path in paths):
    raise InputError(f'{path} does not belong to the files beside it: remove it, it will be made anew.')
  for shard, shard_path in enumerate(paths):
    last = np.flatnonzero(index.shard == shard)
    expected = index.offset[last[-1]] + index.size[last[-1]] + _FOOTER if len(last) else 0
    if shard_path.stat().st_size != expected:
      what = f' at the record of {index.first_torn(shard)}' if len(last) else ''
      raise InputError(
        f'{shard_path} has {shard_path.stat().st_size} bytes instead of {expected}: it is torn{what}; '
        'restore it or run `atvg prepare` again.'
      )
  return index


def refuse_leaks(folders: Sequence[str | os.PathLike]) -> None:
  """Checks that no speaker of a data set is in two of its splits.

  Splits without an index file are passed over: reading all their records would take as long as reading the data.

  Raises:
    InputError: a speaker is.
  """
  for folder in map(pathlib.Path, folders):
    members: set[tuple[str, str]] = set()
    for path in sorted(folder.glob(file_name('*'))):
      split = path.name[len('index-') : -len('.npz')]
      members |= {(str(speaker), split) for speaker in set(load(folder, split).speaker)}
    leaked = clip_source.leaked_speakers(members)
    if leaked:
      raise InputError(
        f'{folder} has {len(leaked)} speakers in more than one split ({", ".join(leaked[:5])}): scores '
        'on it would be of faces known from training. Convert it again with `atvg prepare`.'
      )


def _scan(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  """Offset and content of every record of a TFRecord file."""
  end = path.stat().st_size
  with path.open('rb') as file:
    number = 0
    while (start := file.tell()) < end:
      header = file.read(_HEADER.size)
      if len(header) < _HEADER.size:
        raise _torn(path, number)
      size = _HEADER.unpack(header)[0]
      offset = start + _HEADER.size
      if offset + size + _FOOTER > end:
        raise _torn(path, number)
      content = file.read(size)
      file.seek(_FOOTER, os.SEEK_CUR)
      yield offset, content
      number += 1


def _torn(path: pathlib.Path, number: int, clip_id: str = '') -> InputError:
  clip = f' ({clip_id})' if clip_id else ''
  return InputError(f'{path} is torn at record {number}{clip}: restore the file or run `atvg prepare` again.')
