"""What generation starts from of a person's video: the best example frame, and a stretch to be shown in a loop."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from atvg_jax.evaluate import clip_scores
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.portrait import Portrait
from atvg_jax.personalise import footage
from atvg_jax.train import feed
from data_pipelines import clip_source, features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.conversion import video_part
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_writer

_CANDIDATES = 8
_TRIED_ON = 6  # clips, of `_WINDOW` frames each
_WINDOW = 16
_OPEN = (50, 95)  # percentiles of the mouth's opening: some of the teeth and the inside are to be seen
_LONGEST = 20 * features.FPS  # frames of the stretch, which is shown forwards and backwards
_CHUNK_BYTES = 400_000_000  # of pictures in memory, to show them backwards


class _Clip(NamedTuple):
  clip_id: str
  video: np.ndarray  # uint8 [T, 128, 128, 3]
  landmarks: np.ndarray  # float32 [T, 136]


class Example(NamedTuple):
  """The frame that was chosen."""

  video: str
  frame: int  # of 1/25 s
  score: float  # SSIM of the lips drawn from it
  typical: float  # the mean of all candidates' scores


def choose(generator: Generator, seen: footage.Footage) -> Example:
  """The frame of the training part from which VG-net draws the lips of other moments best.

  Candidates show the mouth open, the eyes open and the face from the front.

  Args:
    generator: the person's nets.
    seen: the person's videos.
  """
  clips = list(_clips(seen.directory))
  candidates = _candidates(clips)
  places = np.unique(np.linspace(0, len(clips) - 1, min(_TRIED_ON, len(clips))).round().astype(int))
  scores = [
    float(np.mean([_drawn_score(generator, clips[clip], frame, clips[other]) for other in places.tolist()]))
    for clip, frame in candidates
  ]
  best = int(np.argmax(scores))
  clip, frame = candidates[best]
  video, first = seen.source(clips[clip].clip_id)
  return Example(video, first + frame, scores[best], float(np.mean(scores)))


def save_picture(path: str, example: Example) -> None:
  """Writes the whole frame of an example as a PNG file."""
  (picture,) = footage.pictures(example.video, example.frame, example.frame + 1)
  with atomic_write(path, 'wb') as file:
    Image.fromarray(picture).save(file, format='PNG')


def save_video(path: str, seen: footage.Footage) -> float:
  """Writes the longest stretch that shows the person, forwards and backwards, so that it can be repeated.

  Returns:
    Its seconds.
  """
  video, first, end = _longest(seen)
  height, width = footage.pictures(video, first, first + 1)[0].shape[:2]
  with video_writer.VideoWriter(path, (height, width)) as writer:
    for picture in _there_and_back(video, first, end, height * width * 3):
      writer.append(picture)
    return writer.num_frames / features.FPS


def _clips(directory: str) -> Iterator[_Clip]:
  for batch in feed.clip_batches(directory, clip_source.TRAIN, batch_size=1):
    length = int(batch[features.FRAME_MASK][0].sum())
    landmarks = batch[features.LANDMARKS][0, :length]
    yield _Clip(batch[features.CLIP_ID][0].decode(), batch[features.VIDEO][0, :length], landmarks)


def _candidates(clips: Sequence[_Clip]) -> list[tuple[int, int]]:
  """(clip, frame) of some frames that are fit to be an example, spread over the openings of the mouth."""
  places = [(clip, frame) for clip, one in enumerate(clips) for frame in range(len(one.landmarks))]
  landmarks = np.concatenate([clip.landmarks for clip in clips])
  points = landmarks.reshape(len(landmarks), -1, 2)
  eyes = points[:, features.EYES]
  heights = (eyes[:, [4, 5, 10, 11]] - eyes[:, [2, 1, 8, 7]])[..., 1].mean(axis=-1)
  opening = face_alignment.mouth_opening(landmarks)
  low, high = np.percentile(opening, _OPEN)
  turned = np.abs(points[:, list(features.MIRROR)] * (-1, 1) - points).mean(axis=(1, 2))
  fit = (opening >= low) & (opening <= high) & (heights >= np.percentile(heights, 40))
  fit &= turned <= np.percentile(turned, 60)
  if not fit.any():
    fit[int(np.argmin(turned))] = True
  found = np.flatnonzero(fit)
  found = found[np.argsort(opening[found], kind='stable')]
  chosen = found[np.unique(np.linspace(0, len(found) - 1, min(_CANDIDATES, len(found))).round().astype(int))]
  return [places[i] for i in chosen]


def _drawn_score(generator: Generator, example: _Clip, frame: int, clip: _Clip) -> float:
  """SSIM of the lips in the middle of a clip, drawn from a frame of another."""
  start = max(0, (len(clip.landmarks) - _WINDOW) // 2)
  window = slice(start, start + _WINDOW)
  true, landmarks = clip.video[window], clip.landmarks[window]
  portrait = Portrait(example.video[frame], example.landmarks[frame], np.eye(2, 3), 1)
  (piece,) = generator.draw(portrait, [landmarks], _WINDOW)
  scores = clip_scores.reference_scores({'ours': piece.frames[None]}, true[None], [landmarks])
  return float(scores['ours']['ssim_lips'].mean())


def _longest(seen: footage.Footage) -> tuple[str, int, int]:
  """(video, first frame, frame after the last) of the longest stretch in which clip follows clip."""
  splits = (clip_source.TRAIN, clip_source.VALIDATION)
  lengths = [length for split in splits for length in seen.lengths(split)]
  spans = sorted((*seen.source(name), frames) for name, frames in lengths)
  best = ('', 0, 0)
  run: tuple[str, int, int] | None = None
  for video, first, frames in spans:
    if run is None or run[0] != video or run[2] != first:
      run = (video, first, first)
    run = (video, run[1], first + frames)
    if run[2] - run[1] > best[2] - best[1]:
      best = run
  return best[0], best[1], min(best[2], best[1] + _LONGEST)


def _there_and_back(video: str, first: int, end: int, picture_bytes: int) -> Iterator[np.ndarray]:
  """The frames from the first to the last, and back to the second."""
  yield from (picture for _, picture in video_part.frames(video, first, end))
  chunk = max(1, _CHUNK_BYTES // picture_bytes)
  stop = end - 1
  while stop > first + 1:
    start = max(first + 1, stop - chunk)
    yield from reversed(footage.pictures(video, start, stop))
    stop = start
