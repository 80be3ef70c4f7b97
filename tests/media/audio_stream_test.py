"""Sound in pieces is the sound in one piece, from a file and from a pipe."""

import io
import os
import threading
import wave

import av
import numpy as np
import pytest
import stamped_videos

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio, audio_stream


def _noise(count, seed=0):
  return (np.random.default_rng(seed).normal(size=count) * 0.1).astype(np.float32)


def _wav(samples, rate=16_000):
  file = io.BytesIO()
  with wave.open(file, 'wb') as writer:
    writer.setparams((1, 2, rate, 0, 'NONE', ''))
    writer.writeframes(np.round(samples * 32767).astype('<i2').tobytes())
  return file.getvalue()


def _cut(samples, rng):
  while len(samples):
    count = int(rng.integers(1, 3000))
    yield samples[:count]
    samples = samples[count:]


@pytest.mark.parametrize('num_samples', [1, 640, 4 * 640, 8 * 640 + 1, 8 * 640 - 1, 7001, 11 * 640 + 200])
def test_windows_of_pieces_are_those_of_the_whole_sound(num_samples):
  samples = _noise(num_samples)
  windows = list(audio_stream.mfcc_windows(_cut(samples, np.random.default_rng(1)), 4))
  num_frames = audio.num_frames(samples)
  assert sum(count for _, count in windows) == num_frames
  assert all(count == 4 for _, count in windows[:-1])
  joined = np.concatenate([mfcc for mfcc, _ in windows], axis=1)[0, :num_frames]
  np.testing.assert_allclose(joined, audio.windows(audio.frame_rows(samples, num_frames)), atol=1e-4)


def test_a_window_comes_as_soon_as_it_can_be_heard():
  asked = []

  def pieces():
    for number in range(100):
      asked.append(number)
      yield np.zeros(640, np.float32)

  next(audio_stream.mfcc_windows(pieces(), 8))
  assert len(asked) <= 8 + 4  # 120 ms more than the window


@pytest.mark.parametrize('rate', [16_000, 44_100])
def test_a_file_in_pieces_is_the_file(tmp_path, rate):
  path = tmp_path / 'a.wav'
  path.write_bytes(_wav(_noise(3 * rate), rate))
  pieces = list(audio_stream.read_pieces(path))
  whole = audio.read_audio(path)
  assert len(pieces) > 3
  np.testing.assert_array_equal(np.concatenate(pieces), whole)
  measured = audio_stream.measured(path)
  assert measured.num_samples == len(whole) and measured.peak == np.abs(whole).max()
  np.testing.assert_array_equal(np.concatenate(list(measured.pieces)), whole)


@pytest.fixture
def opened(monkeypatch):
  """The names of the files that are opened from here on."""
  names, real = [], audio.open_media
  monkeypatch.setattr(audio, 'open_media', lambda name: names.append(name) or real(name))
  return names


def test_long_sound_is_read_again_and_not_kept(tmp_path, opened):
  path = tmp_path / 'a.wav'
  path.write_bytes(_wav(_noise(61 * 16_000)))
  measured = audio_stream.measured(path)
  assert measured.num_samples == 61 * 16_000
  opened.clear()
  assert sum(map(len, measured.pieces)) == measured.num_samples and opened == [path]


def test_short_sound_without_pictures_is_opened_once(tmp_path, opened):
  path = tmp_path / 'a.wav'
  path.write_bytes(_wav(_noise(16_000)))
  assert sum(map(len, audio_stream.measured(path).pieces)) == 16_000 and opened == [path]


@pytest.mark.parametrize('raw', [True, False])
def test_a_pipe_gives_sound_before_it_ends(raw):
  samples = _noise(32_000)
  content = _wav(samples)[44 if raw else 0 :]
  read_end, write_end = os.pipe()
  first = threading.Event()

  def speak():
    with os.fdopen(write_end, 'wb', buffering=0) as file:
      file.write(content[:24_000])
      first.wait(10)
      file.write(content[24_000:24_001])  # half a sample
      file.write(content[24_001:])

  thread = threading.Thread(target=speak)
  thread.start()
  with os.fdopen(read_end, 'rb') as file:
    pieces = audio_stream.pipe_pieces(file, raw)
    got = [next(pieces)]
    first.set()
    got += pieces
  thread.join()
  np.testing.assert_allclose(np.concatenate(got), samples, atol=1e-4)


@pytest.mark.parametrize(
  'content, raw, reason',
  [
    (b'', True, 'is empty'),
    (b'', False, 'cannot be read'),
    (b'no sound at all' * 9, False, 'cannot be read'),
    (_wav(np.zeros(0)), False, 'nothing in it'),
  ],
)
def test_a_pipe_without_sound_is_told(content, raw, reason):
  with pytest.raises(InputError, match=reason):
    list(audio_stream.pipe_pieces(io.BytesIO(content), raw))


@pytest.mark.parametrize('name, codec', [('a.m4a', 'aac'), ('a.mov', 'alac'), ('a.mkv', 'aac')])
def test_a_pipe_gives_what_the_file_gives_wherever_its_index_is(tmp_path, name, codec):
  samples = _noise(20 * 16_000)
  with av.open(str(tmp_path / name), 'w') as container:
    stream = container.add_stream(codec, rate=16_000, layout='mono')
    frame = av.AudioFrame.from_ndarray(samples[None], format='fltp', layout='mono')
    frame.sample_rate = 16_000
    for part in av.AudioResampler(format=stream.format, layout='mono', rate=16_000).resample(frame):
      container.mux(stream.encode(part))
    container.mux(stream.encode())
  content = (tmp_path / name).read_bytes()
  assert len(content) > 1 << 17  # more than is looked at to find out what it is
  piped = np.concatenate(list(audio_stream.pipe_pieces(_OneWay(content))))
  whole = audio.read_audio(tmp_path / name)
  assert abs(len(piped) - len(whole)) < 1_000
  assert np.corrcoef(piped[: 19 * 16_000], whole[: 19 * 16_000])[0, 1] > 0.999


class _OneWay(io.RawIOBase):
  """A pipe: it can only be read on, and gives what it likes."""

  def __init__(self, content):
    self._content = io.BytesIO(content)

  def read(self, size=-1):
    return self._content.read(min(size, 5_000))


def test_lists_of_other_files_are_not_followed(tmp_path):
  (tmp_path / 'a.wav').write_bytes(_wav(_noise(16_000)))
  (tmp_path / 'a.ffconcat').write_text("ffconcat version 1.0\nfile 'a.wav'\n")
  (tmp_path / 'a.m3u8').write_text('#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\na.wav\n#EXT-X-ENDLIST\n')
  for name in ('a.ffconcat', 'a.m3u8'):
    with pytest.raises(InputError, match=r'list of other files|cannot be read'):
      audio.read_audio(tmp_path / name)


def test_names_with_colons_are_files(tmp_path):
  path = tmp_path / 'http:a,b;c.wav'
  path.write_bytes(_wav(_noise(1_600)))
  assert len(audio.read_audio(path)) == 1_600


def test_frames_hear_what_the_contract_says():
  assert features.MFCC_CONTEXT * features.MFCC_HOP == 0.12 * features.SAMPLE_RATE


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.ts'])
@pytest.mark.parametrize('sound_start', [0.0, 0.5])
def test_the_sound_of_a_video_keeps_its_place_beside_the_pictures(tmp_path, suffix, sound_start):
  path = tmp_path / f'a{suffix}'
  sound = np.zeros(16_000, np.float32)
  sound[4_000:4_320] = 0.8 * np.sin(np.arange(320) * 0.8)
  stamps = [index / 25 for index in range(40)]
  stamped_videos.write_stamped(path, stamped_videos.numbered(40), stamps, sound=sound, sound_start=sound_start)
  from_picture = np.concatenate(list(audio_stream.read_pieces(path, from_picture=True)))
  # MPEG-TS has no way to say that AAC's first 64 ms are to be skipped: alone, the sound begins with them.
  for samples in [from_picture] + [audio.read_audio(path)] * (suffix != '.ts'):
    assert np.flatnonzero(np.abs(samples) > 0.3)[0] / 16_000 == pytest.approx(sound_start + 0.25, abs=0.004)
  assert audio_stream.measured(path).num_samples == len(audio.read_audio(path))


def test_pictures_that_begin_late_cut_the_sound_only_where_it_is_to_begin_with_them(tmp_path):
  sound = np.zeros(16_000, np.float32)
  sound[12_000:12_320] = 0.8 * np.sin(np.arange(320) * 0.8)
  stamps = [0.5 + index / 25 for index in range(20)]
  stamped_videos.write_stamped(tmp_path / 'a.mkv', stamped_videos.numbered(20), stamps, sound=sound)
  for from_picture, at in ((False, 0.75), (True, 0.25)):
    samples = np.concatenate(list(audio_stream.read_pieces(tmp_path / 'a.mkv', from_picture)))
    assert np.flatnonzero(np.abs(samples) > 0.3)[0] / 16_000 == pytest.approx(at, abs=0.03)


def test_a_cover_beside_the_sound_is_no_picture_of_a_video(tmp_path):
  with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
    sound = container.add_stream('aac', rate=16_000, layout='mono')
    cover = container.add_stream('png', rate=1)
    cover.width, cover.height, cover.pix_fmt = 16, 16, 'rgb24'
    cover.disposition = av.stream.Disposition.attached_pic
    frame = av.AudioFrame.from_ndarray(np.full((1, 8_000), 0.5, np.float32), format='fltp', layout='mono')
    frame.sample_rate, frame.pts = 16_000, 8_000
    container.mux(sound.encode(frame))
    container.mux(sound.encode())
    picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format='rgb24')
    container.mux(cover.encode(picture))
    container.mux(cover.encode())
  with audio.open_media(tmp_path / 'a.mp4') as container:
    assert audio.video_start(container, tmp_path / 'a.mp4') is None
