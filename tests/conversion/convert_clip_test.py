"""One clip: a record that agrees with what was drawn, or a reason why there is none."""

import io

import drawn_clips
import numpy as np
import pytest
from PIL import Image

from data_pipelines import features
from data_pipelines.clip_source import ClipSource
from data_pipelines.conversion import convert_clip
from data_pipelines.conversion.convert_clip import Record, Rejection
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio, video_reader


def source(path, **fields) -> ClipSource:
  return ClipSource(**{'clip_id': 's1_a', 'speaker': 's1', 'split': 'train', 'path': str(path)} | fields)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  return drawn_clips.write(tmp_path_factory.mktemp('clips') / 'a.mp4', num_frames=24)


@pytest.fixture(scope='module')
def record(path) -> Record:
  return convert_clip.convert(source(path, words=('bin', 'blue'), starts=(0.1, 0.2), ends=(0.2, 0.3)))


def test_fields_have_the_shapes_of_the_contract(record):
  fields = record.fields
  assert fields[features.LANDMARKS].shape == (24, 136) and fields[features.LANDMARKS].dtype == np.float32
  assert fields[features.REST_LANDMARKS].shape == (136,)
  assert fields[features.AUDIO].shape == (24 * 640,) and fields[features.AUDIO].dtype == np.int16
  assert fields[features.MFCC_ROWS].shape == (4 * 24 + 24, 12)
  assert len(fields[features.VIDEO]) == 24
  assert (fields['words'], fields['starts'], fields['ends']) == (['bin', 'blue'], [0.1, 0.2], [0.2, 0.3])
  for picture in fields[features.VIDEO]:
    assert Image.open(io.BytesIO(picture)).size == (128, 128)


def test_mouth_opens_as_drawn_and_the_face_is_held_still(record):
  landmarks = record.fields[features.LANDMARKS]
  assert np.corrcoef(face_alignment.mouth_opening(landmarks), drawn_clips.openings(24))[0, 1] > 0.95
  points = face_alignment.denormalise(landmarks)
  # The drawn head sways by four pixels, the crop's nose and eyes by a fraction of one.
  assert points[:, features.STEADY].std(axis=0).mean() < 0.5
  assert (points[:, features.MOUTH, 1] < 118).all() and (points[:, features.MOUTH, 1] > 64).all()


def test_rest_is_the_closed_mouth(record):
  opening = face_alignment.mouth_opening(record.fields[features.LANDMARKS])
  assert face_alignment.mouth_opening(record.fields[features.REST_LANDMARKS]) < np.quantile(opening, 0.35)


def test_mfcc_rows_are_those_of_the_stored_sound(record):
  sound = record.fields[features.AUDIO] / np.float32(32767)
  np.testing.assert_array_equal(record.fields[features.MFCC_ROWS], audio.frame_rows(sound, 24))


def test_late_sound_is_advanced(path, record):
  advanced = convert_clip.convert(source(path, sound_advance=0.08))
  assert len(advanced.fields[features.VIDEO]) == 22  # the last two frames have no sound
  np.testing.assert_array_equal(advanced.fields[features.AUDIO], record.fields[features.AUDIO][2 * 640 :])
  assert advanced.fields[features.VIDEO][:10] == record.fields[features.VIDEO][:10]


def test_png_is_exact_and_jpeg_near(path, record):
  exact = convert_clip.convert(source(path), 'png')
  for png, jpeg in zip(exact.fields[features.VIDEO], record.fields[features.VIDEO]):
    png, jpeg = (np.asarray(Image.open(io.BytesIO(picture)), float) for picture in (png, jpeg))
    assert 0 < np.abs(png - jpeg).mean() < 3


def test_a_few_frames_without_a_face_are_bridged(tmp_path):
  pictures = drawn_clips.frames(24)
  pictures[10:13] = [np.full_like(pictures[0], 90)] * 3
  record = convert_clip.convert(source(drawn_clips.write(tmp_path / 'a.mp4', pictures)))
  assert record.facts['frames_without_face'] == 3
  landmarks = record.fields[features.LANDMARKS]
  assert np.isfinite(landmarks).all() and np.abs(np.diff(landmarks, axis=0)).max() < 0.2


def test_ends_without_a_face_are_trimmed_with_their_sound(tmp_path):
  pictures = drawn_clips.frames(26)
  for t in (0, 1, 25):
    pictures[t] = np.full_like(pictures[0], 90)
  path = drawn_clips.write(tmp_path / 'a.mp4', pictures)
  trimmed = convert_clip.convert(source(path, words=('bin',), starts=(0.02,), ends=(0.5,)))
  frames = 23
  assert trimmed.facts['frames_trimmed'] == trimmed.facts['frames_without_face'] == 3
  assert [len(trimmed.fields[name]) for name in (features.VIDEO, features.LANDMARKS)] == [frames] * 2
  assert (trimmed.fields['starts'], trimmed.fields['ends']) == ([0.0], [0.42])
  sound = video_reader.read_video(path).samples[2 * 640 :][: frames * 640]
  np.testing.assert_array_equal(trimmed.fields[features.AUDIO], np.round(sound * 32767))


BLANK = np.full((96, 96, 3), 90, np.uint8)


@pytest.mark.parametrize(
  'reason, clip',
  [
    ('no face', {'pictures': [BLANK] * 20}),
    ('too short', {'num_frames': 9}),
    ('no sound', {'samples': None}),
    ('silent', {'samples': np.zeros(20 * 640, np.float32)}),
  ],
)
def test_bad_clips_are_left_out_with_a_reason(tmp_path, reason, clip):
  result = convert_clip.convert(source(drawn_clips.write(tmp_path / 'a.mp4', **clip)))
  assert isinstance(result, Rejection) and result.reason == reason and result.detail


def test_a_face_missing_too_long_is_a_reason(tmp_path):
  pictures = drawn_clips.frames(20)
  pictures[3:9] = [np.full_like(pictures[0], 90)] * 6
  result = convert_clip.convert(source(drawn_clips.write(tmp_path / 'a.mp4', pictures)))
  assert result.reason == 'face missing' and 'in 6 of 20 frames' in result.detail


def test_faces_smaller_than_the_limit_and_mouths_outside_are_reasons(path, monkeypatch):
  monkeypatch.setattr(convert_clip, 'MIN_EYE_DISTANCE', 60.0)
  assert convert_clip.convert(source(path)).reason == 'face too small'
  monkeypatch.setattr(convert_clip, 'MIN_EYE_DISTANCE', 16.0)
  monkeypatch.setattr(convert_clip, '_MOUTH_LIMIT', 0.3)
  assert convert_clip.convert(source(path)).reason == 'mouth outside crop'


def test_unreadable_files_are_left_out_with_a_reason(tmp_path, path):
  (tmp_path / 'torn.mp4').write_bytes(path.read_bytes()[:2000])
  (tmp_path / 'text.mp4').write_text('no video')
  for name in ('torn.mp4', 'text.mp4', 'missing.mp4'):
    result = convert_clip.convert(source(tmp_path / name))
    assert result.reason in ('unreadable', 'truncated') and result.detail
  assert convert_clip.convert(source(path, speaker='')).reason == 'speaker unknown'


def test_staged_files_hold_all_of_a_result(tmp_path, record):
  convert_clip.save(record, str(tmp_path / 'a.npz'))
  loaded = convert_clip.load(tmp_path / 'a.npz')
  assert loaded.facts == record.facts
  assert loaded.fields.keys() == record.fields.keys()
  for name, value in record.fields.items():
    np.testing.assert_array_equal(loaded.fields[name], value)
  assert features.VIDEO not in convert_clip.load(tmp_path / 'a.npz', keys=[features.LANDMARKS]).fields
  rejection = Rejection('too short', '3 frames')
  convert_clip.save(rejection, str(tmp_path / 'b.npz'))
  assert convert_clip.load(tmp_path / 'b.npz') == rejection
  (tmp_path / 'c.npz').write_bytes((tmp_path / 'a.npz').read_bytes()[:3000])
  with pytest.raises(InputError, match='c.npz is damaged'):
    convert_clip.load(tmp_path / 'c.npz')


def test_staged_names_change_with_what_a_record_depends_on(tmp_path, path):
  clip = source(path)
  names = {
    convert_clip.staging_task(*arguments, tmp_path).path
    for arguments in (
      (clip, 'jpeg'),
      (clip, 'png'),
      (source(path, sound_advance=0.06), 'jpeg'),
      (source(path, words=('a',)), 'jpeg'),
    )
  }
  assert len(names) == 4
  assert convert_clip.staging_task(clip, 'jpeg', tmp_path) == convert_clip.staging_task(clip, 'jpeg', tmp_path)
