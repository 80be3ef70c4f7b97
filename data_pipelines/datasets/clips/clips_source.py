"""Lists the videos of a folder of one's own, in parts of a minute that are cut into clips later."""

import csv
import dataclasses
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from data_pipelines import clip_source, features, text_tables
from data_pipelines.clip_source import VideoPart
from data_pipelines.conversion import convert_clip, cut_video, video_part
from data_pipelines.errors import InputError

TABLE = 'speakers.csv'
VIDEO_SUFFIXES = (
  '.mp4',
  '.m4v',
  '.mov',
  '.mkv',
  '.webm',
  '.avi',
  '.mpg',
  '.mpeg',
  '.m2v',
  '.vob',
  '.ts',
  '.mts',
  '.m2ts',
  '.wmv',
  '.asf',
  '.flv',
  '.f4v',
  '.3gp',
  '.3g2',
  '.ogv',
  '.mxf',
  '.divx',
)
# How files of moving pictures begin: (offset, bytes).
_MAGIC = (
  (4, b'ftyp'),
  (4, b'moov'),
  (0, b'\x1a\x45\xdf\xa3'),
  (8, b'AVI '),
  (0, b'\x00\x00\x01\xba'),
  (0, b'\x00\x00\x01\xb3'),
  (0, b'FLV\x01'),
  (0, b'\x30\x26\xb2\x75\x8e\x66\xcf\x11'),
)
_SOUND_BRANDS = (b'M4A ', b'M4B ')
_SMALL = 300_000  # bytes: shorter files are one part, and are not opened to learn their length
_LEAST_HELD_OUT = 2 * features.FPS  # frames of a single video, or a third of it
_AS_IT_IS = 1e-4  # seconds: two samples. Of a sound that is not advanced at all every part is measured by itself
_MAX_NAME = 80  # bytes of a clip's name that come from its file's name


class _Row(NamedTuple):
  """A line of speakers.csv."""

  speaker: str
  split: str
  sound_advance: float


def list_clips(source: str, all_faces: bool = False) -> list[VideoPart]:
  """Parts of all videos below `source`, sorted by path and time.

  The speaker is the first folder below `source`; or what `speakers.csv` in `source` says (columns path and speaker,
  and if wanted split and sound_advance, in seconds). Links are followed. Files that are neither named nor begin like
  a video are passed over; everything else is listed, so that the report accounts for it.

  Split by speaker: those that `speakers.csv` says, else a tenth of the speakers is held out. With one speaker a tenth
  of the files is, and of one file the last tenth, or its last two seconds if it is short.

  Args:
    source: a folder, or one video.
    all_faces: keep every face, not only the largest of those seen at a time.

  Raises:
    InputError: `source` does not exist or holds no video; or `speakers.csv` is no such table, or puts a speaker into
      two splits.
  """
  root = pathlib.Path(source)
  if root.is_file():
    root, paths = root.parent, [root]
    table = None
  elif root.is_dir():
    paths = _videos(root)
    table = _read_table(root / TABLE) if (root / TABLE).is_file() else None
  else:
    raise InputError(f'{source} does not exist: give a folder of videos, or one video.')
  if table is not None:
    listed = {_key(path, root) for path in paths}
    paths += [root / name for name in table if name not in listed]  # so that the report says they are missing
  if not paths:
    raise InputError(
      f'{source} holds no video: expected one folder for each speaker, with files such as anna/interview.mp4.'
    )
  rows = {path: _row(path, root, table) for path in sorted(paths)}
  speakers = {row.speaker for row in rows.values() if row.speaker}
  by_speaker = len(speakers) > 1 or any(row.split for row in rows.values())
  given_splits = {row.speaker: row.split for row in rows.values() if row.split}
  if given_splits:
    held_out: frozenset[str] = frozenset()
  elif by_speaker:
    held_out = clip_source.held_out_speakers(speakers)
  else:
    held_out = clip_source.tenth(map(str, rows)) if len(rows) > 1 else frozenset()
  parts: list[VideoPart] = []
  names: set[str] = set()
  seen: dict[str, pathlib.Path] = {}
  for path, row in rows.items():
    split = given_splits.get(row.speaker) or (
      clip_source.VALIDATION if (row.speaker if by_speaker else str(path)) in held_out else clip_source.TRAIN
    )
    name = _unique(f'{clip_source.safe_name(row.speaker) or "unknown"}_{_name(path, root, row.speaker)}', path, names)
    part = VideoPart(name, row.speaker, split, str(path), row.sound_advance, all_faces=all_faces)
    real = os.path.realpath(path)
    if seen.setdefault(real, path) != path and path.is_file():
      problem = ('duplicate', f'{path} is the same file as {seen[real]}')
      parts.append(dataclasses.replace(part, problem=problem))
    else:
      parts += _in_parts(part)
  if not by_speaker and len(rows) == len(parts) == 1:
    return _last_held_out(parts[0])
  if not by_speaker and len(rows) == 1:
    last = len(parts) - max(1, len(parts) // 10)
    parts[last:] = [dataclasses.replace(part, split=clip_source.VALIDATION) for part in parts[last:]]
  return parts


def list_person(paths: Sequence[str | os.PathLike], sound_advance: Sequence[float]) -> list[VideoPart]:
  """Parts of videos of one person; the last tenth of the time is for validation, two seconds at least or a third.

  Args:
    paths: the videos, in the order of time.
    sound_advance: of each, see `ClipSource`; no part's sound is measured by itself, where that is 0 either.

  Raises:
    InputError: a video does not exist, cannot be read, is given twice, or they are too short to hold anything out.
  """
  videos, names = [pathlib.Path(path) for path in paths], set[str]()
  for path in videos:
    if not path.is_file():
      raise InputError(f'{path} is no file: give videos of one person.')
  if len({os.path.realpath(path) for path in videos}) < len(videos):
    raise InputError('The same video is given twice: give each once.')
  lengths = [_num_frames(path) for path in videos]
  total = sum(lengths)
  held_out = _held_out(total)
  if held_out < convert_clip.MIN_FRAMES:
    raise InputError(f'{total / features.FPS:.1f} seconds of video are too short to hold any of it out for a score.')
  parts: list[VideoPart] = []
  begin = 0  # of a video, in the time of all
  for path, frames, advance in zip(videos, lengths, sound_advance, strict=True):
    name = _unique(f'person_{_name(path, path.parent, "")}', path, names)
    video = VideoPart(name, 'person', clip_source.TRAIN, str(path), advance or _AS_IT_IS)
    cut = _without_scraps(total - held_out - begin, frames)
    firsts = sorted({*range(0, max(1, cut - convert_clip.MIN_FRAMES), cut_video.PART_FRAMES), cut} - {frames})
    for first, end in zip(firsts, [*firsts[1:], None], strict=True):
      split = clip_source.VALIDATION if first >= cut else clip_source.TRAIN
      parts.append(dataclasses.replace(video, first=first, end=end, split=split))
    begin += frames
  return parts


def _without_scraps(cut: int, frames: int) -> int:
  """Where to cut a video of so many frames, so that no side of the cut is too short for a clip."""
  least = min(features.FPS, frames // 2)
  if cut < least:
    return 0
  return frames if frames - cut < least else cut


def _num_frames(path: pathlib.Path) -> int:
  """Frames of 1/25 s: what the file says of its length, or, where it says nothing, what can be decoded."""
  seconds = video_part.probe(path).seconds
  if seconds is None:
    return sum(1 for _ in video_part.frames(path))
  return round(seconds * features.FPS)


def _held_out(frames: int) -> int:
  """How many of so many frames are for validation: a tenth, or so much that something can be seen in it."""
  return max(frames // 10, min(_LEAST_HELD_OUT, frames // 3))


def _last_held_out(part: VideoPart) -> list[VideoPart]:
  """A short video in two parts, the last for validation."""
  try:
    frames = round((video_part.probe(part.path).seconds or 0) * features.FPS)
  except (InputError, OSError):
    return [part]
  held_out = _held_out(frames)
  if held_out < convert_clip.MIN_FRAMES:
    return [part]
  cut = frames - held_out
  return [
    dataclasses.replace(part, end=cut),
    dataclasses.replace(part, first=cut, split=clip_source.VALIDATION),
  ]


def _in_parts(part: VideoPart) -> list[VideoPart]:
  """The video in parts of `cut_video.PART_FRAMES`; the last is the rest, whatever the file says of its length."""
  try:
    if os.path.getsize(part.path) < _SMALL:
      return [part]
    seconds = video_part.probe(part.path).seconds
  except (InputError, OSError):
    return [part]  # whoever converts it will find out why
  count = max(1, round((seconds or 0) * features.FPS / cut_video.PART_FRAMES))
  firsts = [i * cut_video.PART_FRAMES for i in range(count)]
  return [dataclasses.replace(part, first=first, end=end) for first, end in zip(firsts, [*firsts[1:], None])]


def _videos(root: pathlib.Path) -> list[pathlib.Path]:
  """Every video below `root`, and what is called like one."""
  found, visited = [], set()
  for folder, folders, files in os.walk(root, followlinks=True):
    real = os.path.realpath(folder)
    if real in visited:  # a link to a folder above
      folders.clear()
      continue
    visited.add(real)
    folders[:] = [name for name in folders if not name.startswith('.')]
    here = [pathlib.Path(folder, name) for name in files if not name.startswith('.')]
    found += [path for path in here if _is_video(path)]
    # A folder that is called like a video and is empty is somebody's mistake.
    found += [
      pathlib.Path(folder, name)
      for name in folders
      if name.lower().endswith(VIDEO_SUFFIXES) and not any(pathlib.Path(folder, name).iterdir())
    ]
  return found


def _is_video(path: pathlib.Path) -> bool:
  if path.suffix.lower() in VIDEO_SUFFIXES:
    return True
  if not path.is_file():
    return False
  try:
    with path.open('rb') as file:
      head = file.read(16)
  except OSError:
    return False
  return any(head[at : at + len(magic)] == magic for at, magic in _MAGIC) and head[8:12] not in _SOUND_BRANDS


def _read_table(path: pathlib.Path) -> dict[str, _Row]:
  """Path, as `_key` writes it → line."""
  table: dict[str, _Row] = {}
  splits: dict[str, str] = {}
  lines = text_tables.read_lines(path)
  sign = text_tables.separator(lines[0] if lines else '', ('path', 'speaker', 'split', 'sound_advance'))
  reader = csv.DictReader(lines, delimiter=sign)
  if not {'path', 'speaker'} <= set(reader.fieldnames or ()):
    raise InputError(
      f'{path} has the columns {reader.fieldnames}: expected path,speaker and if wanted split,sound_advance.'
    )
  for number, line in enumerate(reader, 2):
    name, speaker, split = ((line.get(column) or '').strip() for column in ('path', 'speaker', 'split'))
    if not name:
      continue
    if split and split not in clip_source.SPLITS:
      raise InputError(f'{path}, line {number}: there is no split {split!r}, use {", ".join(clip_source.SPLITS)}.')
    if split and splits.setdefault(speaker, split) != split:
      raise InputError(
        f'{path}, line {number}: the speaker {speaker} is in {splits[speaker]} and in {split}; the split '
        'is by speaker, so put all videos of a speaker into one.'
      )
    try:
      advance = float(line.get('sound_advance') or 0)
    except ValueError:
      raise InputError(
        f'{path}, line {number}: sound_advance is {line["sound_advance"]!r}, where seconds are needed.'
      ) from None
    table[unicodedata.normalize('NFC', os.path.normpath(name))] = _Row(speaker, split, advance)
  return table


def _row(path: pathlib.Path, root: pathlib.Path, table: dict[str, _Row] | None) -> _Row:
  """What is known of a file; an empty speaker if `speakers.csv` is there and does not name it."""
  if table is not None:
    return table.get(_key(path, root), _Row('', '', 0.0))
  folders = path.relative_to(root).parts[:-1]
  return _Row(_shown(folders[0] if folders else root.resolve().name), '', 0.0)


def _key(path: pathlib.Path, root: pathlib.Path) -> str:
  return unicodedata.normalize('NFC', os.path.normpath(path.relative_to(root)))


def _name(path: pathlib.Path, root: pathlib.Path, speaker: str) -> str:
  """A clip's name from its file's."""
  parts = path.relative_to(root).with_suffix('').parts
  return clip_source.safe_name(_shown('-'.join(parts[1:] if len(parts) > 1 and _shown(parts[0]) == speaker else parts)))


def _unique(name: str, path: pathlib.Path, names: set[str]) -> str:
  """`name`, with a mark made of the path where it is taken or too long for a file's name."""
  encoded = name.encode()
  if len(encoded) > _MAX_NAME or name in names:
    mark = hashlib.sha256(os.fsencode(path.name) + os.fsencode(path)).hexdigest()[:8]
    name = f'{encoded[:_MAX_NAME].decode(errors="ignore")}-{mark}'
  names.add(name)
  return name


def _shown(text: str) -> str:
  """Without the bytes of a file's name that are no UTF-8."""
  return text.encode(errors='replace').decode()
