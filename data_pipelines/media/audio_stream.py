"""Sound of any length, in pieces: read, used and thrown away.

Pieces are float32 [n] in [-1, 1] at 16 kHz mono, of any length that suits where they come from.
"""

import io
import itertools
import os
import tempfile
import wave
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple, cast

import av
import numpy as np

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio

_RAW_BYTES = 4096  # of a pipe, at once: an eighth of a second
_CHANNELS = 64
_HEADER = 1 << 16  # bytes: what is no plain WAV is found out before
_MOST_KEPT = 2 << 30  # bytes of a pipe whose index is at its end
# In the first bytes of MP4 and its kin, and of CAF: their index may be behind the sound, and a pipe cannot go back.
_WITH_AN_INDEX = (b'ftyp', b'moov', b'mdat', b'free', b'skip', b'wide', b'caff')
_STANDARD_INPUT = 'standard input'
_SHORT = 60 * features.SAMPLE_RATE  # samples, 4 MB: so much sound is kept rather than read twice


class Measured(NamedTuple):
  """A file's sound, and what a first look at it shows.

  Attributes:
    pieces: the sound, as `read_pieces` gives it.
    num_samples: its length.
    peak: the loudest sample, in [0, 1].
  """

  pieces: Iterator[np.ndarray]
  num_samples: int
  peak: float


def read_pieces(path: str | os.PathLike, from_picture: bool = False) -> Iterator[np.ndarray]:
  """The sound of `audio.read_audio`, in pieces.

  Args:
    path: a sound or video file.
    from_picture: of a video, leave out what is earlier than its first picture.

  Raises:
    InputError: as there; raised at the first piece.
  """
  with audio.open_media(path) as container:
    if not container.streams.audio:
      raise InputError(f'{path} has no sound in it: give a file with an audio track.')
    frames = audio.decode(container, [container.streams.audio[0]], lambda error: None)
    yield from _decoded(frames, path, audio.SoundCollector(audio.video_start(container, path), from_picture))


def measured(path: str | os.PathLike) -> Measured:
  """The sound of a file with its length and peak: reads all of it, and again while pieces are taken if it is long.

  Raises:
    InputError: as `read_pieces`.
  """
  kept: list[np.ndarray] = []
  count, peak = 0, 0.0
  for piece in read_pieces(path):
    count += len(piece)
    peak = max(peak, float(piece.max(initial=0)), -float(piece.min(initial=0)))
    if count <= _SHORT:
      kept.append(piece)
  return Measured(iter(kept) if count <= _SHORT else read_pieces(path), count, peak)


def pipe_pieces(file: BinaryIO, raw: bool = False) -> Iterator[np.ndarray]:
  """Sound from a pipe, as it comes.

  Args:
    file: what is read, e.g. `sys.stdin.buffer`.
    raw: 16-bit little-endian samples at 16 kHz mono without a header; else WAV or any format that can be read
      from front to back.

  Raises:
    InputError: it cannot be read as sound, or there is nothing.
  """
  if raw:
    left, seen = b'', 0
    while content := _read_some(file, _RAW_BYTES):
      content = left + content
      whole = len(content) // 2 * 2
      left, seen = content[whole:], seen + whole
      yield np.frombuffer(content[:whole], '<i2').astype(np.float32) / 32768
    if not seen:
      raise InputError('standard input is empty: pipe 16-bit samples at 16 kHz mono into it')
    return
  pipe = _Pipe(file)
  try:
    # Not by libav: it reads two seconds before it opens a WAV, and who speaks live would wait for them. It stays open
    # while the caller takes pieces.
    header = wave.open(cast(BinaryIO, pipe))  # noqa: SIM115
  except (wave.Error, EOFError):
    pipe.rewind()
  else:
    yield from _wave_pieces(header)
    return
  yield from _container_pieces(pipe)


def _container_pieces(pipe: '_Pipe') -> Iterator[np.ndarray]:
  """The sound of a pipe that is no plain WAV: as it comes or, where its index is at its end, when all of it is here."""
  opened = False
  try:
    with audio.open_tagged(pipe, 'pipe') as container:
      opened = True
      frames = _sound_frames(container)
      first = next(frames, None)
      if first is not None:
        pipe.forget()
        yield from _decoded(itertools.chain([first], frames), _STANDARD_INPUT, _collector(container))
        return
  except (av.FFmpegError, OSError, ValueError) as error:
    if not opened and not pipe.begins_with(_WITH_AN_INDEX):
      raise InputError(
        'standard input cannot be read as sound: pipe a WAV file into it, or 16-bit samples at 16 kHz mono with --raw'
      ) from error
  with pipe.whole() as file:
    try:
      container = audio.open_tagged(file, 'pipe')
    except (av.FFmpegError, OSError, ValueError) as error:
      raise InputError('standard input cannot be read as sound: it is damaged, or of an unknown format') from error
    with container:
      yield from _decoded(_sound_frames(container), _STANDARD_INPUT, _collector(container))


def _collector(container: av.container.InputContainer) -> audio.SoundCollector:
  return audio.SoundCollector(audio.announced_start(container))


def _sound_frames(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
  if not container.streams.audio:
    raise InputError('standard input has no sound in it: pipe a WAV file into it')
  return audio.decode(container, [container.streams.audio[0]], lambda error: None)


def mfcc_windows(
  pieces: Iterable[np.ndarray], window: int, mfcc: Callable[[np.ndarray], np.ndarray] = audio.mfcc
) -> Iterator[tuple[np.ndarray, int]]:
  """MFCC of sound in pieces, a window as soon as its sound is there: 120 ms after its last frame.

  Args:
    pieces: the sound.
    window: W, frames in a window.
    mfcc: [n] → [rows, 13].

  Yields:
    [1, W, 28, 12], and how many of the W frames it takes to cover the sound: W, or less in the last window, whose
    rest is silence. The numbers are those of `audio.windows(audio.frame_rows(samples, num_frames))`.
  """
  rows = window * features.MFCC_ROWS_PER_FRAME + 2 * features.MFCC_CONTEXT
  # One row early, and dropped again: pre-emphasis looks one sample back. Two hops more for the last row's end, which
  # reaches 240 samples beyond its hop.
  before = (features.MFCC_CONTEXT + 1) * features.MFCC_HOP
  length = (rows + 3) * features.MFCC_HOP
  step = window * features.SAMPLES_PER_FRAME
  sound = np.zeros(before, np.float32)  # from `before` samples ahead of the window on

  def first_window() -> np.ndarray:
    content = np.zeros(length, np.float32)
    content[: min(length, len(sound))] = sound[:length]
    return audio.windows(mfcc(content)[1 : 1 + rows, 1:])[None]

  for piece in pieces:
    sound = np.concatenate([sound, np.asarray(piece, np.float32)])
    while len(sound) >= length:
      yield first_window(), window
      sound = sound[step:]
  real = len(sound) - before
  while real > 0:
    yield first_window(), min(window, -(-real // features.SAMPLES_PER_FRAME))
    sound, real = sound[step:], real - step


def _wave_pieces(reader: wave.Wave_read) -> Iterator[np.ndarray]:
  """A WAV with a header of the plain kind."""
  channels, width, rate = reader.getnchannels(), reader.getsampwidth(), reader.getframerate()
  audio.check_rate(rate)
  if not 1 <= channels <= _CHANNELS or width > 4:
    raise InputError(f'the sound has {channels} channels of {8 * width} bits: give one with at most {_CHANNELS}, of 32')

  def frames():
    while content := reader.readframes(max(1, rate // 8)):
      content = content[: len(content) // (channels * width) * channels * width]
      if width == 3:  # libav knows no 24 bits: they become the upper ones of 32
        content = np.pad(np.frombuffer(content, np.uint8).reshape(-1, 3), ((0, 0), (1, 0))).tobytes()
      values = np.frombuffer(content, {1: '<u1', 2: '<i2', 3: '<i4', 4: '<i4'}[width])
      if not values.size:
        return
      frame = av.AudioFrame.from_ndarray(
        values[None], format={1: 'u8', 2: 's16'}.get(width, 's32'), layout=f'{channels}c'
      )
      frame.sample_rate = rate
      yield frame

  yield from _decoded(frames(), _STANDARD_INPUT)


def _decoded(
  frames: Iterable[av.AudioFrame], name: str | os.PathLike, collector: audio.SoundCollector | None = None
) -> Iterator[np.ndarray]:
  collector, empty = collector or audio.SoundCollector(), True
  for frame in frames:
    collector.add(frame)
    piece = collector.drain()
    if len(piece):
      empty = False
      yield piece
  piece = collector.samples()
  if len(piece):
    yield piece
  elif empty:
    raise InputError(f'{name} has an audio track with nothing in it that can be decoded: get the file again.')


def _read_some(file: BinaryIO, size: int) -> bytes:
  """What is there, at least one byte, unlike `read`, which waits for all of `size`."""
  return file.read1(size) if hasattr(file, 'read1') else file.read(size)


class _Pipe:
  """A file that can only be read on, and is remembered until it is known that nobody wants to go back."""

  def __init__(self, file: BinaryIO):
    self._file = file
    self._head = b''
    # Closed when nobody wants it any more.
    self._seen: BinaryIO | None = cast(BinaryIO, tempfile.SpooledTemporaryFile(_HEADER))  # noqa: SIM115
    self._again = False  # what is remembered comes once more
    self._wanted = True  # what is read is to be remembered

  def read(self, size: int) -> bytes:
    if self._again and self._seen is not None:
      if content := self._seen.read(size):
        return content
      self._again = False
    if not self._wanted and self._seen is not None:
      self._seen.close()
      self._seen = None
    content = b''
    while len(content) < size and (more := _read_some(self._file, size - len(content))):
      content += more
    self._remember(content)
    return content

  def begins_with(self, marks: Iterable[bytes]) -> bool:
    """Whether one of `marks` stands in the first bytes."""
    return any(mark in self._head for mark in marks)

  def rewind(self) -> None:
    assert self._seen is not None
    self._seen.seek(0)
    self._again = True

  def forget(self) -> None:
    """What is read from now on is not kept."""
    self._wanted = False

  def whole(self) -> BinaryIO:
    """All that there is, in a file to be closed that is on the disk where it is long.

    Raises:
      InputError: it is endless, or nearly so.
    """
    assert self._seen is not None
    self._seen.seek(0, io.SEEK_END)
    self._again = False
    while self.read(_HEADER):
      if self._seen.tell() > _MOST_KEPT:
        raise InputError('standard input has its index after more than 2 GB of sound: give its file as --audio')
    self._seen.seek(0)
    return self._seen

  def _remember(self, content: bytes) -> None:
    if self._seen is not None:
      self._head = (self._head + content)[:12] if len(self._head) < 12 else self._head
      self._seen.write(content)


def sound_windows(pieces: Iterable[np.ndarray], past: int, window: int, ahead: int) -> Iterator[tuple[np.ndarray, int]]:
  """Windows that follow each other with the sound around them, each as soon as that is there.

  Args:
    pieces: the sound.
    past: frames of sound before a window.
    window: frames in it.
    ahead: frames after it.

  Yields:
    float32 [640 (past + window + ahead)], silent beyond the sound's ends, and how many of the window's frames it takes
    to cover the sound: all, or less in the last window.
  """
  size = (past + window + ahead) * features.SAMPLES_PER_FRAME
  step, before = window * features.SAMPLES_PER_FRAME, past * features.SAMPLES_PER_FRAME
  sound = np.zeros(before, np.float32)  # from the window's past on
  for piece in pieces:
    sound = np.concatenate([sound, np.asarray(piece, np.float32)])
    while len(sound) >= size:
      yield sound[:size], window
      sound = sound[step:]
  real = len(sound) - before
  while real > 0:
    content = np.zeros(size, np.float32)
    content[: min(size, len(sound))] = sound[:size]
    yield content, min(window, -(-real // features.SAMPLES_PER_FRAME))
    sound, real = sound[step:], real - step
