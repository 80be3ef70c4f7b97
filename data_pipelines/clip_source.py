"""What a data set's lister hands to the conversion: one `ClipSource` a clip, and how clips are split."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Collection, Iterable, Sequence

TRAIN = 'train'
VALIDATION = 'validation'
SPLITS = (TRAIN, VALIDATION)


@dataclasses.dataclass(frozen=True)
class ClipSource:
  """One clip to convert. Plain values only: it travels to worker processes and into fingerprints.

  Attributes:
    clip_id: unique in its data set, and a safe file name.
    speaker: who is seen.
    split: 'train' or 'validation'.
    path: the video file.
    sound_advance: seconds by which the sound comes late in the file, so by which it is advanced.
    words: the words spoken, in order; may be empty.
    starts, ends: their times in seconds, one for each word, or empty if the corpus tells no times.
  """

  clip_id: str
  speaker: str
  split: str
  path: str
  sound_advance: float = 0.0
  words: tuple[str, ...] = ()
  starts: tuple[float, ...] = ()
  ends: tuple[float, ...] = ()


def safe_name(text: str) -> str:
  """`text` with everything but letters, digits, '-' and '.' turned into '-'."""
  return re.sub(r'[^\w.-]+', '-', text).replace('_', '-')


def tenth(names: Iterable[str]) -> frozenset[str]:
  """A tenth of the names, rounded, at least one: always the same ones, in no pattern (by hash)."""
  ordered = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
  return frozenset(ordered[: max(1, math.floor(len(ordered) / 10 + 0.5))])


def held_out_speakers(speakers: Collection[str], preferred: Sequence[str] = ()) -> frozenset[str]:
  """Speakers kept for validation: those of `preferred` that are there, else a tenth of them all."""
  return frozenset(preferred) & frozenset(speakers) or tenth(speakers)


def leaked_speakers(members: Iterable[tuple[str, str]]) -> list[str]:
  """Speakers with clips in more than one split, of (speaker, split) pairs; one speaker alone has no other choice."""
  splits: dict[str, set[str]] = {}
  for speaker, split in members:
    splits.setdefault(speaker, set()).add(split)
  return sorted(speaker for speaker, found in splits.items() if len(found) > 1) if len(splits) > 1 else []
