"""A drawn film of several shots and faces is cut as a person would, and a part is one as the whole."""

import drawn_clips
import numpy as np
import pytest
from PIL import Image
from stamped_videos import write_stamped

from data_pipelines import features
from data_pipelines.clip_source import VideoPart
from data_pipelines.conversion import convert_clip, cut_video, face_stretches
from data_pipelines.conversion.convert_clip import Record, Rejection

_SIZE = drawn_clips.SIZE


def part(path, **fields) -> VideoPart:
  return VideoPart(**{'clip_id': 'a_b', 'speaker': 'a', 'split': 'train', 'path': str(path)} | fields)


def test_a_film_that_stands_on_its_head_is_left_out(tmp_path):
  pictures = [picture[::-1, ::-1].copy() for picture in drawn_clips.frames(40)]
  results = cut_video.cut(part(drawn_clips.write(tmp_path / 'a.mp4', pictures)))
  assert fates(results) == {'a_b_000000-on-its-head': 'on its head'}
  assert 'turn it first' in results[0][1].detail


def fates(results) -> dict[str, str | int]:
  """Clip → its length, or why it is left out."""
  return {
    clip.clip_id: len(result.fields[features.VIDEO]) if isinstance(result, Record) else result.reason
    for clip, result in results
  }


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  """20 frames of one person, 28 of nobody, 32 of two before another wall, the second smaller."""
  empty = np.full((_SIZE, 2 * _SIZE, 3), (70, 100, 140), np.uint8)
  pictures = []
  for picture in drawn_clips.frames(20):
    pictures.append(empty.copy())
    pictures[-1][:, 40 : 40 + _SIZE] = picture
  pictures += [empty] * 28
  for picture in drawn_clips.frames(32, skin=(190, 140, 110)):
    pictures.append(np.full_like(empty, (190, 200, 120)))
    pictures[-1][:, _SIZE:] = picture
    small = np.asarray(Image.fromarray(picture).resize((144, 144)))
    pictures[-1][20:164, 20:164] = small
  return drawn_clips.write(tmp_path_factory.mktemp('film') / 'film.mp4', pictures)


@pytest.fixture(scope='module')
def whole(film):
  return cut_video.cut(part(film))


def test_shots_gaps_and_smaller_faces(whole):
  found = fates(whole)
  assert found['a_b_000000'] == 20 and found['a_b_000048'] == 32
  assert found['a_b_000048-not-the-largest-face'] == 'not the largest face'
  assert [name for name, fate in found.items() if fate == 'no face'] == ['a_b_000020-no-face']
  assert len(found) == 4
  first, second = (result for _, result in whole if isinstance(result, Record))
  assert first.facts['faces_seen'] == 1 and second.facts['faces_seen'] == 2
  assert first.fields[features.AUDIO].shape == (first.facts['frames'] * 640,)
  assert second.facts['source_seconds'] == 1.92 and second.facts['sound_offset'] is None


def test_all_faces_are_kept_if_wanted(film):
  found = fates(cut_video.cut(part(film, all_faces=True)))
  assert found['a_b_000048'] == found['a_b_000048-2'] == 32
  assert 'not the largest face' not in found.values()


def test_parts_have_what_the_whole_has(film, whole):
  first, second = (cut_video.cut(part(film, first=a, end=b)) for a, b in ((0, 48), (48, None)))
  assert fates(first).keys() | fates(second).keys() == fates(whole).keys()
  of_part, of_whole = (
    next(result for clip, result in results if clip.clip_id == 'a_b_000048') for results in (second, whole)
  )
  np.testing.assert_allclose(of_part.fields[features.LANDMARKS], of_whole.fields[features.LANDMARKS], atol=1e-3)
  assert np.abs(of_part.fields[features.AUDIO].astype(int) - of_whole.fields[features.AUDIO])[1600:].max() < 400
  assert cut_video.cut(part(film, first=500, end=600)) == []


def test_pictures_read_again_are_those_that_were_kept(film, whole, monkeypatch):
  monkeypatch.setattr(cut_video, '_MEMORY', 0)
  for (_, again), (_, before) in zip(cut_video.cut(part(film)), whole, strict=True):
    if isinstance(before, Record):
      assert again.fields[features.VIDEO] == before.fields[features.VIDEO]


def test_long_stretches_are_cut_into_equal_clips(film, monkeypatch):
  monkeypatch.setattr(face_stretches, 'MAX_FRAMES', 16)
  found = fates(cut_video.cut(part(film, first=48)))
  assert found['a_b_000048'] == found['a_b_000064'] == 16


@pytest.mark.parametrize(
  'module, limit, value, reason',
  [
    (face_stretches, 'MIN_EYE_DISTANCE', 60.0, 'face too small'),
    (face_stretches, 'MAX_YAW', -1.0, 'turned too far'),
    (cut_video, '_MIN_MOTION', 0.5, 'mouth still'),
  ],
)
def test_limits(film, monkeypatch, module, limit, value, reason):
  monkeypatch.setattr(module, limit, value)
  monkeypatch.setattr(cut_video, '_MOTION_FRAMES', 10)
  results = cut_video.cut(part(film, first=48))
  assert reason in fates(results).values() and not any(isinstance(result, Record) for _, result in results)


def test_faces_that_leave_the_picture_are_cut_where_they_do(tmp_path):
  pictures = []
  for t, picture in enumerate(drawn_clips.frames(60)):
    wide = np.full((_SIZE, 3 * _SIZE, 3), (70, 100, 140), np.uint8)
    wide[:, _SIZE : 2 * _SIZE] = picture
    pictures.append(np.ascontiguousarray(wide[:, 200 + 4 * max(0, t - 30) :][:, :_SIZE]))
  results = cut_video.cut(part(drawn_clips.write(tmp_path / 'a.mp4', pictures)))
  lengths = [fate for fate in fates(results).values() if isinstance(fate, int)]
  assert len(lengths) == 1 and 30 <= lengths[0] <= 48


def test_sound_that_stops_is_told(tmp_path):
  write_stamped(tmp_path / 'a.mp4', drawn_clips.frames(20), [t / 25 for t in range(20)], sound=drawn_clips.sound(8))
  ((_, result),) = cut_video.cut(part(tmp_path / 'a.mp4'))
  assert result.reason == 'no sound' and result.detail.startswith('the sound ends at 0:00.3')


def test_pictures_after_the_end_of_the_sound_are_cut_off(tmp_path):
  write_stamped(tmp_path / 'a.mp4', drawn_clips.frames(24), [t / 25 for t in range(24)], sound=drawn_clips.sound(18))
  ((_, result),) = cut_video.cut(part(tmp_path / 'a.mp4', sound_advance=0.04))
  # AAC comes in packets of 64 ms.
  assert 17 <= result.facts['frames'] <= 19 and len(result.fields[features.AUDIO]) == 640 * result.facts['frames']


def test_bad_files_and_unknown_speakers_are_told(tmp_path, film):
  (tmp_path / 'a.mp4').write_text('no film')
  for reason, source in {
    'unreadable': part(tmp_path / 'a.mp4'),
    'speaker unknown': part(film, speaker=''),
    'duplicate': part(film, problem=('duplicate', 'the same')),
    'no sound': part(drawn_clips.write(tmp_path / 'b.mp4', samples=None)),
  }.items():
    ((clip, result),) = cut_video.cut(source)
    assert isinstance(result, Rejection) and result.reason == reason and clip.clip_id == 'a_b_000000'


def test_staged_parts_give_way_to_their_clips(tmp_path, film, whole):
  sources = [part(film), part(film, clip_id='failed')]
  tasks = [convert_clip.staging_task(source, 'jpeg', tmp_path) for source in sources]
  cut_video.convert_to_file(tasks[0])
  convert_clip.save(Rejection('failed', 'the worker died'), tasks[1].path)
  clips, files = cut_video.staged(sources, tasks)
  assert [clip.clip_id for clip in clips] == [clip.clip_id for clip, _ in whole] + ['failed']
  for task, (_, result) in zip(files, whole):
    loaded = convert_clip.load(task.path)
    assert type(loaded) is type(result)
    if isinstance(loaded, Record):
      assert loaded.facts == result.facts and loaded.fields[features.VIDEO] == result.fields[features.VIDEO]
  assert convert_clip.load(files[-1].path).reason == 'failed'
