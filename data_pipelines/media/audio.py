"""Sound: any file to 16 kHz mono samples, samples to the MFCC rows that the nets take as input."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np

from data_pipelines import features
from data_pipelines.errors import InputError, check_file
from data_pipelines.media import downmix

# Of the cepstra; `atvg_jax.cepstra`, their twin on the device, shares them.
WINDOW = 400  # samples: 25 ms
FFT = 512
CEPSTRA = 13
PRE_EMPHASIS = 0.97
MELS = 26
_LIFTER = 22
# What libav would also draw as moving pictures: text, subtitles, text-mode art.
_NOT_MEDIA = ('tty', 'bin', 'xbin', 'adf', 'idf', 'srt', 'ass', 'webvtt')
# Lists of other files, which a stranger's file could name: nothing but the file itself is opened.
_LISTS = ('hls', 'applehttp', 'dash', 'concat', 'imf', 'lavfi', 'sdp', 'rtsp', 'image2')
_RATES = (2_000, 1_000_000)  # Hz, of sound that can be speech
_LONGEST_GAP = 600  # seconds: time stamps that jump further are damaged, and nothing is filled in
_FIRST_FRAMES = 20  # of a video, among which one must have a time stamp
_GAP = 0.1  # seconds: a longer hole between two packets of sound is filled with silence


def open_tagged(source: Any, protocol: str) -> av.container.InputContainer:
  """`av.open` to read by one protocol, where tags that are not UTF-8 do no harm. Only here is PyAV's version asked.

  PyAV 18 refuses a file for such a tag unless it is told to drop the bytes; 19 keeps them as lone surrogates.
  """
  tags: dict[str, Any] = {'metadata_errors': 'ignore'} if int(av.__version__.partition('.')[0]) < 19 else {}
  return av.open(source, 'r', options={'protocol_whitelist': protocol}, **tags)


@contextlib.contextmanager
def open_media(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
  """Opens a sound or video file for reading; `InputError` says why it cannot be."""
  path = check_file(path, 'a sound or video file')
  try:
    container = open_tagged(f'file:{path}', 'file')
  except (av.FFmpegError, OSError, ValueError) as error:
    raise InputError(
      f'{path} cannot be read as sound or video, it is damaged or of an unknown format ({_reason(error)}).'
    ) from error
  with container:
    if container.format.name in _NOT_MEDIA:
      raise InputError(f'{path} is not sound or video but text or drawings.')
    if set(container.format.name.split(',')) & set(_LISTS):
      raise InputError(f'{path} is not sound or video but a list of other files: give one of these.')
    yield container


def is_cover(stream: Any) -> bool:
  """Whether a stream of video is a picture beside the sound: an album's cover."""
  return bool(stream.disposition & av.stream.Disposition.attached_pic)


def video_start(container: av.container.InputContainer, path: str | os.PathLike) -> float | None:
  """The time stamp of a file's first picture, in seconds; None where it has no video.

  Args:
    container: the open file, which stays where it is.
    path: its name: pictures are looked for in the file opened once more.
  """
  videos = _videos(container)
  if not videos or videos[0].codec_context is None:
    return None
  with open_media(path) as again:
    frames = decode(again, _videos(again)[:1], lambda error: None)
    return next((frame.time for frame in itertools.islice(frames, _FIRST_FRAMES) if frame.time is not None), None)


def announced_start(container: av.container.InputContainer) -> float | None:
  """`video_start` by the file's head alone, for what can be read once only."""
  videos = _videos(container)
  if not videos or videos[0].start_time is None or videos[0].time_base is None:
    return None
  return float(videos[0].start_time * videos[0].time_base)


def _videos(container: av.container.InputContainer) -> list[Any]:
  return [stream for stream in container.streams.video if not is_cover(stream)]


def decode(
  container: av.container.InputContainer,
  streams: list,
  note_damage: Callable[[Exception], None],
) -> Iterator[Any]:
  """Every frame that can be decoded; a damaged packet is reported to `note_damage` and left out.

  Args:
    container: an open file.
    streams: some of its streams of sound or video.
    note_damage: called with what went wrong.

  Yields:
    `av.AudioFrame` or `av.VideoFrame`, as the streams are.
  """
  packets = container.demux(streams)
  while True:
    try:
      packet = next(packets)
    except StopIteration:
      return
    except (av.FFmpegError, ValueError) as error:
      note_damage(error)
      return
    try:
      frames = packet.decode()
    except (av.FFmpegError, ValueError) as error:
      note_damage(error)
      continue
    yield from frames


def _reason(error: Exception) -> str:
  return getattr(error, 'strerror', None) or str(error) or type(error).__name__


def check_rate(rate: int) -> None:
  """Raises InputError where nothing that can be speech has so many samples a second."""
  if not _RATES[0] <= rate <= _RATES[1]:
    raise InputError(f'the sound has {rate} samples a second: give one with {_RATES[0]} to {_RATES[1]}')


class SoundCollector:
  """Turns decoded frames of sound of any rate, layout and format into 16 kHz mono samples.

  Holes between the time stamps are filled with silence, so that sample i stays at `start + i / 16000`.

  Args:
    begin: seconds on the file's clock at which the samples begin, with silence where there is no sound yet. None: with
      the sound.
    cut: throw away what is earlier than `begin`; else the samples begin with it.

  Attributes:
    start: seconds on the file's clock; None before there is any sound.
  """

  def __init__(self, begin: float | None = None, cut: bool = False):
    self.start: float | None = None
    self._begin, self._may_cut = begin, cut
    self._cut = 0  # samples that are yet to be thrown away
    self._resampler = self._new_resampler()
    self._downmix = downmix.Downmix()
    self._chunks: list[np.ndarray] = []
    self._expected = 0.0  # seconds: when the next frame of sound is due

  @staticmethod
  def _new_resampler() -> av.AudioResampler:
    # The channels are averaged by `downmix`, not by the resampler: its sum of both is 3 dB too loud, and clips.
    # Packed, for PyAV reads beyond the planes of many channels.
    return av.AudioResampler(format='flt', rate=features.SAMPLE_RATE)

  def add(self, frame: av.AudioFrame) -> None:
    """Takes the next frame of the sound."""
    time = frame.time
    check_rate(frame.sample_rate)
    if self.start is None:
      self.start = self._expected = time or 0.0
      if self._begin is not None and abs(self._begin - self.start) <= _LONGEST_GAP:
        late = round((self.start - self._begin) * features.SAMPLE_RATE)
        self._chunks.append(np.zeros(max(0, late), np.float32))
        if late > 0 or self._may_cut:
          self._cut, self.start = max(0, -late), self._begin
    if time is not None and time - self._expected > _GAP:
      self._flush()
      if time - self._expected <= _LONGEST_GAP:
        self._chunks.append(np.zeros(round((time - self._expected) * features.SAMPLE_RATE), np.float32))
      self._expected = time
    self._expected += frame.samples / frame.sample_rate
    # Stamps are rounded to the file's time base; the resampler would stretch the sound to follow them.
    frame.pts = None
    self._take(self._resampler.resample(frame))

  def samples(self) -> np.ndarray:
    """float32 [n] in [-1, 1]: everything that was added, but for what `drain` gave."""
    self._flush()
    return self.drain()

  def drain(self) -> np.ndarray:
    """float32 [n] in [-1, 1]: what is ready by now, handed out once."""
    joined = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.float32)
    self._chunks = []
    return np.clip(np.nan_to_num(joined), -1.0, 1.0)

  def _take(self, frames: list[av.AudioFrame]) -> None:
    for frame in frames:
      chunk = self._downmix(frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T)
      self._chunks.append(chunk[self._cut :])
      self._cut -= min(self._cut, len(chunk))

  def _flush(self) -> None:
    if self.start is not None:
      self._take(self._resampler.resample(None))
      self._resampler = self._new_resampler()


def read_audio(path: str | os.PathLike) -> np.ndarray:
  """Reads the sound of any sound or video file.

  Returns:
    float32 [n] in [-1, 1], 16 kHz mono; of a video from its first picture on where the sound begins
    later. A file that breaks off gives what could be decoded.

  Raises:
    InputError: the file is missing, empty, a directory, not media, or holds no sound.
  """
  damage: list[Exception] = []
  with open_media(path) as container:
    if not container.streams.audio:
      raise InputError(f'{path} has no sound in it: give a file with an audio track.')
    collector = SoundCollector(video_start(container, path))
    for frame in decode(container, [container.streams.audio[0]], damage.append):
      collector.add(frame)
  samples = collector.samples()
  if not samples.size:
    raise InputError(
      f'{path} has an audio track with nothing in it that can be decoded'
      f'{f" ({_reason(damage[0])})" if damage else ""}: get the file again.'
    )
  return samples


def num_frames(samples: np.ndarray) -> int:
  """How many video frames it takes to cover all of `samples` [n]."""
  return -(-len(samples) // features.SAMPLES_PER_FRAME)


def mfcc(samples: np.ndarray) -> np.ndarray:
  """Mel cepstra as `python_speech_features.mfcc(samples, 16000, winstep=0.01)` computes them.

  25 ms windows every 10 ms, 26 bands, 512-point FFT, pre-emphasis 0.97, lifter 22, the first coefficient
  replaced by the log energy. Built from librosa's pieces; four of its habits differ and are done by hand here.

  Args:
    samples: [n] at 16 kHz, in [-1, 1].

  Returns:
    float32 [1 + max(0, ceil((n - 400) / 160)), 13].
  """
  # Imported here: librosa takes 1.5 seconds, which only those who need sound should wait.
  from librosa import stft
  from librosa.feature import mfcc as cepstra

  samples = np.asarray(samples, np.float64)
  emphasised = np.append(samples[:1], samples[1:] - PRE_EMPHASIS * samples[:-1])
  # librosa centres the window in the FFT frame, where the original puts it first: shift by half the difference.
  left = (FFT - WINDOW) // 2
  length = (num_rows(len(samples)) - 1) * features.MFCC_HOP + FFT
  padded = np.pad(emphasised, (left, max(0, length - left - len(emphasised))))[:length]
  spectrum = stft(padded, n_fft=FFT, hop_length=features.MFCC_HOP, win_length=WINDOW, window='boxcar', center=False)
  power = np.abs(spectrum) ** 2 / FFT  # [257, rows]
  epsilon = np.finfo(np.float64).eps
  bands = mel_triangles() @ power
  log_bands = np.log(np.where(bands == 0, epsilon, bands))
  rows = cepstra(S=log_bands, n_mfcc=CEPSTRA, dct_type=2, norm='ortho', lifter=0).T
  rows = rows * lifter()
  energy = power.sum(axis=0)
  rows[:, 0] = np.log(np.where(energy == 0, epsilon, energy))
  return rows.astype(np.float32)


def num_rows(num_samples: int) -> int:
  """How many rows `mfcc` makes of so many samples."""
  return 1 + max(0, -(-(num_samples - WINDOW) // features.MFCC_HOP))


def mel_corners() -> np.ndarray:
  """[28]: frequencies at equal steps in mel, in Hz: the bands' middles, before them 0 and after them 8000."""
  # As `librosa.mel_frequencies(28, fmin=0, fmax=8000, htk=True)`, whose import takes 1.5 seconds.
  return 700 * (10 ** (np.linspace(0, np.log10(1 + features.SAMPLE_RATE / 2 / 700), MELS + 2)) - 1)


def mel_triangles() -> np.ndarray:
  """[26, 257]: triangles whose corners are rounded down to FFT bins, unlike librosa's."""
  corners = np.floor((FFT + 1) * mel_corners() / features.SAMPLE_RATE)
  bins = np.arange(FFT // 2 + 1)
  low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
  rising = (bins - low) / (middle - low)
  falling = (high - bins) / (high - middle)
  return np.where((bins >= low) & (bins < middle), rising, np.where((bins >= middle) & (bins < high), falling, 0.0))


def lifter() -> np.ndarray:
  """[13]: factors of the cepstra."""
  return 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / _LIFTER)


def cepstral_matrices() -> tuple[np.ndarray, np.ndarray]:
  """float32 [257, 26]: power to mel bands; [26, 13]: their logarithms to liftered cepstra, an orthonormal DCT-II."""
  bands, k = np.arange(MELS), np.arange(CEPSTRA)
  dct = np.cos(np.pi * k * (2 * bands[:, None] + 1) / (2 * MELS)) * np.sqrt(np.where(k, 2, 1) / MELS)
  return mel_triangles().T.astype(np.float32), (dct * lifter()).astype(np.float32)


def frame_rows(samples: np.ndarray, num_frames: int) -> np.ndarray:
  """The MFCC rows of `num_frames` video frames, 120 ms of silence put at both ends.

  Args:
    samples: [n] at 16 kHz; cut or filled with silence to `num_frames` frames.
    num_frames: T.

  Returns:
    float32 [4 T + 24, 12], the energy dropped: the window of frame t has the rows 4 t ... 4 t + 27.
  """
  length = num_frames * features.SAMPLES_PER_FRAME
  sound = np.zeros(length, np.float32)
  sound[: min(length, len(samples))] = samples[:length]
  silence = features.MFCC_CONTEXT * features.MFCC_HOP
  # One hop more at the end, for the last row's window.
  rows = mfcc(np.pad(sound, (silence, silence + features.MFCC_HOP)))
  return rows[: num_frames * features.MFCC_ROWS_PER_FRAME + 2 * features.MFCC_CONTEXT, 1:]


def windows(rows: np.ndarray) -> np.ndarray:
  """[4 T + 24, 12] -> [T, 28, 12]: the window of each frame, a view without a copy."""
  view = np.lib.stride_tricks.sliding_window_view(rows, features.MFCC_WINDOW, axis=0)
  return view[:: features.MFCC_ROWS_PER_FRAME].transpose(0, 2, 1)  # [T, 28, 12]
