"""Means are means, intervals hold them, and what is not there is a dash."""

import json

import numpy as np

from atvg_jax.evaluate import score_page, score_tables


def _clips():
  rng = np.random.default_rng(0)
  return [
    {
      'clip_id': f'{i}',
      'speaker': 'ab'[i % 2],
      'video': f'videos/{i}.mp4',
      'rows': {
        'sound': {'psnr': 20 + rng.normal(), 'lmd': float('nan') if i == 3 else i / 10},
        'real': {'psnr': 100.0},
      },
    }
    for i in range(20)
  ]


def test_means_intervals_and_speakers():
  clips = _clips()
  summary = score_tables.summary(clips)
  psnr = np.array([clip['rows']['sound']['psnr'] for clip in clips])
  score = summary['rows']['sound']['psnr']
  assert score['mean'] == psnr.mean() and score['clips'] == 20
  error = psnr.std() / np.sqrt(20)
  assert abs(score['mean'] - score['low'] - 1.96 * error) < 0.5 * error
  assert abs(score['high'] - score['mean'] - 1.96 * error) < 0.5 * error
  assert summary['rows']['sound']['lmd']['clips'] == 19
  assert summary['rows']['real']['psnr'] == {'mean': 100, 'low': 100, 'high': 100, 'clips': 20}
  assert summary['speakers']['a']['clips'] == 10
  assert summary['speakers']['b']['rows']['sound']['psnr'] == psnr[1::2].mean()


def test_texts():
  clips = _clips()
  summary = score_tables.summary(clips)
  text = score_tables.markdown('here', summary)
  assert '**here**, clips: 20' in text and '| real | 100.00 | — |' in text and 'sound, by speaker' in text
  lines = score_tables.table_csv(clips).splitlines()
  assert lines[0] == 'clip_id,speaker,row,psnr,lmd' and len(lines) == 41 and lines[7].endswith(',')
  assert json.loads(score_tables.table_json({'clips': clips}))['clips'][3]['rows']['sound']['lmd'] is None
  page = score_page.page({'<set>': summary}, {'<set>': clips}, 'split x')
  assert '&lt;set&gt;' in page and '<set>' not in page
  assert page.index('Best') < page.index('videos/0.mp4') < page.index('Worst')


def test_one_clip_has_no_interval():
  summary = score_tables.summary(_clips()[:1])
  assert summary['rows']['sound']['psnr']['low'] is None
  assert '95 %' not in score_tables.markdown('here', summary)
  score_page.page({'here': summary}, {'here': _clips()[:1]}, '')
