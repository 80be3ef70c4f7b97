"""A video frame by frame as it is, at its own rate: for what is to look like it but for what is drawn into it."""

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio, frame_colours, video_reader

_SLOWEST, _FASTEST = Fraction(1), Fraction(1000)  # frames a second that are believed
_LARGEST_TICKS = 1 << 30  # of a second: what H.264 can say


class Look(NamedTuple):
  """What a video has beside its pictures."""

  time_base: Fraction  # seconds of a tick
  rate: Fraction  # frames a second, on average
  aspect: Fraction  # width of a pixel by its height, as shown
  colours: frame_colours.Colours  # of its pictures as they are read here
  hdr: str  # 'HLG' or 'PQ' where they have been tone-mapped, else ''


class SourceFrame(NamedTuple):
  """A frame as it is shown: turned upright."""

  ticks: int  # from the first frame on
  duration: int  # in ticks, as the file says it: until the next frame, if it is right
  picture: np.ndarray  # uint8 [H, W, 3], its pixels made square
  stored: np.ndarray  # uint8 [h, w, 3], of as many pixels as the file has; the same array where those are square

  def put_back(self, changed: np.ndarray) -> np.ndarray:
    """A changed `picture` in the pixels of `stored`, which are kept where nothing was changed."""
    if self.stored is self.picture:
      return changed
    difference = changed.astype(np.int16) - self.picture
    where = difference.any(axis=-1)
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    out = self.stored.copy()
    if not len(rows):
      return out
    (height, width), (tall, wide) = self.stored.shape[:2], self.picture.shape[:2]
    down, across = tall / height, wide / width
    top, bottom = int(rows[0] / down), min(height, int(np.ceil((rows[-1] + 1) / down)))
    left, right = int(columns[0] / across), min(width, int(np.ceil((columns[-1] + 1) / across)))
    box = (left * across, top * down, min(right * across, wide), min(bottom * down, tall))
    part = np.stack(
      [
        np.asarray(Image.fromarray(channel).resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=box))
        for channel in np.moveaxis(difference, -1, 0).astype(np.float32)
      ],
      axis=-1,
    )
    out[top:bottom, left:right] = np.clip(np.round(out[top:bottom, left:right] + part), 0, 255)
    return out


class SourceVideo:
  """A video file that is read as often as it takes.

  Attributes:
    look: what it has beside its pictures.
    size: (height, width) of the stored frames, upright.
    start: the time stamp of its first frame in the file, in seconds.
  """

  def __init__(self, path: str | os.PathLike):
    """Reads the first frame.

    Raises:
      InputError: it cannot be opened, or holds no video that can be decoded.
    """
    self.path = path
    with audio.open_media(path) as container:
      video = video_reader.video_stream(container, path)
      first = next(audio.decode(container, [video], lambda error: None), None)
      if first is None:
        raise InputError(f'{path} holds no video frame that can be decoded: it is damaged or breaks off too early.')
      self._aspect = video_reader.pixel_aspect(video)
      self._size = (first.width, first.height)
      self.start = first.time or 0.0
      rate = Fraction(video.average_rate or video.guessed_rate or features.FPS)
      if not _SLOWEST <= rate <= _FASTEST:
        rate = Fraction(features.FPS)
      time_base = Fraction(video.time_base or 1 / rate)
      turned = round(first.rotation / 90) % 2
      if time_base.denominator > _LARGEST_TICKS:
        time_base = Fraction(1, 90_000)
      self._file_base = Fraction(video.time_base or time_base)
      self.look = Look(
        time_base,
        rate,
        1 / self._aspect if turned else self._aspect,
        frame_colours.of_drawn(first),
        frame_colours.hdr_transfer(first),
      )
      self.size = self._size if turned else self._size[::-1]

  def frames(self, square_only: bool = False) -> Iterator[SourceFrame]:
    """Every frame that can be decoded, in the order of time.

    Args:
      square_only: `stored` is not needed, and is `picture`.

    Raises:
      InputError: pictures above 36 megapixels, or time stamps that jump by ten minutes.
    """
    step = max(1, round(1 / (self.look.rate * self.look.time_base)))
    longest = int(video_reader.LONGEST_FRAME / self.look.time_base)
    first, last = None, -1
    reformatters = VideoReformatter(), VideoReformatter()  # one for each size saves time
    with audio.open_media(self.path) as container:
      video = video_reader.video_stream(container, self.path)
      video.codec_context.thread_count = 1
      for frame in audio.decode(container, [video], lambda error: None):
        ticks = last + step if last >= 0 else 0
        if frame.pts is not None:
          stamp = round(frame.pts * self._file_base / self.look.time_base)
          first = stamp if first is None else first
          if stamp - first > last:
            ticks = stamp - first
        if last >= 0 and ticks - last > longest:
          seconds = float((ticks - last) * self.look.time_base)
          raise InputError(f'{self.path} shows one picture for {seconds:.0f} seconds, it is damaged: convert it again.')
        last = ticks
        duration = round(frame.duration * self._file_base / self.look.time_base) if frame.duration else step
        yield SourceFrame(ticks, max(1, min(duration, longest)), *self._pictures(frame, reformatters, square_only))

  def _pictures(
    self, frame: av.VideoFrame, reformatters: tuple[VideoReformatter, VideoReformatter], square_only: bool
  ) -> tuple[np.ndarray, np.ndarray]:
    """A frame's `picture` and `stored`."""
    video_reader.check_size(
      round(frame.width * max(float(self._aspect), 1.0)), frame.height, self.path
    )  # it may change
    width, height = self._size
    if (frame.width, frame.height) != self._size:
      frame = frame.reformat(width=width, height=height)
    picture = video_reader.upright(frame, reformatters[0], self._aspect)
    if square_only or self._aspect == 1:
      return picture, picture
    return picture, video_reader.upright(frame, reformatters[1])


class LoopedVideo(SourceVideo):
  """A video over and over, for a number of seconds."""

  def __init__(self, path: str | os.PathLike, seconds: float):
    """As `SourceVideo`."""
    super().__init__(path)
    self._ticks = round(seconds / self.look.time_base)

  def frames(self, square_only: bool = False) -> Iterator[SourceFrame]:
    """As `SourceVideo.frames`, up to the end of the time."""
    begin = 0
    while begin < self._ticks:
      end = begin
      for frame in super().frames(square_only):
        if begin + frame.ticks >= self._ticks:
          return
        end = begin + frame.ticks + frame.duration
        yield frame._replace(ticks=begin + frame.ticks)
      begin = end
