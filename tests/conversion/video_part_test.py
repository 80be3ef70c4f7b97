"""A stretch of a video is what the whole video holds there."""

import drawn_clips
import numpy as np
import pytest
from stamped_videos import numbered, numbers, write_stamped

from data_pipelines.conversion import video_part
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  """Two seconds at 30 frames a second that begin at half a second, with a noise that tells the time."""
  path = tmp_path_factory.mktemp('part') / 'a.mp4'
  sound = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
  write_stamped(path, numbered(60), [0.5 + i / 30 for i in range(60)], rate=30, sound=sound, sound_start=0.5)
  return path


@pytest.mark.parametrize('first, end', [(0, None), (0, 20), (11, 33), (30, None), (49, 50), (70, 80)])
def test_frames_are_those_of_the_whole(path, first, end):
  whole = video_reader.read_video(path).frames
  assert len(whole) == 50
  found = dict(video_part.frames(path, first, end))
  assert list(found) == list(range(50))[first:end]
  for i, frame in found.items():
    np.testing.assert_array_equal(frame, whole[i])
  some = dict(video_part.frames(path, first, end, wanted={12, 31}))
  assert list(some) == [i for i in (12, 31) if i in found]


def test_sound_is_that_of_the_whole(path):
  whole = video_reader.read_video(path).samples
  notes = video_part.Notes()
  assert len(list(video_part.frames(path, notes=notes))) == 50
  assert notes.start == pytest.approx(0.5, abs=0.04) and notes.last == pytest.approx(59 / 30, abs=0.01)
  part = video_part.samples(path, notes.start, 20, 30)
  assert len(part) == 6400
  middle = slice(1600, 4800)
  assert np.corrcoef(part[middle], whole[20 * 640 : 30 * 640][middle])[0, 1] > 0.99
  before = video_part.samples(path, notes.start, -10, 5)
  assert len(before) == 15 * 640 and not before[:5000].any() and before[6600:].any()
  assert len(video_part.samples(path, notes.start, 45, 90)) < 10 * 640


def test_what_a_file_says_of_itself(path, tmp_path):
  assert video_part.probe(path) == (pytest.approx(2.0, abs=0.05), True)
  (tmp_path / 'text.mp4').write_text('no film')
  with pytest.raises(InputError, match='cannot be read'):
    video_part.probe(tmp_path / 'text.mp4')


def test_pixels_are_made_square(tmp_path):
  import av

  with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
    video = container.add_stream('libx264', rate=25)
    video.width, video.height, video.pix_fmt = 48, 64, 'yuv420p'
    video.codec_context.sample_aspect_ratio = 2
    for picture in numbered(3, 64, 48):
      container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
    container.mux(video.encode())
  assert {frame.shape for _, frame in video_part.frames(tmp_path / 'a.mp4')} == {(64, 96, 3)}


def test_a_jump_of_the_stamps_ends_the_video(tmp_path):
  write_stamped(tmp_path / 'a.mkv', numbered(30), [i / 25 + 1e6 * (i > 20) for i in range(30)])
  notes = video_part.Notes()
  found = [frame for _, frame in video_part.frames(tmp_path / 'a.mkv', notes=notes)]
  assert numbers(found) == list(range(21)) and notes.damage == pytest.approx(0.8, abs=0.01)


def test_a_video_that_breaks_off_says_so(tmp_path):
  content = drawn_clips.write(tmp_path / 'a.mp4', num_frames=60).read_bytes()
  (tmp_path / 'b.mp4').write_bytes(content[: len(content) * 6 // 10])
  notes = video_part.Notes()
  assert 16 <= len(list(video_part.frames(tmp_path / 'b.mp4', notes=notes))) < 50
  assert notes.broken_off or notes.damage


def test_one_picture_and_too_large_ones_are_told(tmp_path, path, monkeypatch):
  write_stamped(tmp_path / 'one.mp4', numbered(1), [0.0])
  with pytest.raises(InputError, match='a single picture'):
    list(video_part.frames(tmp_path / 'one.mp4'))
  monkeypatch.setattr(video_reader, '_MAX_FRAME_PIXELS', 5000)
  with pytest.raises(InputError, match='of 96x64 pixels'):
    video_part.probe(path)
