"""Splits are the same for everybody, for ever."""

import pytest

from data_pipelines import clip_source


@pytest.mark.parametrize('count, held_out', [(1, 1), (4, 1), (14, 1), (15, 2), (33, 3), (300, 30)])
def test_a_tenth_is_held_out_but_one_at_least(count, held_out):
  assert len(clip_source.tenth(f's{i}' for i in range(count))) == held_out


def test_the_tenth_depends_on_names_only():
  names = [f's{i}' for i in range(1, 35)]
  assert clip_source.tenth(names) == clip_source.tenth(names[::-1] * 2) == {'s7', 's23', 's25'}


def test_names_that_are_no_utf_8_have_their_place_too():
  assert clip_source.tenth(['a\udcff', 'b']) <= {'a\udcff', 'b'}


def test_preferred_speakers_are_held_out_where_they_are():
  assert clip_source.held_out_speakers({'c01', 'c18', 'c30'}, ('c18', 'c21')) == {'c18'}
  assert len(clip_source.held_out_speakers({'c01', 'c02'}, ('c18', 'c21'))) == 1


def test_safe_names_are_file_names_without_our_separator():
  assert clip_source.safe_name('a/b c_d.é') == 'a-b-c-d.é'


def test_a_speaker_in_two_splits_is_a_leak_unless_there_is_one_only():
  leak = [('a', 'train'), ('b', 'train'), ('b', 'validation'), ('c', 'validation')]
  assert clip_source.leaked_speakers(leak) == ['b']
  assert clip_source.leaked_speakers([('a', 'train'), ('b', 'validation')]) == []
  assert clip_source.leaked_speakers([('a', 'train'), ('a', 'validation')]) == []
  unknown = [(clip_source.UNKNOWN_SPEAKER, 'train'), (clip_source.UNKNOWN_SPEAKER, 'validation')]
  assert clip_source.leaked_speakers([*unknown, ('a', 'train'), ('b', 'validation')]) == []
