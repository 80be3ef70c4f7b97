"""Means are means, intervals hold them, and what is not there is a dash."""

import html
import json
import re

import numpy as np
import pytest

from atvg_jax.evaluate import clip_scores, score_page, score_tables


def _clips():
  rng = np.random.default_rng(0)
  return [
    {
      'clip_id': f'{i}',
      'speaker': 'ab'[i % 2],
      'mouth': ('smiling', 'shut', '')[i % 3],
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
  assert list(summary['mouths']) == ['shut', 'smiling'] and summary['mouths']['shut']['clips'] == 7
  assert summary['mouths']['smiling']['rows']['sound']['psnr'] == psnr[::3].mean()


def test_texts():
  clips = _clips()
  summary = score_tables.summary(clips)
  text = score_tables.markdown('here', summary)
  assert '**here**, clips: 20' in text and 'sound, by speaker' in text
  assert "sound, by the example's mouth" in text and re.search(r'\| smiling \(7\) +\|', text)
  assert re.search(r'\| PSNR ↑ +\| +\d+\.\d\d \| +100\.00 \|\n', text)
  assert re.search(r'\| LMD ↓ +\| +\d\.\d\d \| +— \|\n', text)
  assert re.search(r'\| real +\| +100\.00 \|', score_tables.by_row({'real': {'psnr': 100.0}}, clip_scores.COLUMNS))
  assert max(map(len, text.splitlines())) <= 120
  lines = score_tables.table_csv(clips).splitlines()
  assert lines[0] == 'clip_id,speaker,row,psnr,lmd' and len(lines) == 41 and lines[7].endswith(',')
  assert json.loads(score_tables.table_json({'clips': clips}))['clips'][3]['rows']['sound']['lmd'] is None
  page = score_page.page({'<set>': summary}, {'<set>': clips}, 'split x')
  assert '&lt;set&gt;' in page and '<set>' not in page
  assert page.index('Best') < page.index('videos/0.mp4') < page.index('Worst')


def test_differences_are_paired():
  clips = _clips()
  for number, clip in enumerate(clips):
    ours = clip['rows']['sound']
    clip['rows']['better'] = {'psnr': ours['psnr'] + 0.1 + 0.01 * (number % 2), 'lmd': ours['lmd']}
  summary = score_tables.summary(clips, ['sound', 'better'])
  assert summary['from'] == 'sound' and list(summary['differences']) == ['better']
  difference = summary['differences']['better']['psnr']
  assert difference['mean'] == pytest.approx(0.105) and difference['clips'] == 20
  assert 0.1 < difference['low'] < 0.105 < difference['high'] < 0.11  # the spread of the clips themselves is 1
  assert summary['differences']['better']['lmd'] == {'mean': 0, 'low': 0, 'high': 0, 'clips': 19}
  text = score_tables.markdown('here', summary)
  assert 'Differences from sound, clip by clip, with 95 % intervals' in text
  assert re.search(r'\| PSNR ↑ +\| +\+0\.1[01] \(\+0\.10 to \+0\.11\)\* \|\n', text)
  assert re.search(r'\| LMD ↓ +\| +\+0\.00 \(\+0\.00 to \+0\.00\)  \|\n', text)
  assert 'Differences from sound' in score_page.page({'here': summary}, {'here': clips}, '')
  assert score_tables.summary(clips, ['sound'])['from'] is None


def test_intervals_of_few_clips_are_said_to_be_too_narrow():
  for number, words in ((6, 'n = 6: intervals of so few clips are too narrow'), (20, '')):
    clips = _clips()[:number]
    summary = score_tables.summary(clips)
    for text in (score_tables.markdown('here', summary), score_page.page({'here': summary}, {'here': clips}, '')):
      assert '95 %' in text and words in text and ('too narrow' in text) == bool(words)


@pytest.mark.parametrize('clips', [1, 3])
def test_few_clips_have_no_interval_but_a_word(clips):
  summary = score_tables.summary(_clips()[:clips])
  assert summary['rows']['sound']['psnr']['low'] is None
  page = score_page.page({'here': summary}, {'here': _clips()[:clips]}, '')
  for text in (score_tables.markdown('here', summary), page):
    assert '95 %' not in text and f'n = {clips}: no intervals' in text


def test_wide_tables_are_split():
  rows = {name: dict.fromkeys(clip_scores.COLUMNS, 1.0) for name in ('baseline', 'sound')}
  parts = score_tables.by_row(rows, clip_scores.COLUMNS).split('\n\n')
  assert len(parts) == 2 or len(parts) == 3
  assert all('| baseline' in part and max(map(len, part.splitlines())) <= 100 for part in parts)
  assert all(sum(column.heading in part for part in parts) for column in clip_scores.COLUMNS.values())


def test_the_unusual_scores_are_explained():
  clips = _clips()
  for clip in clips:
    clip['rows']['sound'] |= {'opening_range': 1.0, 'identity_drift': 2.0, 'color_shift': 3.0}
  summary = score_tables.summary(clips)
  page = score_page.page({'here': summary}, {'here': clips}, '')
  for text in (score_tables.markdown('here', summary), page):
    for name in ('opening_range', 'identity_drift', 'color_shift'):
      assert html.escape(clip_scores.COLUMNS[name].meaning) in text or clip_scores.COLUMNS[name].meaning in text
