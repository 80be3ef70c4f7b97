"""Sound in: any file becomes 16 kHz mono; the cepstra are those of python_speech_features."""

import wave

import av
import golden_recipe as golden
import numpy as np
import pytest

from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
  return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(path, samples: np.ndarray, rate: int, codec: str = 'pcm_s16le', sample_format: str = 's16') -> None:
  """`samples` [n, channels] in [-1, 1]."""
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(codec, rate=rate, layout={1: 'mono', 2: 'stereo', 6: '5.1'}[samples.shape[1]])
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format='fltp', layout=stream.layout.name)
    frame.sample_rate = rate
    for part in av.AudioResampler(format=sample_format, layout=stream.layout.name, rate=rate).resample(frame):
      container.mux(stream.encode(part))
    container.mux(stream.encode())


def write_16_bit(path, values: np.ndarray) -> None:
  with wave.open(str(path), 'wb') as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(16_000)
    file.writeframes(values.tobytes())


def plain_mfcc(samples: np.ndarray) -> np.ndarray:
  """python_speech_features.mfcc(samples, 16000, winstep=0.01), its steps written out one frame at a time."""
  samples = np.asarray(samples, np.float64)
  emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
  count = 1 if len(samples) <= 400 else 1 + int(np.ceil((len(samples) - 400) / 160))
  emphasised = np.append(emphasised, np.zeros(count * 160 + 400))
  highest = 2595 * np.log10(1 + 8000 / 700)  # mel
  corners = 700 * (10 ** (np.linspace(0, highest, 28) / 2595) - 1)
  bins = np.floor(513 * corners / 16000)
  bank = np.zeros((26, 257))
  for j in range(26):
    for i in range(int(bins[j]), int(bins[j + 1])):
      bank[j, i] = (i - bins[j]) / (bins[j + 1] - bins[j])
    for i in range(int(bins[j + 1]), int(bins[j + 2])):
      bank[j, i] = (bins[j + 2] - i) / (bins[j + 2] - bins[j + 1])
  rows = []
  for n in range(count):
    power = np.abs(np.fft.rfft(emphasised[160 * n : 160 * n + 400], 512)) ** 2 / 512
    energies = bank @ power
    logs = np.log(np.where(energies == 0, np.finfo(float).eps, energies))
    row = [
      np.sqrt((1 if k == 0 else 2) / 26)
      * (logs * np.cos(np.pi * k * (2 * np.arange(26) + 1) / 52)).sum()
      * (1 + 11 * np.sin(np.pi * k / 22))
      for k in range(13)
    ]
    row[0] = np.log(power.sum() or np.finfo(float).eps)
    rows.append(row)
  return np.array(rows)


def test_mfcc_equals_python_speech_features():
  with np.load(golden.path('mfcc_audio_sample.npz'), allow_pickle=False) as file:
    np.testing.assert_allclose(audio.mfcc(file['samples']), file['mfcc'], atol=1e-3)


@pytest.mark.parametrize('length', [1, 399, 400, 401, 561, 8_000])
def test_mfcc_equals_the_steps_written_out(length):
  samples = 0.1 * np.random.default_rng(0).standard_normal(length)
  rows = audio.mfcc(samples)
  assert rows.dtype == np.float32
  np.testing.assert_allclose(rows, plain_mfcc(samples), atol=1e-3)


def test_mfcc_of_silence_is_finite_and_flat():
  rows = audio.mfcc(np.zeros(1_600))
  assert np.isfinite(rows).all()
  np.testing.assert_allclose(rows[:, 1:], 0, atol=1e-3)


@pytest.mark.parametrize('num_frames', [1, 2, 25])
def test_each_frame_hears_the_280_ms_around_it(num_frames):
  samples = 0.1 * np.random.default_rng(1).standard_normal(25 * 640)
  rows = audio.frame_rows(samples, num_frames)
  assert rows.shape == (4 * num_frames + 24, 12)
  view = audio.windows(rows)
  assert view.shape == (num_frames, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)
  for t in range(num_frames):
    np.testing.assert_array_equal(view[t], rows[4 * t : 4 * t + 28])
  if num_frames == 25:  # away from the ends, the rows are those of the sound itself: 4 (t - 3) ... 4 (t + 4) - 1
    np.testing.assert_allclose(view[10], audio.mfcc(samples)[28:56, 1:], atol=1e-4)


def test_sound_is_cut_or_filled_to_the_frames():
  samples = tone(1.0)
  np.testing.assert_array_equal(audio.frame_rows(samples, 5), audio.frame_rows(samples[:3_200], 5))
  np.testing.assert_array_equal(
    audio.frame_rows(samples[:3_200], 9), audio.frame_rows(np.pad(samples[:3_200], (0, 2_560)), 9)
  )


@pytest.mark.parametrize('length,frames', [(0, 0), (1, 1), (640, 1), (641, 2), (16_000, 25)])
def test_num_frames_covers_all_of_the_sound(length, frames):
  assert audio.num_frames(np.zeros(length)) == frames


@pytest.mark.parametrize(
  'name,codec,sample_format,rate,channels',
  [
    ('a.wav', 'pcm_s16le', 's16', 16_000, 1),
    ('a.wav', 'pcm_f32le', 'flt', 48_000, 2),
    ('a.wav', 'pcm_u8', 'u8', 8_000, 1),
    ('a.flac', 'flac', 's16', 44_100, 2),
    ('a.m4a', 'aac', 'fltp', 44_100, 2),
    ('a.mp3', 'mp3', 'fltp', 22_050, 1),
    ('a.wav', 'pcm_s16le', 's16', 48_000, 6),
    ('a.opus', 'libopus', 'flt', 48_000, 2),
  ],
)
def test_any_format_becomes_16_khz_mono(tmp_path, name, codec, sample_format, rate, channels):
  write_sound(tmp_path / name, np.repeat(tone(1.0, rate)[:, None], channels, 1), rate, codec, sample_format)
  samples = audio.read_audio(tmp_path / name)
  assert samples.dtype == np.float32 and samples.ndim == 1
  assert abs(len(samples) - 16_000) < 1_600  # some encoders fill their last packet
  assert np.abs(samples).max() <= 1
  spectrum = np.abs(np.fft.rfft(samples[2_000:14_000] * np.hanning(12_000)))
  assert abs(np.argmax(spectrum) * 16_000 / 12_000 - 440) < 3
  assert abs(np.abs(samples).max() - 0.5) < 0.05  # as loud as each of its channels
  if channels < 6:
    expected = tone(1.0)[2_000:14_000]
    lags = [np.dot(samples[2_000 + lag : 14_000 + lag], expected) for lag in range(-17, 18)]
    # MPEG-4 rounds the start of its sound to a millisecond: half of that is eight samples.
    assert abs(np.argmax(lags) - 17) <= (8 if name.endswith('m4a') else 1)


@pytest.mark.parametrize('channels', [1, 2, 7, 9, 16, 61])
def test_any_number_of_channels_is_averaged(tmp_path, channels):
  values = np.random.default_rng(3).integers(-(2**15), 2**15, (4_000, channels), dtype=np.int16)
  with wave.open(str(tmp_path / 'a.wav'), 'wb') as file:
    file.setparams((channels, 2, 16_000, 0, 'NONE', ''))
    file.writeframes(values.tobytes())
  np.testing.assert_allclose(audio.read_audio(tmp_path / 'a.wav'), values.mean(axis=1) / 2**15, atol=1e-6)


def test_16_bit_samples_come_through_exactly(tmp_path):
  values = np.random.default_rng(2).integers(-(2**15), 2**15, 5_000, dtype=np.int16)
  write_16_bit(tmp_path / 'a.wav', values)
  np.testing.assert_allclose(audio.read_audio(tmp_path / 'a.wav'), values / 2**15, atol=1e-7)


def test_silence_is_sound(tmp_path):
  write_sound(tmp_path / 'a.wav', np.zeros((8_000, 1), np.float32), 16_000)
  samples = audio.read_audio(tmp_path / 'a.wav')
  assert len(samples) == 8_000 and not samples.any()


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path):
  write_sound(tmp_path / 'a.mp3', tone(2.0, 44_100)[:, None], 44_100, 'mp3', 'fltp')
  content = (tmp_path / 'a.mp3').read_bytes()
  (tmp_path / 'b.mp3').write_bytes(content[: len(content) // 2])
  assert 12_000 < len(audio.read_audio(tmp_path / 'b.mp3')) < 18_000


@pytest.mark.parametrize(
  'make,sentence',
  [
    (lambda path: None, 'does not exist'),
    (lambda path: path.mkdir(), 'is a directory'),
    (lambda path: path.write_bytes(b''), 'is empty'),
    (lambda path: path.write_bytes(np.random.default_rng(3).bytes(5_000)), 'cannot be read|nothing in it'),
    (lambda path: path.write_text('not sound at all\n' * 50), 'cannot be read|not sound'),
    (lambda path: write_16_bit(path, np.zeros(0, np.int16)), 'nothing in it|cannot be read'),
  ],
)
def test_bad_files_are_told_in_one_sentence(tmp_path, make, sentence):
  path = tmp_path / 'a.wav'
  make(path)
  with pytest.raises(InputError, match=sentence) as caught:
    audio.read_audio(path)
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('tag', ['Künstlerin'.encode('latin-1'), b'\xff\xfe\x00\x80', '歌手'.encode('shift-jis')])
def test_tags_that_are_not_utf_8_do_no_harm(tmp_path, tag):
  path, samples = tmp_path / 'a.wav', (tone(0.5) * 32767).astype('<i2')
  write_16_bit(path, samples)
  tag = tag + bytes(len(tag) % 2)
  listed = b'LIST' + (12 + len(tag)).to_bytes(4, 'little') + b'INFOIART' + len(tag).to_bytes(4, 'little') + tag
  content = bytearray(path.read_bytes() + listed)
  content[4:8] = (len(content) - 8).to_bytes(4, 'little')
  path.write_bytes(content)
  np.testing.assert_allclose(audio.read_audio(path), samples / 32768, atol=1e-6)
  with audio.open_media(path) as container:
    assert 'artist' in container.metadata
  path.write_bytes(content[:36])  # no sound: what is said of such a file can be printed
  with pytest.raises(InputError) as caught:
    audio.read_audio(path)
  str(caught.value).encode()


def test_a_video_without_sound_says_so(tmp_path):
  with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
    stream = container.add_stream('libx264', rate=25)
    stream.width = stream.height = 64
    stream.pix_fmt = 'yuv420p'
    container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format='rgb24')))
    container.mux(stream.encode())
  with pytest.raises(InputError, match='has no sound'):
    audio.read_audio(tmp_path / 'a.mp4')
