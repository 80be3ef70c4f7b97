"""Lists the clips of LRW-AR."""

import csv
import pathlib

from data_pipelines import clip_source
from data_pipelines.errors import InputError

# The sound of this set comes 60 to 80 ms after the lips.
SOUND_ADVANCE = 0.06

# Kept for validation: one woman and two men, one of them with glasses; a tenth of the clips.
VALIDATION_SPEAKERS = ('c18', 'c21', 'c22')


def list_clips(source: str) -> list[clip_source.ClipSource]:
  """Clips of `source`/video/*.mp4, sorted by name, with `speakers.csv` and `transcripts/*.csv` beside.

  Split by speaker. A clip that `speakers.csv` does not know gets no speaker, so the conversion leaves it out: it
  might show a held-out person. A name in `speakers.csv` that has no video is listed all the same, so that
  the report says it is missing.

  Raises:
    InputError: `source` is no folder, holds no video, or `speakers.csv` is missing or not one.
  """
  root = pathlib.Path(source)
  if not root.is_dir():
    raise InputError(f'{source} is not a folder: give the one that holds LRW-AR (video/, transcripts/, speakers.csv).')
  if not any((root / 'video').glob('*.mp4')):
    raise InputError(f'{source} holds no LRW-AR video: expected files such as video/00139.mp4.')
  speakers = _read_speakers(root / 'speakers.csv')
  names = sorted(set(speakers) | {path.stem for path in (root / 'video').glob('*.mp4')})
  held_out = clip_source.held_out_speakers(set(speakers.values()), VALIDATION_SPEAKERS)
  clips = []
  for name in names:
    speaker = speakers.get(name, '')
    clips.append(
      clip_source.ClipSource(
        clip_id=f'{clip_source.safe_name(speaker) or "unknown"}_{clip_source.safe_name(name)}',
        speaker=speaker,
        split=clip_source.VALIDATION if speaker in held_out else clip_source.TRAIN,
        path=str(root / 'video' / f'{name}.mp4'),
        sound_advance=SOUND_ADVANCE,
        words=_read_words(root / 'transcripts' / f'{name}.csv'),
      )
    )
  return clips


def _read_speakers(path: pathlib.Path) -> dict[str, str]:
  """Clip name → speaker."""
  if not path.is_file():
    raise InputError(f'{path} is missing: the split is by speaker, so LRW-AR needs its table of columns clip,speaker.')
  with path.open(newline='', encoding='utf-8-sig') as file:
    reader = csv.DictReader(file)
    if not {'clip', 'speaker'} <= set(reader.fieldnames or ()):
      raise InputError(f'{path} has the columns {reader.fieldnames}: expected clip,speaker.')
    return {row['clip']: row['speaker'] for row in reader if row['clip'] and row['speaker']}


def _read_words(path: pathlib.Path) -> tuple[str, ...]:
  """Words of one transcript (a column `word`), or none where there is no transcript."""
  if not path.is_file():
    return ()
  with path.open(newline='', encoding='utf-8-sig') as file:
    return tuple(row['word'] for row in csv.DictReader(file) if row.get('word'))
