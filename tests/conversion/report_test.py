"""The report counts right and shows what is there."""

import io
import json
import xml.etree.ElementTree

import drawn_clips
import numpy as np
from PIL import Image

from data_pipelines.clip_source import ClipSource
from data_pipelines.conversion import report, report_charts
from data_pipelines.conversion.convert_clip import Record, Rejection

FACTS = {
  'frames': 20,
  'eye_distance': 40.0,
  'yaw': 1.0,
  'frames_without_face': 0,
  'frames_trimmed': 0,
  'mouth_opening_range': 0.2,
  'chin_lowest': 118.0,
  'sound_peak': 0.5,
  'source_fps': 25.0,
  'source_size': '256x256',
  'faces_seen': 1,
  'sound_level': -20.0,
  'mouth_motion': 0.02,
  'sound_advance': 0.06,
  'sync': [0.0] * 61 + [1.0, 1.0],
}


def clip(i: int, speaker: str = 's1', split: str = 'train') -> ClipSource:
  return ClipSource(f'{speaker}_{i}', speaker, split, f'{i}.mpg')


def test_counts():
  clips = [clip(0), clip(1), clip(2, 's2', 'validation'), clip(3, 's2', 'validation')]
  results = [
    Record({}, FACTS),
    Record({}, FACTS | {'frames': 40, 'faces_seen': 2}),
    Record({}, FACTS),
    Rejection('no face', 'none'),
  ]
  summary = report.summarise(clips, results)
  assert (summary['clips'], summary['kept'], summary['rejected'], summary['kept_share']) == (4, 3, 1, 0.75)
  assert summary['reasons'] == {'no face': 1}
  assert summary['splits']['train'] == {'clips': 2, 'rejected': 0, 'frames': 60, 'minutes': 0.04, 'speakers': ['s1']}
  assert summary['splits']['validation']['rejected'] == 1
  assert summary['clips_of_speaker'] == {'s1': 2, 's2': 1}
  assert summary['speakers']['s2'] == {'validation': {'clips': 1, 'rejected': 1, 'frames': 20}}
  assert [row['clip_id'] for row in summary['rejected_clips']] == ['s2_3']
  assert summary['histograms']['frames']['counts'][0] == 2 and sum(summary['histograms']['frames']['counts']) == 3
  assert summary['histograms']['yaw'] == {'edges': [1.0, 1.0], 'counts': [3]}
  assert summary['counts']['faces_seen'] == {'1': 2, '2': 1}
  assert summary['counts']['sound_advance'] == {'0.06': 3}
  assert summary['percentiles']['frames'] == {'0': 20, '5': 20, '50': 20, '95': 38, '100': 40}


def test_late_sound_shows_by_itself():
  rng = np.random.default_rng(0)

  def fact(peak: int) -> dict:
    row = np.exp(-(((np.arange(61) - 30 - peak) / 8) ** 2)) + 0.1 * rng.normal(size=61)
    return FACTS | {'sync': [*row, 2.0, 2.0]}

  clips = [clip(i, 's1' if i < 20 else 's2') for i in range(40)]
  results = [Record({}, fact(6 if i < 20 else -3)) for i in range(40)]
  sync = report.summarise(clips, results)['sync']
  late, fine = (sync['speakers'][name] for name in ('s1', 's2'))
  assert late['verdict'] == 'sound late' and fine['verdict'] == 'in step'
  np.testing.assert_allclose(late['offset_ms'] - fine['offset_ms'], 90, atol=10)
  assert sync['all']['clips'] == 40 and len(sync['all']['curve']) == len(sync['lags_ms']) == 61
  parts = ''.join(report._sync_parts(sync))
  assert 'sound late' in parts and '<svg' in parts


def test_charts_hold_what_they_are_given():
  counts = report_charts.histogram([1.0, 1.5, 3.0], bins=4)
  assert counts == {'edges': [1.0, 1.5, 2.0, 2.5, 3.0], 'counts': [1, 1, 0, 1]}
  drawn = xml.etree.ElementTree.fromstring(report_charts.bars('a < b', counts, 'm'))
  heights = [float(bar.get('height')) for bar in drawn.iter('rect')]
  assert len(heights) == 4 and heights[0] == heights[1] == max(heights) and heights[2] == 0
  chart = report_charts.lines('c', [0, 1, 2], {'x': [0, 1, 0], 'y': [1, 0, -1]}, 'ms', 1)
  drawn = xml.etree.ElementTree.fromstring(chart)
  assert len(list(drawn.iter('polyline'))) == 2


def test_sample_is_spread_over_speakers():
  clips = [clip(i, f's{i // 10}') for i in range(300)]
  chosen = report._spread(list(range(300)), clips)
  assert len(chosen) == 12 and len({clips[i].speaker for i in chosen}) == 12
  few = report._spread(list(range(20)), clips)
  assert len(few) == len(set(few)) == 12 and {clips[i].speaker for i in few} == {'s0', 's1'}
  assert report._spread([4], clips) == [4]


def test_the_written_page_holds_the_sheet_and_the_sheet_shows_landmarks():
  folder = drawn_clips.converted('lrw_ar')
  sheet = np.asarray(Image.open(io.BytesIO((folder / 'contact_sheet.jpg').read_bytes())), float)
  assert sheet.shape == (4 * 150, 8 * 128, 3)
  # The drawn landmarks are bright green, which nothing else is.
  green = (sheet[..., 1] - sheet[..., 0] > 90) & (sheet[..., 1] > 150)
  assert green[:, 512:].sum() > 100 > 10 > green[:, :512].sum()
  page = (folder / 'report.html').read_text()
  assert page.count('data:image/jpeg;base64,') == 1 and '4 of 4 clips converted (100.0%)' in page
  assert json.loads((folder / 'report.json').read_text())['kept'] == 4
