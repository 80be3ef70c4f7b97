"""LRW in the layout that the BBC gives out."""

import pytest

from data_pipelines import clip_source
from data_pipelines.datasets.lrw import lrw_source
from data_pipelines.errors import InputError

TEXT = 'Disk reference: 6\nChannel: BBC One\nDuration: 0.36 seconds\n'


def write(root, *names, text=TEXT):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text if name.endswith('.txt') else 'video')
  return root


@pytest.mark.parametrize('above', ['', 'lipread_mp4/'])
def test_splits_and_words_are_the_corpus_own(tmp_path, above):
  write(
    tmp_path,
    *(
      f'{above}{word}/{split}/{word}_00001{ending}'
      for word in ('ABOUT', 'YEARS')
      for split in ('train', 'val', 'test')
      for ending in ('.mp4', '.txt')
    ),
  )
  clips = lrw_source.list_clips(str(tmp_path))
  assert [(clip.clip_id, clip.split, clip.words) for clip in clips[:3]] == [
    ('train_ABOUT-00001', 'train', ('ABOUT',)),
    ('val_ABOUT-00001', 'validation', ('ABOUT',)),
    ('test_ABOUT-00001', 'test', ('ABOUT',)),
  ]
  assert len(clips) == 6 == len({clip.clip_id for clip in clips})
  assert {clip.speaker for clip in clips} == {clip_source.UNKNOWN_SPEAKER}


def test_the_word_is_in_the_middle_of_29_frames(tmp_path):
  write(tmp_path, 'ABOUT/val/ABOUT_00001.mp4', 'ABOUT/val/ABOUT_00001.txt')
  (clip,) = lrw_source.list_clips(str(tmp_path))
  assert clip.starts == (0.4,) and clip.ends == (0.76,)


def test_without_text_the_word_has_no_time_and_with_a_bad_one_the_clip_is_left_out(tmp_path):
  write(tmp_path, 'ABOUT/test/ABOUT_00001.mp4', 'ABOUT/test/ABOUT_00002.mp4', 'ABOUT/test/ABOUT_00003.txt')
  write(tmp_path, 'ABOUT/test/ABOUT_00002.txt', text='Duration: long')
  bare, damaged, missing = lrw_source.list_clips(str(tmp_path))
  assert bare.words == ('ABOUT',) and bare.starts == () and bare.problem is None
  assert damaged.problem[0] == 'metadata damaged' and 'ABOUT_00002.txt' in damaged.problem[1]
  assert missing.path.endswith('ABOUT_00003.mp4')  # the conversion will say that it is not there


def test_other_folders_are_told(tmp_path):
  with pytest.raises(InputError, match='is not a folder'):
    lrw_source.list_clips(str(tmp_path / 'nothing'))
  with pytest.raises(InputError, match='holds no LRW clip'):
    lrw_source.list_clips(str(write(tmp_path, 'anna/talk.mp4')))
