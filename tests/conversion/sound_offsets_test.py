"""Offsets of speakers: read from a report, and put right in a second conversion."""

import json

import drawn_clips
import numpy as np
import pytest

from data_pipelines import prepare
from data_pipelines.clip_source import ClipSource
from data_pipelines.conversion import convert_clip, sound_offsets
from data_pipelines.errors import InputError


def _report(path, speakers, **fields):
  rows = {name: dict(zip(('offset_ms', 'uncertainty_ms', 'clips'), row, strict=True)) for name, row in speakers.items()}
  path.write_text(json.dumps({'sync': {'speakers': rows}, **fields}))
  return path


def test_only_what_is_clear_is_taken(tmp_path):
  path = _report(
    tmp_path / 'report.json',
    {
      'late': (45.0, 21.0, 89),
      'early': (-47.8, 7.1, 53),
      'unsure': (11.6, 8.9, 132),
      'few': (80.0, 2.0, 9),
      'silent': (None, None, 20),
      'alone': (50.0, None, 10),
    },
  )
  assert sound_offsets.load(path) == sound_offsets.load(tmp_path) == {'late': 0.045, 'early': -0.0478}


def test_what_was_taken_out_before_is_in_the_sum(tmp_path):
  path = _report(
    tmp_path / 'report.json',
    {'anna': (10.0, 2.0, 50), 'bert': (1.0, 8.0, 50), 'carl': (-30.0, 2.0, 50)},
    sound_offsets={'anna': 0.04, 'bert': -0.05, 'carl': 0.03},
  )
  assert sound_offsets.load(path) == {'anna': 0.05, 'bert': -0.05}


@pytest.mark.parametrize(
  'content', ['', '[]', '{}', '{"sync": {"speakers": {"anna": {}}}}', '{"sync": {"speakers": []}}']
)
def test_what_is_no_report_is_told(tmp_path, content):
  (tmp_path / 'report.json').write_text(content)
  with pytest.raises(InputError, match='report.json is no report of a conversion'):
    sound_offsets.load(tmp_path)


def test_they_add_to_what_is_known_of_the_corpus():
  clips = [ClipSource('a', 'anna', 'train', 'a.mp4', 0.06), ClipSource('b', 'bert', 'train', 'b.mp4', 0.06)]
  assert [clip.sound_advance for clip in sound_offsets.apply(clips, {'anna': -0.0478, 'carl': 1.0})] == [0.0122, 0.06]


def test_sound_that_comes_early_waits(tmp_path):
  path = drawn_clips.write(tmp_path / 'a.mp4', num_frames=24)
  plain = convert_clip.convert(ClipSource('a', 'anna', 'train', str(path)))
  late = convert_clip.convert(ClipSource('a', 'anna', 'train', str(path), -0.08))
  np.testing.assert_array_equal(late.fields['audio'][2 * 640 :], plain.fields['audio'][: -2 * 640])
  assert not late.fields['audio'][: 2 * 640].any()


def test_a_second_conversion_takes_them_out_and_says_so(tmp_path):
  source = drawn_clips.write_grid(tmp_path / 'source', clips=2)
  first = prepare.prepare('grid', source, tmp_path / 'first', progress=False)
  assert first['sound_offsets'] is None
  (speaker,) = first['sync']['speakers']
  path = _report(tmp_path / 'measured.json', {speaker: (40.0, 1.0, 50)})
  second = prepare.prepare('grid', source, tmp_path / 'second', sound_offsets=path, progress=False)
  assert second['sound_offsets'] == {speaker: 0.04}
  before, after = first['sync']['sound_advance_ms'], second['sync']['sound_advance_ms']
  assert after == [value + 40 for value in before]
  again = prepare.prepare('grid', source, tmp_path / 'second', sound_offsets=path, progress=False)
  assert again['new_clips'] == 0
  with pytest.raises(InputError, match='sound_offsets differ'):
    prepare.prepare('grid', source, tmp_path / 'second', progress=False)
