"""What a first conversion has measured of each speaker's sound, put right in a second one."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from data_pipelines.clip_source import ClipSource
from data_pipelines.conversion import sound_sync
from data_pipelines.errors import InputError

# Smaller ones could be chance: deviations of the estimate.
_CLEARLY = 2.0


def load(path: str | os.PathLike) -> dict[str, float]:
  """Speaker → seconds by which the sound is late, where that is clear.

  Clear is an offset of at least ten clips that is more than twice its own uncertainty. Offsets that the report's
  conversion had taken out already are added.

  Args:
    path: `report.json` of a conversion, or the folder in which it lies.

  Raises:
    InputError: there is no such report, or it says nothing of offsets.
  """
  path = pathlib.Path(path)
  path = path / 'report.json' if path.is_dir() else path
  try:
    report = json.loads(path.read_text())
    speakers, taken = report['sync']['speakers'], report.get('sound_offsets') or {}
    found = {
      name: row['offset_ms'] / 1000
      for name, row in speakers.items()
      if row['clips'] >= sound_sync.FEWEST
      and None not in (row['offset_ms'], row['uncertainty_ms'])
      and abs(row['offset_ms']) > _CLEARLY * row['uncertainty_ms']
    }
  except OSError as error:
    raise InputError(
      f'{path} cannot be read ({error.strerror}): give the report.json of an earlier conversion.'
    ) from None
  except (ValueError, KeyError, TypeError, AttributeError):
    raise InputError(
      f"{path} is no report of a conversion with its speakers' offsets: give the report.json that an "
      'earlier one has written.'
    ) from None
  sums = {name: round(found.get(name, 0) + taken.get(name, 0), 4) for name in sorted(found.keys() | taken.keys())}
  return {name: seconds for name, seconds in sums.items() if seconds}


def apply(clips: Sequence[ClipSource], offsets: dict[str, float]) -> list[ClipSource]:
  """The clips, the sound of each advanced by its speaker's offset as well."""
  return [
    dataclasses.replace(clip, sound_advance=round(clip.sound_advance + offsets[clip.speaker], 4))
    if clip.speaker in offsets
    else clip
    for clip in clips
  ]
