"""A stretch of a video of any length and size, frame by frame: `video_reader.read_video` without the memory."""

import dataclasses
import os
from collections.abc import Collection, Generator, Iterator
from typing import NamedTuple

import av
import numpy as np

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio, video_reader

_HOLE = 60.0  # seconds: a longer jump of the time stamps is damage, not a still picture
# Seconds before the wanted place to which files are wound: some hand out frames only from the next key frame on.
_WIND = (1.0, 15.0)
_SOUND_WIND = 0.5  # seconds: decoders need some packets to settle
_MIN_BITS = 500  # a second of video has more: below, the file's length is not to be believed


class Probe(NamedTuple):
  """What a file says of itself, without decoding."""

  seconds: float | None  # None: it does not say, or lies
  has_audio: bool


@dataclasses.dataclass
class Notes:
  """What was met while frames were read."""

  source_fps: float = 0.0
  pixel_aspect: float = 1.0  # width of a pixel by its height
  start: float = 0.0  # the first frame's time stamp in the file
  last: float = 0.0  # seconds from `start`: the last frame that was decoded
  damage: float | None = None  # seconds from `start`: where decoding first failed
  broken_off: bool = False  # the file ends before the time that it announces


def probe(path: str | os.PathLike) -> Probe:
  """Opens a file and reads its head.

  Raises:
    InputError: it cannot be opened, or holds no video.
  """
  with audio.open_media(path) as container:
    video = video_reader.video_stream(container, path)
    seconds = _announced(container, video)
    if seconds is not None and os.path.getsize(path) * 8 < _MIN_BITS * seconds:
      seconds = None
    return Probe(seconds, bool(container.streams.audio))


def frames(
  path: str | os.PathLike,
  first: int = 0,
  end: int | None = None,
  wanted: Collection[int] | None = None,
  notes: Notes | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
  """Frames `first` to `end` of the video at 25 frames a second, upright, with square pixels.

  Frame i is the source frame whose time stamp is nearest to i / 25 s after the first one's, whichever `first` is.

  Args:
    path: the video.
    first: the first frame.
    end: the frame after the last; None: to the end of the video. A video that is shorter yields what there is.
    wanted: hand out only these; the others are not converted to pictures.
    notes: filled in while reading.

  Yields:
    (i, uint8 [H, W, 3]).

  Raises:
    InputError: the file cannot be opened, holds no video or a single frame, or pictures above 36 megapixels.
  """
  notes = Notes() if notes is None else notes
  count, current, time, step, picture = first, None, 0.0, 0.0, None
  for frame, next_time in _from(path, first / features.FPS, notes):
    if current is not None:
      step = next_time - time
      while count / features.FPS < (time + next_time) / 2 - 1e-6:
        if end is not None and count >= end:
          return
        if wanted is None or count in wanted:
          picture = _picture(current, notes, path) if picture is None else picture
          yield count, picture
        count += 1
    current, time, picture = frame, next_time, None
  if current is None:
    if first:
      return
    raise InputError(f'{path} holds no video frame that can be decoded: it is damaged or breaks off too early.')
  if not step and not first:
    raise InputError(f'{path} holds a single picture, where a video is needed.')
  # The last frame lasts as long as the one before it.
  stop = max(count + (count == 0), round((time + step) * features.FPS))
  for i in range(count, stop if end is None else min(stop, end)):
    if wanted is None or i in wanted:
      picture = _picture(current, notes, path) if picture is None else picture
      yield i, picture


def samples(path: str | os.PathLike, start: float, first: int, end: int) -> np.ndarray:
  """The sound of the frames `first` to `end`.

  Args:
    path: the video.
    start: time stamp of its first frame (`Notes.start`).
    first: frame of 1/25 s; it may be negative, which is silence unless there is sound.
    end: the frame after the last.

  Returns:
    float32 [n], 16 kHz mono in [-1, 1]: n is 640 (end - first), or less where the sound ends before.
  """
  begin, stop = start + first / features.FPS, start + end / features.FPS
  collector = audio.SoundCollector()
  with audio.open_media(path) as container:
    if not container.streams.audio:
      return np.zeros(0, np.float32)
    stream = container.streams.audio[0]
    _wind(container, stream, begin - _SOUND_WIND)
    for frame in audio.decode(container, [stream], lambda error: None):
      if frame.time is not None and frame.time >= stop:
        break
      collector.add(frame)
  sound = collector.samples()
  if collector.start is None:
    return sound
  late = round((collector.start - begin) * features.SAMPLE_RATE)
  sound = np.pad(sound, (late, 0)) if late > 0 else sound[-late:]
  return sound[: (end - first) * features.SAMPLES_PER_FRAME]


def _announced(container: av.container.InputContainer, video: av.VideoStream) -> float | None:
  """The length in seconds that the file announces."""
  if video.duration and video.time_base:
    return float(video.duration * video.time_base)
  return container.duration / av.time_base if container.duration else None


def _wind(container: av.container.InputContainer, stream, seconds: float) -> bool:
  """Goes to the last key frame before a time; False where the file cannot be wound."""
  try:
    container.seek(round(seconds / stream.time_base), stream=stream, backward=True, any_frame=False)
  except (av.FFmpegError, ValueError, OverflowError):
    return False
  return True


def _from(path: str | os.PathLike, seconds: float, notes: Notes) -> Generator[tuple[av.VideoFrame, float]]:
  """Decoded frames from at least `seconds` after the first one on, with their times after the first one."""
  if seconds:
    for back in _WIND:
      stamped = _decoded(path, notes, max(0.0, seconds - back))
      head = next(stamped, None)
      if head is not None and head[1] <= seconds:
        yield head
        yield from stamped
        return
      stamped.close()
  yield from _decoded(path, notes, 0.0)


def _decoded(path: str | os.PathLike, notes: Notes, wind_to: float) -> Generator[tuple[av.VideoFrame, float]]:
  with audio.open_media(path) as container:
    video = video_reader.video_stream(container, path)
    video.codec_context.thread_count = 1  # the processes are the parallelism
    notes.source_fps = float(video.average_rate or video.guessed_rate or features.FPS)
    notes.pixel_aspect = float(video_reader.pixel_aspect(video))
    start: float | None = None
    last: float | None = None

    def note(error: Exception) -> None:
      if notes.damage is None:
        notes.damage = 0.0 if last is None or start is None else last - start

    if wind_to:
      head = next(audio.decode(container, [video], lambda error: None), None)
      start = None if head is None else head.time
      if start is None or not _wind(container, video, start + wind_to):
        return
    for frame in audio.decode(container, [video], note):
      time = frame.time
      if last is None and start is not None and (time is None or time > start + wind_to + _WIND[-1]):
        return  # it was wound to somewhere else
      if time is None or (last is not None and time <= last):  # without stamps: by the rate
        time = 0.0 if last is None else last + 1 / notes.source_fps
      if last is not None and time - last > _HOLE:
        note(ValueError('a jump of the time stamps'))
        return
      start = time if start is None else start
      last = time
      notes.start, notes.last = start, time - start
      yield frame, time - start
    announced = _announced(container, video)
    if announced and last is not None and start is not None:
      notes.broken_off = last - start < announced - min(5.0, max(0.5, 0.1 * announced))


def _picture(frame: av.VideoFrame, notes: Notes, path: str | os.PathLike) -> np.ndarray:
  """uint8 [H, W, 3], upright, its pixels made square."""
  video_reader.check_size(frame.width, frame.height, path)  # the stream may hold others than its head announces
  return video_reader.upright(frame, aspect=notes.pixel_aspect)
