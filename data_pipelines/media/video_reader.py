"""Pictures and video, in and out."""

import fractions
import functools
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

from data_pipelines import features
from data_pipelines.errors import InputError, check_file
from data_pipelines.media import audio, frame_colours

__all__ = [
  'Clip',
  'check_size',
  'iter_video',
  'pixel_aspect',
  'read_image',
  'read_video',
  'upright',
  'video_stream',
]

_MAX_PIXELS = 50_000_000  # of a picture
_MAX_SIDE = 65_535  # of a picture: a JPEG's longest
_MAX_FRAME_PIXELS = 36_000_000  # of a video: 8K
_MAX_BYTES = 4 << 30  # of a decoded clip
_SQUARE = 0.02  # a pixel's aspect that is nearer to 1 is taken for 1
LONGEST_FRAME = 600  # seconds: time stamps that jump further are damaged, or meant to do harm
# What pictures come as. Pillow knows more, some of which starts other programs (PostScript).
_FORMATS = ('JPEG', 'MPO', 'PNG', 'WEBP', 'BMP', 'DIB', 'GIF', 'TIFF', 'PPM', 'TGA', 'JPEG2000', 'AVIF', 'HEIF', 'ICO')


class Clip(NamedTuple):
  """A video at 25 frames a second with its sound, both beginning at the first frame."""

  frames: list[np.ndarray]  # T times uint8 [H, W, 3]
  samples: np.ndarray  # float32 [n], 16 kHz mono in [-1, 1]; empty if the file has no sound
  source_fps: float
  has_audio: bool
  truncated: bool  # the file is damaged or breaks off: what could be decoded is here


def read_image(path: str | os.PathLike) -> np.ndarray:
  """Reads a picture, turned upright as its EXIF orientation says.

  Returns:
    uint8 [H, W, 3] RGB; transparent parts are laid on white.

  Raises:
    InputError: missing, a directory, empty, not a picture, damaged, above 50 megapixels or with a side of more than
      65535.
  """
  path = check_file(path, 'a picture')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of Pillow, on odd files; the size is checked below
      with Image.open(path, formats=_known_formats()) as file:
        if file.width * file.height > _MAX_PIXELS:
          raise InputError(f'{path} is {file.width}x{file.height} pixels, more than 50 megapixels: shrink it first.')
        if max(file.size) > _MAX_SIDE:
          raise InputError(f'{path} is {file.width}x{file.height} pixels, a strip and no picture of a face.')
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode in ('I', 'I;16', 'I;16B', 'F'):
          array = np.asarray(image, np.float32)
          array = np.clip(array / (257 if array.max() > 255 else 1), 0, 255).astype(np.uint8)
          image = Image.fromarray(array)
        if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
          image = image.convert('RGBA')
          image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
        return np.array(image.convert('RGB'))
  except InputError:
    raise
  except Image.DecompressionBombError as error:
    raise InputError(f'{path} is more than 50 megapixels: shrink it first.') from error
  except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
    raise InputError(f'{path} cannot be read as a picture, it is damaged or of an unknown format.') from error


@functools.cache
def _known_formats() -> list[str]:
  """Those of _FORMATS that this Pillow was built with."""
  Image.init()
  try:
    import pi_heif  # what phones photograph in
  except ImportError:
    pass
  else:
    pi_heif.register_heif_opener()
  return [name for name in _FORMATS if name in Image.OPEN]


def read_video(path: str | os.PathLike, fps: int = features.FPS) -> Clip:
  """Reads a whole clip: frames at `fps`, and the sound from the first frame on.

  Frames are picked by the nearest time stamp, so any constant or variable rate will do; rotation and the shape of
  pixels are obeyed, HDR is tone-mapped. A file that breaks off gives what could be decoded, and says so.

  Raises:
    InputError: the file cannot be opened, holds no video or a single frame, no frame can be decoded, or
      the decoded frames would not fit into 4 GiB.
  """
  reader = _Reader(path, fps)
  frames, total = [], 0
  for frame in reader.frames():
    frames.append(frame)
    total += frame.nbytes
    if total > _MAX_BYTES:
      raise InputError(
        f'{path} is too long for its size ({frame.shape[1]}x{frame.shape[0]}, over '
        f'{len(frames) / fps:.0f} seconds): cut it or scale it down.'
      )
  return Clip(frames, reader.samples(), reader.source_fps, reader.has_audio, reader.truncated)


def iter_video(path: str | os.PathLike, fps: int = features.FPS) -> Iterator[np.ndarray]:
  """The frames of `read_video`, uint8 [H, W, 3], one at a time: for videos of any length, without the sound."""
  return _Reader(path, fps, with_audio=False).frames()


class _Reader:
  """One pass over a file: frames are handed out as they come, sound is kept until asked for."""

  def __init__(self, path: str | os.PathLike, fps: int, with_audio: bool = True):
    self.source_fps = 0.0
    self.has_audio = False
    self.truncated = False
    self._path = path
    self._fps = fps
    self._with_audio = with_audio
    self._sound = audio.SoundCollector()
    self._start = 0.0

  def frames(self) -> Iterator[np.ndarray]:
    """Frame i of the output is the source frame whose time stamp is nearest to i / fps."""
    count, current, time, step = 0, None, 0.0, 0.0
    for frame, next_time in self._stamped():
      if current is None:
        self._start = next_time
      else:
        step = next_time - time
        if step > LONGEST_FRAME:
          raise InputError(f'{self._path} shows one picture for {step:.0f} seconds, it is damaged: convert it again.')
        middle = (time + next_time) / 2 - self._start
        while count / self._fps < middle - 1e-6:
          yield current
          count += 1
      current, time = frame, next_time
    if current is None:
      raise InputError(f'{self._path} holds no video frame that can be decoded: it is damaged or breaks off too early.')
    if not step:
      raise InputError(f'{self._path} holds a single picture, where a video is needed.')
    # The last frame lasts as long as the one before it.
    end = time - self._start + step
    for _ in range(max(count == 0, round(end * self._fps) - count)):
      yield current

  def samples(self) -> np.ndarray:
    """The sound from the first frame on, float32 [n]."""
    samples = self._sound.samples()
    if self._sound.start is None:
      return samples
    late = round((self._sound.start - self._start) * features.SAMPLE_RATE)
    return np.pad(samples, (late, 0)) if late > 0 else samples[-late:]

  def _stamped(self) -> Iterator[tuple[np.ndarray, float]]:
    with audio.open_media(self._path) as container:
      video = video_stream(container, self._path)
      video.codec_context.thread_count = 1  # clips are short: threads cost more than they bring
      self.source_fps = float(video.average_rate or video.guessed_rate or self._fps)
      streams: list[av.VideoStream | av.AudioStream] = [video]
      if self._with_audio and container.streams.audio:
        streams.append(container.streams.audio[0])
        self.has_audio = True
      last, aspect = None, pixel_aspect(video)
      reformatter = VideoReformatter()  # one for all frames: setting one up takes longer than its work on a frame
      for frame in audio.decode(container, streams, self._note_damage):
        if isinstance(frame, av.AudioFrame):
          self._sound.add(frame)
          continue
        time = frame.time
        if time is None or (last is not None and time <= last):  # without stamps: by the rate
          time = 0.0 if last is None else last + 1 / self.source_fps
        last = time
        check_size(round(frame.width * max(aspect, 1)), frame.height, self._path)  # it may change on the way
        yield upright(frame, reformatter, aspect), time
      if video.duration and video.time_base and last is not None:
        whole = float(video.duration * video.time_base)
        self.truncated |= last - self._start < whole - max(0.5, 0.1 * whole)

  def _note_damage(self, error: Exception) -> None:
    self.truncated = True


def video_stream(container: av.container.InputContainer, path: str | os.PathLike) -> av.VideoStream:
  """The file's first video stream; `InputError` if there is none that can be decoded here."""
  if not container.streams.video:
    raise InputError(f'{path} has no picture in it: give a video file.')
  video = next((stream for stream in container.streams.video if not audio.is_cover(stream)), container.streams.video[0])
  if video.codec_context is None:
    raise InputError(f'{path} is of a kind that cannot be decoded here: convert it to MP4 (H.264) first.')
  check_size(video.codec_context.width, video.codec_context.height, path)
  return video


def check_size(width: int, height: int, path: str | os.PathLike) -> None:
  """Raises `InputError` for frames that would take too much memory."""
  if width * height > _MAX_FRAME_PIXELS:
    raise InputError(f'{path} has frames of {width}x{height} pixels, more than 36 megapixels: scale it down first.')


def pixel_aspect(video: av.VideoStream) -> fractions.Fraction:
  """The width of a stored pixel by its height; 1 where it is square, nearly so, or not to be believed."""
  aspect = fractions.Fraction(video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio or 1)
  return aspect if 0.25 < aspect < 4 and abs(aspect - 1) > _SQUARE else fractions.Fraction(1)


def upright(
  frame: av.VideoFrame, reformatter: VideoReformatter | None = None, aspect: float | fractions.Fraction = 1
) -> np.ndarray:
  """uint8 [H, W, 3] RGB, turned as the file's display matrix says.

  Args:
    frame: as it was decoded.
    reformatter: one for a whole video saves time.
    aspect: its `pixel_aspect`: the picture is stretched sideways until its pixels are square. 1 leaves them.
  """
  width = None if aspect == 1 else round(frame.width * aspect)
  array = frame_colours.to_rgb(frame, reformatter, width)
  turns = round(frame.rotation / 90) % 4  # counter-clockwise
  return np.ascontiguousarray(np.rot90(array, turns)) if turns else array
