"""LRW-AR's folder and its tables."""

import pytest

from data_pipelines.datasets.lrw_ar import lrw_ar_source
from data_pipelines.errors import InputError


@pytest.fixture
def root(tmp_path):
  (tmp_path / 'video').mkdir()
  (tmp_path / 'transcripts').mkdir()
  for name in ('00001', '00002', '00003', '00005'):
    (tmp_path / 'video' / f'{name}.mp4').write_text('video')
  (tmp_path / 'speakers.csv').write_text('clip,speaker\n00001,c01\n00002,c18\n00003,c01\n00004,c02\n')
  (tmp_path / 'transcripts' / '00002.csv').write_text('word\nقال\nإن\n', encoding='utf-8')
  return tmp_path


def test_clips_are_split_by_speaker(root):
  clips = {clip.clip_id: clip for clip in lrw_ar_source.list_clips(str(root))}
  assert {name: clip.split for name, clip in clips.items() if clip.speaker} == {
    'c01_00001': 'train',
    'c18_00002': 'validation',
    'c01_00003': 'train',
    'c02_00004': 'train',
  }
  assert clips['c18_00002'].words == ('قال', 'إن')
  assert clips['c01_00001'].words == ()
  assert all(clip.sound_advance == 0.06 for clip in clips.values())


def test_what_the_table_lacks_or_has_too_much_is_listed_so_that_it_is_reported(root):
  clips = {clip.clip_id: clip for clip in lrw_ar_source.list_clips(str(root))}
  assert clips['unknown_00005'].speaker == ''
  assert clips['c02_00004'].path.endswith('00004.mp4')


def test_bad_sources_are_told(root, tmp_path_factory):
  with pytest.raises(InputError, match='is not a folder'):
    lrw_ar_source.list_clips(str(root / 'nothing'))
  with pytest.raises(InputError, match='holds no LRW-AR video'):
    lrw_ar_source.list_clips(str(tmp_path_factory.mktemp('empty')))
  (root / 'speakers.csv').write_text('name;who\n')
  with pytest.raises(InputError, match='expected clip,speaker'):
    lrw_ar_source.list_clips(str(root))
  (root / 'speakers.csv').unlink()
  with pytest.raises(InputError, match='speakers.csv is missing'):
    lrw_ar_source.list_clips(str(root))
