"""Lists the clips of GRID, in the layouts in which the corpus is found on people's disks."""

import pathlib
import re

from data_pipelines import clip_source
from data_pipelines.errors import InputError

VIDEO_SUFFIXES = ('.mpg', '.mpeg', '.mp4', '.avi')
ALIGNMENT_UNITS_PER_SECOND = 25_000
# The corpus writes silence and short pauses as words.
PAUSES = ('sil', 'sp')

_SPEAKER = re.compile(r'(?:grid[_-]?)?(s\d+)', re.IGNORECASE)


def list_clips(source: str) -> list[clip_source.ClipSource]:
  """Clips under `source`, sorted by speaker and name.

  Any of `s1/video/*.mpg`, `s1/video/mpg_6000/*.mpg`, `s1/*.mpg` below `source` is understood, and the
  same with `source` itself being the speaker's folder (`.../s1` or `.../grid_s1`). Word times
  (`*.align`) may lie anywhere below `source` as long as they are in their speaker's folder, or there
  is one speaker only; a clip whose word times cannot be read is left out. If a clip is there more than once, the
  largest file is taken.

  With several speakers a tenth of the speakers is held out, with one a tenth of the clips.

  Raises:
    InputError: `source` is no folder, or holds no video.
  """
  root = pathlib.Path(source)
  if not root.is_dir():
    raise InputError(f'{source} is not a folder: give the folder that holds the GRID corpus (s1/, s2/, ... or video/).')
  videos: dict[tuple[str, str], pathlib.Path] = {}
  alignments: dict[tuple[str, str], pathlib.Path] = {}
  for path in sorted(root.rglob('*')):
    key = (_speaker(path, root), path.stem)
    if path.suffix.lower() in VIDEO_SUFFIXES and not (path.is_dir() and any(path.iterdir())):
      if key not in videos or _size(path) > _size(videos[key]):
        videos[key] = path  # or what is called like one: the report will say what it is
    elif path.suffix == '.align':
      alignments[key] = path
  if not videos:
    raise InputError(f'{source} holds no GRID video: expected files such as s1/video/bbaf2n.mpg or video/bbaf2n.mpg.')

  speakers = {speaker for speaker, _ in videos}
  if len(speakers) == 1:
    # `s1.align.zip` is often unpacked beside the speaker's folder, not into it.
    alignments = {(next(iter(speakers)), stem): path for (_, stem), path in alignments.items()}
    held_out = clip_source.tenth(stem for _, stem in videos)
  else:
    held_out = clip_source.tenth(speakers)
  clips = []
  for (speaker, stem), path in sorted(videos.items()):
    words: tuple[str, ...] = ()
    starts: tuple[float, ...] = ()
    ends: tuple[float, ...] = ()
    problem = None
    if (speaker, stem) in alignments:
      try:
        words, starts, ends = read_alignment(alignments[speaker, stem])
      except InputError as error:
        problem = ('metadata damaged', str(error))
    validation = (stem if len(speakers) == 1 else speaker) in held_out
    clips.append(
      clip_source.ClipSource(
        clip_id=f'{speaker}_{clip_source.safe_name(stem)}',
        speaker=speaker,
        split=clip_source.VALIDATION if validation else clip_source.TRAIN,
        path=str(path),
        words=words,
        starts=starts,
        ends=ends,
        problem=problem,
      )
    )
  return clips


def read_alignment(path: pathlib.Path) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
  """Words, their starts and their ends in seconds, without the pauses, of one `.align` file.

  Raises:
    InputError: the file cannot be read, or a line is not "start end word".
  """
  words, starts, ends = [], [], []
  try:
    lines = path.read_text(errors='replace').splitlines()
  except OSError as error:
    raise InputError(f'{path} cannot be read ({error.strerror}): repair or remove it.') from error
  for number, line in enumerate(lines, 1):
    fields = line.split()
    if not fields:
      continue
    if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
      raise InputError(f'{path}, line {number}: expected "start end word", found {line!r}: repair or remove the file.')
    if fields[2].lower() not in PAUSES:
      words.append(fields[2])
      starts.append(int(fields[0]) / ALIGNMENT_UNITS_PER_SECOND)
      ends.append(int(fields[1]) / ALIGNMENT_UNITS_PER_SECOND)
  return tuple(words), tuple(starts), tuple(ends)


def _size(path: pathlib.Path) -> int:
  try:
    return path.stat().st_size
  except OSError:
    return -1


def _speaker(path: pathlib.Path, root: pathlib.Path) -> str:
  """The nearest folder above `path` that is called like a speaker; else the source folder's own name."""
  for name in [*reversed(path.relative_to(root).parts[:-1]), root.resolve().name]:
    match = _SPEAKER.fullmatch(name)
    if match:
      return match.group(1).lower()
  return clip_source.safe_name(root.resolve().name)
