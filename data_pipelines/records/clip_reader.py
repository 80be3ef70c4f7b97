"""The clips of a split as bytes of their records; which frames serve as examples, and whose voices as babble."""

import logging
import zlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import InputError
from data_pipelines.records.record_index import RecordIndex

# Where the example frame of a clip under evaluation comes from.
EXAMPLES = ('same-clip', 'first-frame', 'other-clip', 'other-speaker')


class ClipReader:
  """The records of a split that are long enough.

  Attributes:
    folder: of the data set.
    num_frames: int32 [N], frames of each clip.
    clip_id: str [N].
    speaker: str [N].
  """

  def __init__(self, index: RecordIndex, min_frames: int = 1):
    """Selects the clips.

    Args:
      index: of the split.
      min_frames: shorter clips are skipped, which is logged.

    Raises:
      InputError: no clip is long enough.
    """
    kept = np.flatnonzero(index.num_frames >= min_frames)
    skipped = len(index) - len(kept)
    if not len(kept):
      raise InputError(
        f'No clip of {index.folder} has {min_frames} frames (the longest has '
        f'{index.num_frames.max(initial=0)}): choose a shorter window.'
      )
    if skipped:
      logging.getLogger(__name__).warning(
        '%s: %d of %d clips are shorter than %d frames and are skipped', index.folder, skipped, len(index), min_frames
      )
    self._index = index
    self._records = kept
    self._checked = np.zeros(len(index), bool)
    self.num_frames = index.num_frames[kept]
    self.clip_id = index.clip_id[kept]
    self.speaker = index.speaker[kept]
    self.folder = index.folder

  def __len__(self) -> int:
    return len(self._records)

  def read(self, clip: int) -> bytes:
    """The record of a clip; its checksum is verified when it is read for the first time."""
    record = self._records[clip]
    content = self._index.read(record, check=not self._checked[record])
    self._checked[record] = True
    return content


def name_hash(clip_id: str) -> int:
  """A number that depends on the clip's name alone, for choices that are the same in every evaluation."""
  return zlib.crc32(clip_id.encode())


def example_clips(reader: ClipReader, protocol: str) -> np.ndarray:
  """The clip that the example frame of each clip comes from, int [N].

  Args:
    reader: the clips.
    protocol: one of `EXAMPLES`.

  Raises:
    InputError: a speaker has one clip only, or there is one speaker only, where another is asked for.
  """
  if protocol in ('same-clip', 'first-frame'):
    return np.arange(len(reader))
  speakers = np.unique(reader.speaker)
  clips = {speaker: np.flatnonzero(reader.speaker == speaker) for speaker in speakers}
  chosen = np.empty(len(reader), np.int64)
  for number, speaker in enumerate(speakers):
    own = clips[speaker]
    if protocol == 'other-clip':
      if len(own) == 1:
        raise InputError(
          f'{reader.folder} has one clip only of speaker {speaker}: there is no other to take the example '
          'frame from; choose another protocol or split.'
        )
      chosen[own] = np.roll(own, -1)
      continue
    if len(speakers) == 1:
      raise InputError(
        f'{reader.folder} has one speaker only in this split, {speaker}: there is no other to take the '
        'example frame from; choose another protocol or split.'
      )
    others = clips[speakers[(number + 1) % len(speakers)]]
    chosen[own] = [others[name_hash(reader.clip_id[clip]) % len(others)] for clip in own]
  return chosen


def babble_records(lenders: Sequence[ClipReader], reader: ClipReader, clip: int, count: int) -> list[bytes]:
  """Records of `count` clips of `lenders` whose speakers are not the one of a clip of `reader`.

  Raises:
    InputError: there is no other speaker.
  """
  others = [
    (lender, other)
    for lender in lenders
    for other in (
      np.flatnonzero(lender.speaker != reader.speaker[clip]) if lender.folder == reader.folder else range(len(lender))
    )
  ]
  if not others:
    raise InputError(
      f'{reader.folder} has one speaker only in this split, {reader.speaker[clip]}, and babble is other '
      "people's talk: name another data set as well."
    )
  chosen = np.random.default_rng(name_hash(reader.clip_id[clip])).integers(len(others), size=count)
  return [lender.read(other) for lender, other in (others[i] for i in chosen)]


def frame_outside(draw: int, total: int, start: int, window: int) -> int:
  """A frame of `total`, by the number `draw`: outside the window that begins at `start` if it leaves any, else any."""
  free = total - window
  if free <= 0:
    return int(draw % total)
  frame = int(draw % free)
  return frame if frame < start else frame + window
