"""GRID as people have it on their disks."""

import pathlib

import pytest

from data_pipelines.datasets.grid import grid_source
from data_pipelines.errors import InputError


def touch(root: pathlib.Path, *names: str) -> pathlib.Path:
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(
      '0 17750 sil\n17750 22500 bin\n22500 23750 sp\n23750 27000 blue\n' if name.endswith('.align') else 'video'
    )
  return root


@pytest.mark.parametrize(
  'folder, videos',
  [
    ('corpus', ['s1/video/bbaf2n.mpg', 's2/video/bbaf2n.mpg']),
    ('corpus', ['s1/video/mpg_6000/bbaf2n.mpg', 's2/video/mpg_6000/bbaf2n.mpg']),
    ('corpus', ['s1/bbaf2n.mpg', 's2/bbaf2n.mpg']),
    ('corpus', ['video/s1/bbaf2n.mpg', 'video/s2/bbaf2n.mpg']),
  ],
)
def test_several_speakers_are_split_by_speaker(tmp_path, folder, videos):
  clips = grid_source.list_clips(str(touch(tmp_path / folder, *videos)))
  assert [(clip.clip_id, clip.speaker) for clip in clips] == [('s1_bbaf2n', 's1'), ('s2_bbaf2n', 's2')]
  assert sorted(clip.split for clip in clips) == ['train', 'validation']


@pytest.mark.parametrize('folder', ['s1', 'grid_s1'])
@pytest.mark.parametrize('place', ['video/', ''])
def test_one_speaker_is_named_by_its_folder_and_split_by_clip(tmp_path, folder, place):
  names = [f'bbaf{i}n' for i in range(10)]
  root = touch(tmp_path / folder, *(f'{place}{name}.mpg' for name in names), *(f'align/{name}.align' for name in names))
  clips = grid_source.list_clips(str(root))
  assert {clip.speaker for clip in clips} == {'s1'}
  assert [clip.split for clip in clips].count('validation') == 1
  assert clips[0].words == ('bin', 'blue')
  assert clips[0].starts == (0.71, 0.95) and clips[0].ends == (0.9, 1.08)


def test_of_two_files_of_a_clip_the_larger_is_taken(tmp_path):
  root = touch(tmp_path, 's1/video/mpg_vcd/bbaf2n.mpg', 's1/video/mpg_6000/bbaf2n.mpg')
  (root / 's1/video/mpg_6000/bbaf2n.mpg').write_text('a larger video')
  (clip,) = grid_source.list_clips(str(root))
  assert 'mpg_6000' in clip.path


def test_alignments_stay_with_their_speaker(tmp_path):
  clips = grid_source.list_clips(str(touch(tmp_path, 's1/video/a.mpg', 's2/video/a.mpg', 's2/align/a.align')))
  assert [len(clip.words) for clip in clips] == [0, 2]


def test_bad_sources_are_told(tmp_path):
  with pytest.raises(InputError, match='is not a folder'):
    grid_source.list_clips(str(tmp_path / 'nothing'))
  with pytest.raises(InputError, match='holds no GRID video'):
    grid_source.list_clips(str(tmp_path))


def test_a_clip_with_bad_word_times_is_left_out_alone(tmp_path):
  root = touch(tmp_path, 's1/a.mpg', 's1/b.mpg', 's1/b.align')
  (root / 's1/a.align').write_text('0 17750 sil\nbin\n')
  damaged, good = grid_source.list_clips(str(root))
  assert damaged.problem[0] == 'metadata damaged' and 'line 2' in damaged.problem[1]
  assert good.problem is None and good.words == ('bin', 'blue')
  with pytest.raises(InputError, match='cannot be read'):
    grid_source.read_alignment(tmp_path)


def test_the_whole_corpus_as_it_is_given_out(tmp_path):
  """34 speakers (21 without video), archives unpacked each into its own folder, sound and word times beside."""
  for i in [*range(1, 21), *range(22, 35)]:
    touch(tmp_path, f's{i}/s{i}/bbaf2n.mpg', f'alignments/s{i}/bbaf2n.align')
  touch(tmp_path, 'audio_25k/s21/bbaf2n.wav', 'audio_25k/s1/bbaf2n.wav')
  clips = grid_source.list_clips(str(tmp_path))
  assert len(clips) == 33 and all(clip.words == ('bin', 'blue') for clip in clips)
  assert {clip.speaker for clip in clips if clip.split == 'validation'} == {'s7', 's23', 's25'}
