"""The report counts right and shows what is there."""

import io
import json

import numpy as np
from PIL import Image

import drawn_clips
from data_pipelines import report
from data_pipelines.clip_source import ClipSource
from data_pipelines.convert_clip import Record, Rejection

FACTS = {'frames': 20, 'eye_distance': 40.0, 'yaw': 1.0, 'frames_without_face': 0, 'frames_trimmed': 0,
         'mouth_opening_range': 0.2, 'chin_lowest': 118.0, 'sound_peak': 0.5, 'source_fps': 25.0,
         'source_size': '256x256', 'faces_seen': 1}


def clip(i: int, speaker: str = 's1', split: str = 'train') -> ClipSource:
  return ClipSource(f'{speaker}_{i}', speaker, split, f'{i}.mpg')


def test_counts():
  clips = [clip(0), clip(1), clip(2, 's2', 'validation'), clip(3, 's2', 'validation')]
  results = [Record({}, FACTS), Record({}, FACTS | {'frames': 40, 'faces_seen': 2}), Record({}, FACTS),
             Rejection('no face', 'none')]
  summary = report.summarise(clips, results)
  assert (summary['clips'], summary['kept'], summary['rejected'], summary['kept_share']) == (4, 3, 1, 0.75)
  assert summary['reasons'] == {'no face': 1}
  assert summary['splits']['train'] == {'clips': 2, 'rejected': 0, 'frames': 60, 'minutes': 0.04, 'speakers': ['s1']}
  assert summary['splits']['validation']['rejected'] == 1
  assert summary['clips_of_speaker'] == {'s1': 2, 's2': 1}
  assert summary['counts']['faces_seen'] == {'1': 2, '2': 1}
  assert summary['percentiles']['frames'] == {'0': 20, '5': 20, '50': 20, '95': 38, '100': 40}


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
