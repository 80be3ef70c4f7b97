"""What a data set's lister hands to the conversion: one `ClipSource` a clip, and how clips are split."""

import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Collection, Iterable, Sequence

TRAIN = 'train'
VALIDATION = 'validation'
TEST = 'test'
SPLITS = (TRAIN, VALIDATION, TEST)

# The speaker of clips in a corpus that names none but has splits of its own.
UNKNOWN_SPEAKER = 'unknown'


@dataclasses.dataclass(frozen=True)
class ClipSource:
  """One clip to convert. Plain values only: it travels to worker processes and into fingerprints.

  Attributes:
    clip_id: unique in its data set, and a safe file name.
    speaker: who is seen.
    split: 'train', 'validation' or 'test'.
    path: the video file.
    sound_advance: seconds by which the sound comes late in the file, so by which it is advanced.
    words: the words spoken, in order; may be empty.
    starts, ends: their times in seconds, one for each word, or empty if the corpus has none.
    problem: (reason, detail) if listing has already shown that the clip cannot be used: it is reported as left out.
  """

  clip_id: str
  speaker: str
  split: str
  path: str
  sound_advance: float = 0.0
  words: tuple[str, ...] = ()
  starts: tuple[float, ...] = ()
  ends: tuple[float, ...] = ()
  problem: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class VideoPart(ClipSource):
  """A stretch of a video of any length, to be cut into clips (`cut_video`), whose names begin with `clip_id`.

  Attributes:
    first: its first frame, counted in frames of 1/25 s from the video's beginning.
    end: the frame after its last; None: up to the end of the video.
    all_faces: keep every face that is seen, not only the largest of those seen at a time.
  """

  first: int = 0
  end: int | None = None
  all_faces: bool = False


def safe_name(text: str) -> str:
  """`text` with everything but letters, digits, '-' and '.' turned into '-'."""
  return re.sub(r'[^\w.-]+', '-', text).replace('_', '-')


def tenth(names: Iterable[str]) -> frozenset[str]:
  """A tenth of the names, rounded, at least one: always the same ones, in no pattern (by hash)."""
  ordered = sorted(set(names), key=lambda name: hashlib.sha256(os.fsencode(name)).hexdigest())
  return frozenset(ordered[: max(1, math.floor(len(ordered) / 10 + 0.5))])


def held_out_speakers(speakers: Collection[str], preferred: Sequence[str] = ()) -> frozenset[str]:
  """Speakers kept for validation: those of `preferred` that are there, else a tenth of them all."""
  return frozenset(preferred) & frozenset(speakers) or tenth(speakers)


def leaked_speakers(members: Iterable[tuple[str, str]]) -> list[str]:
  """Speakers with clips in more than one split, of (speaker, split) pairs.

  One speaker alone has no other choice, and of speakers that nobody knows nothing can be said.
  """
  splits: dict[str, set[str]] = {}
  for speaker, split in members:
    if speaker != UNKNOWN_SPEAKER:
      splits.setdefault(speaker, set()).add(split)
  return sorted(speaker for speaker, found in splits.items() if len(found) > 1) if len(splits) > 1 else []
