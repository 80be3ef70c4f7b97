"""Frames and sound out: H.264 and AAC, as a file that is there when it is whole, or as a stream while it is made."""

import contextlib
import fractions
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from data_pipelines import atomic_files, features
from data_pipelines.errors import InputError
from data_pipelines.media import frame_colours
from data_pipelines.media.source_video import Look

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv')
_FORMATS = {'.mkv': 'matroska', '.mov': 'mov'}

# What a stream is cut into, seconds. A fragment is written when the first frame of the next has come: shorter than the
# pieces of .2 s that frames come in, so that none waits for the next piece to begin.
_FRAGMENT = 0.1
_STREAMING = {
  'mp4': {'movflags': 'delay_moov+default_base_moof', 'frag_duration': str(round(_FRAGMENT * 1e6))},
  'matroska': {'cluster_time_limit': str(round(_FRAGMENT * 1e3)), 'live': '1'},
}
_STREAMING['mov'] = _STREAMING['mp4']

# AAC begins with 64 ms that are to be skipped. Files of MP4 and MOV have an edit list that says so; Matroska has none,
# and many readers ignore those of fragmented files: there the sound is lossless, and begins with its first sample.
_WITHOUT_PRIMING = {'matroska': 'flac', 'mp4': 'flac', 'mov': 'alac'}

# 25 frames a second, and BT.601, what the conversion uses: players guess another above SD.
OWN_LOOK = Look(
  fractions.Fraction(1, features.FPS),
  fractions.Fraction(features.FPS),
  fractions.Fraction(1),
  frame_colours.Colours(),
  '',
)

# Frames above this many pixels are encoded with less looking ahead: 40 frames of a photograph fill gigabytes.
_LARGE = 3_000_000
# Frames of at most so many pixels are encoded by one thread: on more, the encoder spends as much again on waiting.
_SMALL = 256 * 256


class VideoWriter:
  """Writes frames, and the sound that goes with them, as H.264 and AAC; 25 frames a second, or as another video is.

  A context manager. The file is written under a temporary name beside its own and renamed when all is well;
  after an exception nothing is left behind. With `stream` it grows under its own name instead, in fragments that a
  player can follow.

  Args:
    path: ends in .mp4, .m4v, .mov or .mkv; or something to write bytes to, for a stream of fragmented MP4.
    size: (height, width) of the frames; odd sizes are widened by one repeated row or column.
    sound: float32 [n] in [-1, 1], 16 kHz mono, or an iterable of such pieces, read as they are needed; None for a
      silent film. What is longer than the frames is cut.
    comment: written as JSON into the file's comment tag.
    stream: write while frames come, the first within a fraction of a second.
    quick: encode with less effort, in a third of the time; the file is larger.
    look: another video's clock, shape of pixels and colours to write in.

  Raises:
    InputError: the name or folder will not do.
  """

  def __init__(
    self,
    path: str | os.PathLike | BinaryIO,
    size: tuple[int, int],
    sound: np.ndarray | Iterable[np.ndarray] | None = None,
    comment: Mapping[str, Any] | None = None,
    *,
    stream: bool = False,
    quick: bool = False,
    look: Look = OWN_LOOK,
  ):
    self.num_frames = 0
    self._look = look
    self._end = 0  # the tick at which the last frame ends
    self._usual_duration = max(1, round(1 / (look.rate * look.time_base)))
    self.path = os.fspath(path) if isinstance(path, (str, os.PathLike)) else '-'
    self._size = tuple(size)
    self._sound = None
    if sound is not None:
      self._sound = _Pieces([sound] if isinstance(sound, np.ndarray) else sound)
    self._num_samples = 0
    self._unfinished: atomic_files.Unfinished | None = None
    self._finished = False
    target: str | _Bytes
    if not isinstance(path, (str, os.PathLike)):
      target, form, stream = _Bytes(path), 'mp4', True
    else:
      check_name(self.path)
      form = _FORMATS.get(os.path.splitext(self.path)[1].lower(), 'mp4')
      target = os.path.abspath(self.path)  # a name such as tcp:a.mp4 is no address
      if not stream:
        try:
          self._unfinished = atomic_files.Unfinished(self.path)
        except OSError as error:
          raise InputError(f'{self.path} cannot be written ({error.strerror}): choose another folder.') from error
        target = self._unfinished.path
    options = _STREAMING[form] | {'flush_packets': '1'} if stream else {'movflags': 'faststart'}
    if form == 'matroska' and not stream:
      options = {}
    try:
      self._container = av.open(target, 'w', format=form, options=options)
    except (av.FFmpegError, OSError) as error:
      if self._unfinished is not None:
        self._unfinished.discard()
      raise InputError(f'{self.path} cannot be written ({error.strerror}): choose another folder.') from error
    try:
      if comment is not None:
        self._container.metadata['comment'] = json.dumps(comment)
      self._open_tracks(form, stream, quick)
    except BaseException:
      self._discard()
      raise

  def _open_tracks(self, form: str, stream: bool, quick: bool) -> None:
    options = {'crf': '18'} | ({'preset': 'veryfast'} if quick else {})
    if stream:
      options |= {'preset': 'veryfast', 'tune': 'zerolatency', 'g': str(round(self._look.rate))}
    elif self._size[0] * self._size[1] > _LARGE:
      options |= {'preset': 'veryfast', 'rc-lookahead': '5', 'bf': '0'}
    if self._size[0] * self._size[1] <= _SMALL:
      # As near to the frames as a crf of 18 by the default effort, in half of its time; files of 128x128 grow by 40 %.
      options |= {'threads': '1', 'preset': 'veryfast', 'crf': '14'}
    self._video = self._container.add_stream('libx264', rate=self._look.rate, options=options)
    self._video.height, self._video.width = (side + side % 2 for side in self._size)
    self._video.pix_fmt = 'yuv420p'
    codec, colours = self._video.codec_context, self._look.colours
    codec.colorspace, codec.color_primaries, codec.color_trc = colours
    codec.color_range = frame_colours.LIMITED
    codec.sample_aspect_ratio = self._look.aspect
    codec.time_base = self._video.time_base = self._look.time_base
    self._reformatter = VideoReformatter()
    self._audio: av.AudioStream | None = None
    if self._sound is not None:
      codec_name = 'aac' if form != 'matroska' and not stream else _WITHOUT_PRIMING[form]
      # At this bit rate the fast coder without what saves bits is nearer to the sound than the default one, at a third
      # of its time.
      coder = {'aac_coder': 'fast', 'aac_tns': '0', 'aac_pns': '0'} if codec_name == 'aac' else {}
      if stream and codec_name == 'flac':  # in blocks of 16 ms: a picture is not written before the sound beside it
        coder = {'compression_level': '2'}
      audio = self._container.add_stream(codec_name, rate=features.SAMPLE_RATE, options=coder, layout='mono')
      assert isinstance(audio, av.AudioStream), 'both are codecs of sound'
      if codec_name == 'aac':
        audio.bit_rate = 96_000
      self._audio = audio

  def append(self, frame: np.ndarray, ticks: int | None = None, duration: int | None = None) -> None:
    """Adds one frame.

    Args:
      frame: uint8 [H, W, 3].
      ticks: of the look's time base, from which on it is shown; None: when the one before is over.
      duration: how many it is shown; None: as many as the rate has.
    """
    if frame.shape != (*self._size, 3) or frame.dtype != np.uint8:
      raise ValueError(f'frame of shape {frame.shape} and {frame.dtype}, where uint8 {(*self._size, 3)} was announced')
    if self._size[0] % 2 or self._size[1] % 2:
      frame = np.pad(frame, [(0, side % 2) for side in self._size] + [(0, 0)], mode='edge')
    ticks = self._end if ticks is None else ticks
    duration = self._usual_duration if duration is None else duration
    self._end = ticks + duration
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')
    picture = frame_colours.to_yuv(picture, self._look.colours, self._reformatter)
    picture.pts, picture.time_base, picture.duration = ticks, self._look.time_base, duration
    self._mux(self._video.encode(picture))
    self.num_frames += 1
    self._write_sound(self._end)

  def finish(self) -> None:
    """Writes the rest: all that can still fail. `close` then gives the file its name."""
    if self._finished:
      return
    try:
      if not self.num_frames:
        raise ValueError('a video needs at least one frame')
      self._mux(self._video.encode())
      if self._audio is not None:
        self._mux(self._audio.encode())
      try:
        self._container.close()
      except (av.FFmpegError, OSError) as error:
        raise self._full(error) from error
      self._finished = True
    except BaseException:
      self._discard()
      raise

  def close(self) -> None:
    """Finishes the file and gives it its name."""
    self.finish()
    if self._unfinished is not None:
      self._unfinished.publish()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, value, traceback) -> None:
    if kind is None:
      self.close()
    else:
      self._discard()

  def _write_sound(self, ticks: int) -> None:
    """Sound up to a tick, silence where it is over, so that both tracks are of one length."""
    end = round(ticks * self._look.time_base * features.SAMPLE_RATE)
    if self._audio is None or self._sound is None or end <= self._num_samples:
      return
    chunk = np.clip(self._sound.take(end - self._num_samples), -1, 1)
    frame = av.AudioFrame.from_ndarray(chunk[None], format='fltp', layout='mono')
    frame.sample_rate = features.SAMPLE_RATE
    frame.pts = self._num_samples
    frame.time_base = fractions.Fraction(1, features.SAMPLE_RATE)
    self._mux(self._audio.encode(frame))
    self._num_samples = end

  def _mux(self, packets: list[av.Packet]) -> None:
    try:
      self._container.mux(packets)
    except (av.FFmpegError, OSError) as error:
      raise self._full(error) from error

  def _full(self, error: Exception) -> InputError:
    reason = getattr(error, 'strerror', None) or type(error).__name__
    return InputError(
      f'{self.path} cannot be written any further ({reason}): is the disk full, or has the reader gone?'
    )

  def _discard(self) -> None:
    with contextlib.suppress(Exception):
      self._container.close()
    if self._unfinished is not None:
      self._unfinished.discard()


def check_name(path: str) -> None:
  """Raises InputError where `path` cannot be the name of a video to write."""
  folder, name = os.path.split(os.path.abspath(path))
  if not name.lower().endswith(VIDEO_SUFFIXES):
    raise InputError(f'{path} must end in {", ".join(VIDEO_SUFFIXES)}: the video is written as H.264.')
  atomic_files.check_name(path)
  if os.path.isdir(path):
    raise InputError(f'{path} is a directory, where the name of a video file is needed.')
  if not os.path.isdir(folder):
    raise InputError(f'{folder} does not exist: make the folder first.')


class _Pieces:
  """Sound in pieces of any length, handed out in pieces of a wanted length."""

  def __init__(self, pieces: Iterable[np.ndarray]):
    self._pieces = iter(pieces)
    self._rest = np.zeros(0, np.float32)

  def take(self, count: int) -> np.ndarray:
    """The next `count` samples, silence where the sound is over."""
    parts, missing = [], count
    while missing:
      if not len(self._rest):
        piece = next(self._pieces, None)
        if piece is None:
          parts.append(np.zeros(missing, np.float32))
          break
        self._rest = np.asarray(piece, np.float32)
      parts.append(self._rest[:missing])
      self._rest = self._rest[missing:]
      missing -= len(parts[-1])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class _Bytes:
  """Standard output, say: it can be written to, and nothing else."""

  def __init__(self, file: BinaryIO):
    self._file = file

  def write(self, content: bytes) -> int:
    self._file.write(content)
    self._file.flush()
    return len(content)
