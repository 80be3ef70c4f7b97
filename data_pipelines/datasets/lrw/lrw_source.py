"""Lists the clips of LRW."""

import os
import pathlib
import re

from data_pipelines import clip_source, features
from data_pipelines.errors import InputError

# The corpus' folders, and what its splits are called here.
SPLIT_OF_FOLDER = {'train': clip_source.TRAIN, 'val': clip_source.VALIDATION, 'test': clip_source.TEST}
CLIP_SECONDS = 29 / features.FPS  # every clip of the corpus; its word is in the middle

_DURATION = re.compile(r'^\s*Duration\s*:\s*(\d+(?:\.\d*)?|\.\d+)\b', re.IGNORECASE | re.MULTILINE)


def list_clips(source: str) -> list[clip_source.ClipSource]:
  """Clips of `source`/WORD/{train,val,test}/WORD_00001.mp4, sorted by word, split and number.

  The splits are the corpus' own, by the date of the programme. It does not tell who speaks, so that nobody can say
  whether a speaker is in two of them: all are `clip_source.UNKNOWN_SPEAKER`.

  Each clip has its word, and the word's time by the `Duration` of the .txt beside it. Without that file the word has no
  time; with one that tells no duration the clip is left out. A .txt without its video is listed all the same, so
  that the report says what is missing.

  Args:
    source: the folder of the words (`lipread_mp4`), or the one above it.

  Raises:
    InputError: `source` is no folder, or holds no clip in this layout.
  """
  root = pathlib.Path(source)
  if not root.is_dir():
    raise InputError(f'{source} is not a folder: give the one that holds LRW (ABOUT/train/ABOUT_00001.mp4, ...).')
  if (root / 'lipread_mp4').is_dir():
    root = root / 'lipread_mp4'
  clips = [
    clip
    for word in sorted(path.name for path in root.iterdir() if path.is_dir())
    for folder in SPLIT_OF_FOLDER
    for clip in _clips(root, word, folder)
  ]
  if not clips:
    raise InputError(f'{source} holds no LRW clip: expected files such as ABOUT/train/ABOUT_00001.mp4.')
  return clips


def _clips(root: pathlib.Path, word: str, folder: str) -> list[clip_source.ClipSource]:
  place = root / word / folder
  try:
    names = {
      name for name in os.listdir(place) if name.startswith(f'{word}_')
    }  # half a million files: list, do not stat
  except (FileNotFoundError, NotADirectoryError):
    return []
  clips = []
  for stem in sorted({os.path.splitext(name)[0] for name in names if name.endswith(('.mp4', '.txt'))}):
    starts: tuple[float, ...] = ()
    ends: tuple[float, ...] = ()
    problem = None
    if f'{stem}.txt' in names:
      text = place / f'{stem}.txt'
      duration = read_duration(text)
      if duration is None:
        problem = ('metadata damaged', f'{text} has no "Duration: ... seconds": repair it, or remove it')
      else:
        half = min(duration, CLIP_SECONDS) / 2
        starts, ends = (round(CLIP_SECONDS / 2 - half, 4),), (round(CLIP_SECONDS / 2 + half, 4),)
    clips.append(
      clip_source.ClipSource(
        clip_id=f'{folder}_{clip_source.safe_name(stem)}',  # numbers begin anew in each split
        speaker=clip_source.UNKNOWN_SPEAKER,
        split=SPLIT_OF_FOLDER[folder],
        path=str(place / f'{stem}.mp4'),
        words=(word,),
        starts=starts,
        ends=ends,
        problem=problem,
      )
    )
  return clips


def read_duration(path: pathlib.Path) -> float | None:
  """The word's length in seconds by a clip's .txt; None if there is none."""
  try:
    match = _DURATION.search(path.read_text(encoding='utf-8', errors='replace'))
  except OSError:
    return None
  return float(match[1]) if match else None
