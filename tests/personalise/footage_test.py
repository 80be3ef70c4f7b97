"""Videos of one person: what is taken, what is held out, and what is refused in a sentence."""

import drawn_clips
import numpy as np
import pytest

from atvg_jax.checkpoints import weights
from atvg_jax.personalise import footage
from data_pipelines import clip_source
from data_pipelines.datasets.clips import clips_source
from data_pipelines.errors import InputError


@pytest.fixture(scope='module')
def short(tmp_path_factory):
  """Videos of 1.2 seconds."""
  folder = tmp_path_factory.mktemp('videos')
  return [str(drawn_clips.write(folder / f'{i}.mp4', num_frames=30)) for i in range(4)]


@pytest.fixture(scope='module')
def speaker(tmp_path_factory):
  """A video of ten seconds, its sound 120 ms late."""
  return str(drawn_clips.write_speaker(tmp_path_factory.mktemp('speaker') / 'me.mp4', 10.0, late=0.12))


def test_the_last_part_of_the_time_is_held_out(short):
  parts = clips_source.list_person(short, [0.0] * 4)
  assert [(part.first, part.end, part.split) for part in parts] == [
    (0, None, 'train'),
    (0, None, 'train'),
    (0, None, 'train'),
    (0, None, 'validation'),
  ], 'a third of 4.8 seconds, and no scrap of 10 frames'
  assert {part.speaker for part in parts} == {'person'} and len({part.clip_id for part in parts}) == 4
  assert all(part.sound_advance for part in parts), 'none is measured by itself'


def test_a_video_of_ten_seconds_is_split(speaker):
  parts = clips_source.list_person([speaker], [0.1])
  assert [(part.first, part.end, part.split, part.sound_advance) for part in parts] == [
    (0, 200, 'train', 0.1),
    (200, None, 'validation', 0.1),
  ]


def test_a_long_video_is_converted_in_parts(monkeypatch, tmp_path):
  path = tmp_path / 'long.mp4'
  path.write_text('video')
  monkeypatch.setattr(clips_source, '_num_frames', lambda path: 4000)
  parts = clips_source.list_person([path], [0.0])
  assert [(part.first, part.end) for part in parts] == [(0, 1500), (1500, 3000), (3000, 3600), (3600, None)]
  assert [part.split for part in parts] == ['train'] * 3 + ['validation']


def test_videos_that_will_not_do_are_refused(short, tmp_path):
  silent = drawn_clips.write(tmp_path / 'silent.mp4', samples=None)
  for videos, sentence in (
    ([str(tmp_path / 'none.mp4')], 'none.mp4 is no file'),
    ([str(silent)], 'has no sound'),
    (short, r'and 3 more lasts 4\.8 seconds, and 10 of one person'),
  ):
    with pytest.raises(InputError, match=sentence):
      footage.check_videos(videos)
  with pytest.raises(InputError, match='twice'):
    clips_source.list_person([short[0], short[0]], [0.0, 0.0])


def _report(frames=(500, 50), rejected=()):
  return {
    'splits': {
      split: {'frames': count, 'clips': count > 0}
      for split, count in zip((clip_source.TRAIN, clip_source.VALIDATION), frames, strict=True)
    },
    'rejected_clips': [{'reason': reason, 'detail': detail} for reason, detail in rejected],
  }


def test_two_people_and_too_little_are_refused():
  videos = ['a.mp4']
  second = ('not the largest face', '60 of 500 frames of the face seen from 0:00.0 to 0:20.0')
  with pytest.raises(InputError, match=r'shows a second face for 2\.4 seconds'):
    footage._check_people(videos, _report(rejected=[second]))
  footage._check_people(videos, _report(rejected=[(second[0], second[1].replace('60', '20'))]))
  turned = ('turned too far', '400 of 500 frames: the head is turned by 50 degrees, 40 are allowed')
  with pytest.raises(InputError, match=r'4\.0 seconds can be used.*turned by 50 degrees'):
    footage._check_length(videos, _report((100, 0), [turned]))
  with pytest.raises(InputError, match='up to the end of the video'):
    footage._check_length(videos, _report((500, 0), [turned]))
  footage._check_length(videos, _report())


def test_two_faces_are_seen(tmp_path):
  samples, openings = drawn_clips.spoken(260)
  shown = [
    np.concatenate([drawn_clips.face(round(float(opening), 3)), drawn_clips.face(0.0)], axis=1) for opening in openings
  ]
  path = drawn_clips.write(tmp_path / 'two.mp4', shown, samples)
  with pytest.raises(InputError, match='shows a second face for'):
    footage.convert([str(path)], str(tmp_path / 'work'), weights.load_net('speech'))


@pytest.mark.slow
def test_late_sound_is_put_in_step_and_other_sound_refused(speaker, tmp_path):
  bundle = weights.load_net('speech')
  seen = footage.convert([speaker], str(tmp_path / 'work'), bundle)
  assert seen.sound_offsets == [pytest.approx(0.15, abs=0.03)]  # the drawn mouth itself moves a little early
  assert [part.sound_advance for part in seen.parts] == seen.sound_offsets * 2
  assert sum(frames for _, frames in seen.lengths('train')) == 200
  (name, _) = seen.lengths('train')[0]
  assert seen.source(name) == (speaker, 0)

  samples, openings = drawn_clips.spoken(260)
  shown = [drawn_clips.face(round(float(opening), 3)) for opening in openings[::-1]]
  path = drawn_clips.write(tmp_path / 'other.mp4', shown, samples)
  with pytest.raises(InputError, match='the sound does not go with the lips'):
    footage.convert([str(path)], str(tmp_path / 'other'), bundle)
