"""A video read frame by frame keeps its clock and its pixels, and what is written like it does too."""

import fractions

import av
import numpy as np
import pytest
from stamped_videos import numbered, numbers, write_stamped

from data_pipelines.errors import InputError
from data_pipelines.media import source_video, video_reader, video_writer

_VARIABLE = [0.0, 0.04, 0.05, 0.30, 0.34, 0.60, 1.00]


def _stamps(path) -> list[fractions.Fraction]:
  with av.open(str(path)) as container:
    frames = list(container.decode(video=0))
  return [(frame.pts - frames[0].pts) * frame.time_base for frame in frames]


def _write_again(path, out):
  video = source_video.SourceVideo(path)
  with video_writer.VideoWriter(out, video.size, np.zeros(99, np.float32), look=video.look) as writer:
    for frame in video.frames():
      writer.append(frame.stored, frame.ticks, frame.duration)


@pytest.mark.parametrize('rate', [12, 24, fractions.Fraction(30_000, 1_001), 50, 60])
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_the_rate_and_the_time_stamps_are_kept(tmp_path, rate, suffix):
  write_stamped(tmp_path / f'a{suffix}', numbered(20), [float(index / rate) for index in range(20)], rate=rate)
  _write_again(tmp_path / f'a{suffix}', tmp_path / 'b.mp4')
  assert _stamps(tmp_path / 'b.mp4') == _stamps(tmp_path / f'a{suffix}')
  with av.open(str(tmp_path / 'b.mp4')) as container:
    video, sound = container.streams.video[0], container.streams.audio[0]
    assert float(video.average_rate) == pytest.approx(float(rate), rel=2e-2)
    assert video.start_time == sound.start_time == 0
    assert float(sound.duration * sound.time_base) == pytest.approx(20 / rate, abs=0.005)


def test_a_variable_rate_is_kept(tmp_path):
  for suffix in ('.mp4', '.mkv'):
    write_stamped(tmp_path / f'a{suffix}', numbered(7), _VARIABLE)
    _write_again(tmp_path / f'a{suffix}', tmp_path / f'b{suffix}')
    assert _stamps(tmp_path / f'b{suffix}') == _stamps(tmp_path / f'a{suffix}')
    assert [float(stamp) for stamp in _stamps(tmp_path / f'b{suffix}')] == pytest.approx(_VARIABLE, abs=1e-3)
    frames = [frame.picture for frame in source_video.SourceVideo(tmp_path / f'b{suffix}').frames()]
    np.testing.assert_allclose(numbers(frames), range(7), atol=1)  # x264 gives a frame of 10 ms few bits


def test_a_video_that_begins_late_begins_at_0(tmp_path):
  write_stamped(tmp_path / 'a.mkv', numbered(5), [0.5 + index / 25 for index in range(5)])
  video = source_video.SourceVideo(tmp_path / 'a.mkv')
  assert video.start == pytest.approx(0.5, abs=0.03)
  assert [round(float(frame.ticks * video.look.time_base), 2) for frame in video.frames()] == [
    0,
    0.04,
    0.08,
    0.12,
    0.16,
  ]


def _narrow(path, aspect, rotation=None):
  """A film of 48x96 stored pixels with a white square in the upper left corner, `aspect` as wide as high."""
  frame = np.zeros((96, 48, 3), np.uint8)
  frame[:24, :12] = 255
  write_stamped(path, [frame] * 3, [0, 0.04, 0.08], rotation=rotation, aspect=aspect)


@pytest.mark.parametrize(
  'aspect, rotation, size', [(2, None, (96, 96)), (2, 90, (96, 96)), (fractions.Fraction(64, 45), None, (96, 68))]
)
def test_pixels_that_are_not_square_are_made_so_to_be_looked_at_and_kept_in_what_is_written(
  tmp_path, aspect, rotation, size
):
  _narrow(tmp_path / 'a.mp4', aspect, rotation)
  video = source_video.SourceVideo(tmp_path / 'a.mp4')
  frame = next(video.frames())
  assert frame.picture.shape[:2] == size
  assert video_reader.read_video(tmp_path / 'a.mp4').frames[0].shape[:2] == size
  assert frame.stored.shape[:2] == video.size == ((48, 96) if rotation else (96, 48))
  _write_again(tmp_path / 'a.mp4', tmp_path / 'b.mp4')
  with av.open(str(tmp_path / 'b.mp4')) as container:
    assert container.streams.video[0].sample_aspect_ratio == (1 / fractions.Fraction(aspect) if rotation else aspect)
    written = video_reader.upright(next(container.decode(video=0)))
  assert np.abs(written.astype(int) - frame.stored).mean() < 3


def test_what_is_changed_goes_back_into_the_stored_pixels_and_the_rest_is_theirs(tmp_path):
  _narrow(tmp_path / 'a.mp4', 2)
  frame = next(source_video.SourceVideo(tmp_path / 'a.mp4').frames())
  changed = frame.picture.copy()
  changed[60:80, 40:60] = 200
  out = frame.put_back(changed)
  assert np.abs(out[63:77, 22:28].astype(int) - 200).max() < 6
  outside = np.ones(out.shape[:2], bool)
  outside[59:81, 19:31] = False
  assert (out[outside] == frame.stored[outside]).all()
  assert (frame.put_back(frame.picture) == frame.stored).all()


def test_stamps_that_jump_are_told(tmp_path):
  write_stamped(tmp_path / 'a.mkv', numbered(3), [0, 0.04, 2000])
  with pytest.raises(InputError, match='shows one picture for 2000 seconds'):
    list(source_video.SourceVideo(tmp_path / 'a.mkv').frames())


def test_a_video_is_shown_over_and_over_for_a_time(tmp_path):
  write_stamped(tmp_path / 'a.mp4', numbered(10), [index / 25 for index in range(10)], rate=25)
  frames = list(source_video.LoopedVideo(tmp_path / 'a.mp4', 1.0).frames())
  assert numbers([frame.picture for frame in frames]) == [*range(10), *range(10), *range(5)]
  seconds = [float(frame.ticks * source_video.SourceVideo(tmp_path / 'a.mp4').look.time_base) for frame in frames]
  np.testing.assert_allclose(seconds, np.arange(25) / 25, atol=1e-6)
  assert len(list(source_video.LoopedVideo(tmp_path / 'a.mp4', 0.12).frames())) == 3
