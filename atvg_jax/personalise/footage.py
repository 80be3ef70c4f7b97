"""From videos of one person to a converted data set, with the sound in step; or one sentence why they will not do."""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from atvg_jax.checkpoints import weights
from atvg_jax.personalise import at_adaptation
from data_pipelines import clip_source, features, prepare
from data_pipelines.conversion import video_part
from data_pipelines.datasets.clips import clips_source
from data_pipelines.errors import InputError
from data_pipelines.records import record_index

MIN_SECONDS = 10.0  # of video
_LEAST_USED = 0.75  # of these seconds: what may be left out at the ends of shots and where a head turns
_STEP = 0.02  # seconds: sound that is less out of step is left as it is
# Correlation of the opening that AT-net predicts with the true one. On GRID and LRW-AR .58 to .85 for a person's own
# sound, .2 to .47 for the sound of other clips; and by how much it falls at other lags.
_IN_STEP, _STANDS_OUT = 0.3, 0.1
_MOST_LATE = 0.44  # seconds: near the last lag that is looked at
_OTHERS = features.FPS  # frames: a second face for shorter is no second person
_OTHER = 'not the largest face'


class Footage(NamedTuple):
  """A person's converted videos."""

  directory: str
  parts: list[clip_source.VideoPart]
  sound_offsets: list[float]  # of each video: seconds by which its sound came late, and was advanced

  def source(self, clip_id: str) -> tuple[str, int]:
    """The video that a clip is of, and the clip's first frame in it, counted in 1/25 s."""
    name, _, first = clip_id.rpartition('_')
    return next(part.path for part in self.parts if part.clip_id == name), int(first)

  def lengths(self, split: str) -> list[tuple[str, int]]:
    """Names of the clips of a split, and their frames."""
    index = record_index.load(self.directory, split)
    return list(zip(index.clip_id.tolist(), map(int, index.num_frames), strict=True))


def check_videos(videos: Sequence[str]) -> None:
  """Raises InputError where videos are not there, have no sound, or are too short together."""
  seconds = 0.0
  for path in videos:
    if not os.path.isfile(path):
      raise InputError(f'{path} is no file: give one or more videos of one person')
    probe = video_part.probe(path)
    if not probe.has_audio:
      raise InputError(f'{path} has no sound: AT-net learns how this mouth moves to this voice')
    seconds += MIN_SECONDS if probe.seconds is None else probe.seconds
  if seconds < MIN_SECONDS - 0.5 / features.FPS:
    raise InputError(
      f'{_name(videos)} lasts {seconds:.1f} seconds, and {MIN_SECONDS:.0f} of one person speaking are needed; one to '
      'three minutes are better'
    )


def convert(videos: Sequence[str], folder: str, bundle: weights.Bundle) -> Footage:
  """Converts the videos below `folder`, twice where the sound is out of step.

  Raises:
    InputError: two people, too little that can be used, or sound that does not go with the lips.
  """
  parts = clips_source.list_person(videos, [0.0] * len(videos))
  directory = os.path.join(folder, 'data')
  report = _convert(parts, directory)
  _check_people(videos, report)
  _check_length(videos, report)
  offsets = _offsets(parts, directory, bundle, videos)
  if any(offsets):
    parts = clips_source.list_person(videos, offsets)
    directory = os.path.join(folder, 'data_in_step')
    _check_length(videos, _convert(parts, directory))
  return Footage(directory, parts, offsets)


def _convert(parts: list[clip_source.VideoPart], directory: str) -> dict[str, Any]:
  return prepare.prepare('clips', parts[0].path, directory, parts=parts)


def _name(videos: Sequence[str]) -> str:
  return videos[0] if len(videos) == 1 else f'{videos[0]} and {len(videos) - 1} more'


def _frames(detail: str) -> int:
  """The number with which the detail of a stretch that is left out begins."""
  found = re.match(r'\d+', detail)
  return int(found[0]) if found else 0


def _check_people(videos: Sequence[str], report: dict[str, Any]) -> None:
  others = sum(_frames(row['detail']) for row in report['rejected_clips'] if row['reason'] == _OTHER)
  if others >= _OTHERS:
    raise InputError(
      f'{_name(videos)} shows a second face for {others / features.FPS:.1f} seconds, and both would be learnt: cut '
      'the video to where one person is seen'
    )


def _check_length(videos: Sequence[str], report: dict[str, Any]) -> None:
  used = sum(row['frames'] for row in report['splits'].values()) / features.FPS
  if used >= _LEAST_USED * MIN_SECONDS and report['splits'][clip_source.VALIDATION]['clips']:
    return
  lost = [f'{row["reason"]} ({row["detail"]})' for row in report['rejected_clips']]
  why = f': {"; ".join(lost[:2])}' if lost else ''
  raise InputError(
    f'{_name(videos)}: {used:.1f} seconds can be used, and {MIN_SECONDS:.0f} of one person speaking, seen from the '
    f'front, are needed, up to the end of the video{why}'
  )


def _offsets(
  parts: Sequence[clip_source.VideoPart], directory: str, bundle: weights.Bundle, videos: Sequence[str]
) -> list[float]:
  """Of each video: measured by itself where it is long, else together with the other short ones."""
  assert bundle.basis is not None, "AT-net's weights hold its landmark basis"
  clips = [clip for split in (clip_source.TRAIN, clip_source.VALIDATION) for clip in _clips(bundle, directory, split)]
  paths = {part.clip_id: part.path for part in parts}
  of_video = {path: [clip for clip in clips if paths[clip.clip_id.rpartition('_')[0]] == path] for path in videos}
  lengths = {path: sum(len(clip.landmarks) for clip in own) / features.FPS for path, own in of_video.items()}
  short = [path for path in videos if 0 < lengths[path] < MIN_SECONDS * _LEAST_USED]
  groups = [[path] for path in videos if lengths[path] and path not in short] + ([short] if short else [])
  found = dict.fromkeys(videos, 0.0)
  for group in groups:
    offset = at_adaptation.offset([clip for path in group for clip in of_video[path]], bundle.basis)
    if (
      offset.correlation < _IN_STEP
      or offset.correlation < offset.elsewhere + _STANDS_OUT
      or abs(offset.seconds) > _MOST_LATE
    ):
      raise InputError(
        f'{_name(group)}: the sound does not go with the lips (correlation {offset.correlation:.2f} where they agree '
        'most): give a video whose sound is that of the person who is seen, in step'
      )
    late = round(float(offset.seconds), 3)
    found |= dict.fromkeys(group, late if abs(late) >= _STEP else 0.0)
  return [found[path] for path in videos]


def _clips(bundle: weights.Bundle, directory: str, split: str) -> list[at_adaptation.Clip]:
  return list(at_adaptation.predict(bundle, directory, split))


def pictures(video: str, first: int, end: int) -> list[np.ndarray]:
  """The frames `first` to `end` of a video at 25 frames a second, uint8 [H, W, 3]."""
  return [picture for _, picture in video_part.frames(video, first, end)]
