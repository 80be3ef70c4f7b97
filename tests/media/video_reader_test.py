"""Pictures and video in and out, made here by our own writer or by PyAV."""

import fractions
import json
import os

import av
import numpy as np
import pytest
from PIL import Image
from stamped_videos import numbered, numbers, write_stamped

from data_pipelines.errors import InputError
from data_pipelines.media import video_reader, video_writer


def click(seconds: float, at: float) -> np.ndarray:
  """Silence with a burst of 20 ms."""
  samples = np.zeros(round(16_000 * seconds), np.float32)
  start = round(16_000 * at)
  samples[start : start + 320] = 0.8 * np.sin(np.arange(320) * 0.8)
  return samples


def when(samples: np.ndarray) -> float:
  """Seconds at which the burst begins."""
  return float(np.flatnonzero(np.abs(samples) > 0.3)[0]) / 16_000


def test_what_is_written_is_read_back_in_step(tmp_path):
  path = tmp_path / 'a.mp4'
  comment = {'audio': 'speech "one".wav', 'frames': 50}
  with video_writer.VideoWriter(path, (64, 96), click(2.0, 1.2), comment) as writer:
    for frame in numbered(50):
      writer.append(frame)
  clip = video_reader.read_video(path)
  assert numbers(clip.frames) == list(range(50))
  assert clip.frames[0].shape == (64, 96, 3) and clip.frames[0].dtype == np.uint8
  assert clip.has_audio and not clip.truncated and clip.source_fps == 25
  assert abs(len(clip.samples) - 32_000) <= 1_024
  assert abs(when(clip.samples) - 1.2) < 0.004
  assert os.listdir(tmp_path) == ['a.mp4']
  with av.open(str(path)) as container:
    assert container.streams.video[0].codec.name == 'h264' and container.streams.audio[0].codec.name == 'aac'
    assert container.streams.video[0].codec_context.pix_fmt == 'yuv420p'
    assert json.loads(container.metadata['comment']) == comment


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
def test_pictures_keep_their_colours(tmp_path, suffix):
  frame = np.zeros((96, 128, 3), np.uint8)
  frame[:, :64], frame[:, 64:] = (200, 40, 90), (30, 180, 60)
  with video_writer.VideoWriter(tmp_path / f'a{suffix}', (96, 128)) as writer:
    for _ in range(4):
      writer.append(frame)
  clip = video_reader.read_video(tmp_path / f'a{suffix}')
  assert not clip.has_audio and clip.samples.shape == (0,)
  np.testing.assert_allclose(clip.frames[2][48, [20, 100]].astype(int), [(200, 40, 90), (30, 180, 60)], atol=6)


def test_odd_sizes_are_widened(tmp_path):
  with video_writer.VideoWriter(tmp_path / 'a.mp4', (63, 95)) as writer:
    for frame in numbered(3, 63, 95):
      writer.append(frame)
  assert video_reader.read_video(tmp_path / 'a.mp4').frames[0].shape == (64, 96, 3)


def test_sound_is_cut_or_filled_to_the_film(tmp_path):
  for seconds in (0.2, 3.0):
    with video_writer.VideoWriter(tmp_path / 'a.mp4', (64, 96), click(seconds, 0.1)) as writer:
      for frame in numbered(25):
        writer.append(frame)
    assert abs(len(video_reader.read_video(tmp_path / 'a.mp4').samples) - 16_000) <= 1_024


def test_after_a_failure_nothing_is_left_and_the_old_file_stays(tmp_path):
  path = tmp_path / 'a.mp4'
  path.write_bytes(b'old')
  with pytest.raises(KeyboardInterrupt), video_writer.VideoWriter(path, (64, 96), click(1, 0.5)) as writer:
    writer.append(numbered(1)[0])
    raise KeyboardInterrupt
  with pytest.raises(ValueError, match='announced'), video_writer.VideoWriter(path, (64, 96)) as writer:
    writer.append(np.zeros((64, 64, 3), np.uint8))
  with pytest.raises(ValueError, match='at least one frame'), video_writer.VideoWriter(path, (64, 96)):
    pass
  assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.mp4']


@pytest.mark.parametrize(
  'name,sentence',
  [('a.webm', 'must end in'), ('a', 'must end in'), ('no/a.mp4', 'does not exist'), ('folder.mp4', 'is a directory')],
)
def test_bad_names_to_write_to(tmp_path, name, sentence):
  (tmp_path / 'folder.mp4').mkdir()
  with pytest.raises(InputError, match=sentence):
    video_writer.VideoWriter(tmp_path / name, (64, 96))
  assert os.listdir(tmp_path) == ['folder.mp4']


@pytest.mark.parametrize('rate', [fractions.Fraction(30_000, 1_001), 30, 50, 15, 12])
def test_other_rates_become_25_by_the_nearest_time(tmp_path, rate):
  count = round(1.6 * rate)
  stamps = [float(index / rate) for index in range(count)]
  frames = numbered(min(count, 60))  # there are no more greys
  write_stamped(tmp_path / 'a.mp4', frames + frames[-1:] * (count - 60), stamps, rate=rate, sound=click(1.6, 1.0))
  clip = video_reader.read_video(tmp_path / 'a.mp4')
  assert abs(clip.source_fps - float(rate)) < 0.01
  assert len(clip.frames) == round(25 * count / rate)
  for index, number in enumerate(numbers(clip.frames)):
    if number < min(count, 60) - 1:  # the last lasts until the end
      assert abs(stamps[number] - index / 25) <= 0.5 / float(rate) + 1e-3
  assert abs(when(clip.samples) - 1.0) < 0.004


def test_a_variable_rate_keeps_its_time(tmp_path):
  stamps = [0.0, 0.04, 0.05, 0.30, 0.34, 0.60, 1.00]
  write_stamped(tmp_path / 'a.mkv', numbered(7), stamps)
  shown = numbers(video_reader.read_video(tmp_path / 'a.mkv').frames)
  assert len(shown) in (35, 36)  # until 1.4 s: the last frame lasts as long as the one before it
  for index, number in enumerate(shown):
    gaps = [abs(stamp - index / 25) for stamp in stamps]
    assert gaps[number] <= min(gaps) + 2e-3


@pytest.mark.parametrize('video_start,sound_start', [(0.0, 0.4), (0.4, 0.0), (0.5, 0.5)])
def test_sound_begins_with_the_first_frame(tmp_path, video_start, sound_start):
  write_stamped(
    tmp_path / 'a.mkv',
    numbered(40),
    [video_start + index / 25 for index in range(40)],
    sound=click(1.6, 1.0),
    sound_start=sound_start,
  )
  clip = video_reader.read_video(tmp_path / 'a.mkv')
  assert numbers(clip.frames)[:5] == [0, 1, 2, 3, 4]
  assert abs(when(clip.samples) - (sound_start + 1.0 - video_start)) < 0.004


@pytest.mark.parametrize('rotation,corner', [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))])
def test_rotation_in_the_metadata_is_obeyed(tmp_path, rotation, corner):
  frame = np.zeros((64, 96, 3), np.uint8)
  frame[:16, :16] = 255
  write_stamped(tmp_path / 'a.mp4', [frame] * 5, [index / 25 for index in range(5)], rotation=rotation)
  turned = video_reader.read_video(tmp_path / 'a.mp4').frames[0]
  assert turned.shape == ((64, 96, 3) if rotation == 180 else (96, 64, 3))
  assert turned[corner].min() > 200
  assert (turned > 128).mean() < 0.1


def test_frames_one_at_a_time_are_the_same(tmp_path):
  write_stamped(tmp_path / 'a.mp4', numbered(30), [index / 30 for index in range(30)], rate=30)
  for one, other in zip(
    video_reader.iter_video(tmp_path / 'a.mp4'), video_reader.read_video(tmp_path / 'a.mp4').frames, strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_a_film_that_breaks_off_gives_what_it_has_and_says_so(tmp_path):
  noise = np.random.default_rng(0)
  with video_writer.VideoWriter(tmp_path / 'a.mp4', (64, 96), click(2.0, 0.3)) as writer:
    for _ in range(50):
      writer.append(noise.integers(0, 255, (64, 96, 3), dtype=np.uint8))
  content = (tmp_path / 'a.mp4').read_bytes()
  (tmp_path / 'b.mp4').write_bytes(content[: len(content) * 6 // 10])
  clip = video_reader.read_video(tmp_path / 'b.mp4')
  assert clip.truncated and 15 <= len(clip.frames) <= 40
  assert abs(when(clip.samples) - 0.3) < 0.004
  (tmp_path / 'b.mp4').write_bytes(content[:100])
  with pytest.raises(InputError, match='no picture'):
    video_reader.read_video(tmp_path / 'b.mp4')


def _sound_only(path):
  with av.open(str(path), 'w', format='wav') as container:
    stream = container.add_stream('pcm_s16le', rate=16_000, layout='mono')
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1_600), np.int16), format='s16', layout='mono')
    frame.sample_rate = 16_000
    container.mux(stream.encode(frame))


@pytest.mark.parametrize(
  'make,sentence',
  [
    (lambda path: None, 'does not exist'),
    (lambda path: path.mkdir(), 'is a directory'),
    (lambda path: path.write_bytes(b''), 'is empty'),
    (lambda path: path.write_bytes(np.random.default_rng(3).bytes(5_000)), 'cannot be read|no picture|no video frame'),
    (lambda path: path.write_text('not a film\n' * 50), 'cannot be read|not sound or video'),
    (lambda path: Image.new('RGB', (64, 64)).save(path, 'PNG'), 'single picture'),
    (_sound_only, 'no picture in it'),
  ],
)
def test_bad_films_are_told_in_one_sentence(tmp_path, make, sentence):
  path = tmp_path / 'a.mp4'
  make(path)
  with pytest.raises(InputError, match=sentence) as caught:
    video_reader.read_video(path)
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_pictures_of_many_kinds(tmp_path):
  red = np.zeros((20, 30, 3), np.uint8)
  red[..., 0] = 204
  for mode, name in [
    ('RGB', 'a.png'),
    ('RGB', 'a.jpg'),
    ('RGB', 'a.webp'),
    ('RGB', 'a.bmp'),
    ('RGB', 'a.tiff'),
    ('CMYK', 'b.jpg'),
    ('RGBA', 'b.png'),
  ]:
    Image.fromarray(red).convert(mode).save(tmp_path / name)
    image = video_reader.read_image(tmp_path / name)
    assert image.shape == (20, 30, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), red, atol=8, err_msg=name)
  Image.fromarray(red).quantize().save(tmp_path / 'a.gif')
  np.testing.assert_array_equal(video_reader.read_image(tmp_path / 'a.gif'), red)
  Image.fromarray(np.full((20, 30), 77, np.uint8)).save(tmp_path / 'grey.png')
  assert (video_reader.read_image(tmp_path / 'grey.png') == 77).all()
  Image.fromarray(np.full((20, 30), 77 * 257, np.uint16)).save(tmp_path / 'deep.png')
  assert (video_reader.read_image(tmp_path / 'deep.png') == 77).all()
  Image.new('RGBA', (30, 20), (0, 0, 0, 0)).save(tmp_path / 'clear.png')
  assert (video_reader.read_image(tmp_path / 'clear.png') == 255).all()


def test_pictures_are_turned_upright(tmp_path):
  image = Image.new('RGB', (30, 20))
  image.paste((255, 255, 255), (0, 0, 8, 8))
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned clockwise
  image.save(tmp_path / 'a.jpg', exif=exif, quality=95)
  upright = video_reader.read_image(tmp_path / 'a.jpg')
  assert upright.shape == (30, 20, 3) and upright[2, -3].min() > 200 and upright[2, 2].max() < 60


def _half_a_picture(path):
  Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)).save(path, 'PNG')
  path.write_bytes(path.read_bytes()[:9_000])


@pytest.mark.parametrize(
  'make,sentence',
  [
    (lambda path: None, 'does not exist'),
    (lambda path: path.mkdir(), 'is a directory'),
    (lambda path: path.write_bytes(b''), 'is empty'),
    (lambda path: path.write_text('no'), 'cannot be read as a picture'),
    (_half_a_picture, 'cannot be read as a picture'),
    (lambda path: Image.new('1', (8_000, 7_000)).save(path, 'PNG'), 'more than 50 megapixels'),
  ],
)
def test_bad_pictures_are_told_in_one_sentence(tmp_path, make, sentence):
  path = tmp_path / 'a.png'
  make(path)
  with pytest.raises(InputError, match=sentence) as caught:
    video_reader.read_image(path)
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('name, stream', [('a.mp4', False), ('a.mov', False), ('a.mkv', False), ('a.mp4', True),
                                          ('a.mov', True), ('a.mkv', True)])  # fmt: skip
def test_sound_and_picture_begin_at_0_without_anything_to_skip(tmp_path, name, stream):
  with video_writer.VideoWriter(tmp_path / name, (64, 96), click(2.0, 0.0), stream=stream) as writer:
    for frame in numbered(50):
      writer.append(frame)
  with av.open(str(tmp_path / name)) as container:
    assert all(track.start_time in (0, None) for track in container.streams)
    first = next(container.decode(audio=0))
    assert first.time == 0 and np.abs(first.to_ndarray()[..., :320]).max() > 0.3
  with av.open(str(tmp_path / name)) as container:
    assert next(container.decode(video=0)).time == 0
