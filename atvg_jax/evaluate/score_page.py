"""The page of scores: tables with what each score is, and the best, middling and worst clips to play side by side."""

import html
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atvg_jax.evaluate import clip_scores, score_tables
from data_pipelines.media import video_writer

_ORDER = 'lmd', 'opening_r'  # clips are ranked by the first that all have
_SHOWN = 3  # clips of each kind

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto }
th, td { padding: .3em .7em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
small { color: #666 } video { display: block; width: 64em; max-width: 100% } figure { margin: 0 0 1.5em }
"""


def write_video(folder: str, name: str, videos: Mapping[str, np.ndarray]) -> None:
  """Writes the rows' videos, uint8 [T, H, W, 3], side by side as `folder`/`name`.mp4."""
  os.makedirs(folder, exist_ok=True)
  strip = np.concatenate(list(videos.values()), axis=2)
  with video_writer.VideoWriter(os.path.join(folder, f'{name}.mp4'), strip.shape[1:3], quick=True) as writer:
    for frame in strip:
      writer.append(frame)


def page(
  summaries: Mapping[str, Mapping[str, Any]],
  tables: Mapping[str, Sequence[Mapping[str, Any]]],
  about: str,
  title: str = 'Scores',
) -> str:
  """The whole page.

  Args:
    summaries: name → what `score_tables.summary` returns.
    tables: name → its clips, with 'video' each, a path relative to the page.
    about: what was scored, in a few words.
    title: of the page.
  """
  parts = [
    f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>',
    f'<h1>{title}</h1><p>{html.escape(about)}</p>',
  ]
  for name, summary in summaries.items():
    spread = 'Means over clips, with 95 % intervals'
    if warning := score_tables.few_clips(summary):
      spread = f'{spread if score_tables.has_intervals(summary) else "Means over clips"}; {warning.rstrip(".")}'
    parts.append(
      f'<h2>{html.escape(name)}</h2><p>Clips: {summary["clips"]}, speakers: {len(summary["speakers"])}. {spread}; '
      '↑ more is better, ↓ less is better.</p>'
    )
    parts.append(_table(summary))
    if summary['from'] is not None:
      parts.append(_differences(summary))
    parts.append(_clips(tables[name]))
  return '\n'.join(parts) + '</html>\n'


def _table(summary: Mapping[str, Any]) -> str:
  """A line a score, a column a row of `evaluate`: there are more scores than a screen is wide."""
  columns = clip_scores.columns(list(summary['rows'].values()))
  head = ''.join(f'<th>{html.escape(row)}</th>' for row in summary['rows'])
  lines = []
  for name, column in columns.items():
    cells = []
    for scores in summary['rows'].values():
      score = scores.get(name, {'mean': None, 'low': None})
      text = '—' if score['mean'] is None else f'{score["mean"]:{column.form}}'
      if score['low'] is not None:
        text += f'<br><small>{score["low"]:{column.form}} – {score["high"]:{column.form}}</small>'
      cells.append(f'<td>{text}</td>')
    meaning = f'<br><small>{html.escape(column.meaning)}</small>' if column.meaning else ''
    lines.append(f'<tr><td>{html.escape(score_tables.heading(column))}{meaning}</td>{"".join(cells)}</tr>')
  legend = '; '.join(
    f'<em>{html.escape(row)}</em>: {html.escape(score_tables.ROWS[row])}'
    for row in summary['rows']
    if row in score_tables.ROWS
  )
  return f'<table><tr><th></th>{head}</tr>{"".join(lines)}</table><p><small>{legend}</small></p>'


def _differences(summary: Mapping[str, Any]) -> str:
  columns, rows = clip_scores.columns(list(summary['rows'].values())), summary['differences']
  head = ''.join(f'<th>{html.escape(row)}</th>' for row in rows)
  nothing = {'mean': None, 'low': None, 'high': None}
  lines = []
  for name, column in columns.items():
    texts = [score_tables.difference_text(scores.get(name, nothing), column.form) for scores in rows.values()]
    cells = ''.join(f'<td>{text}</td>' for text in texts)
    lines.append(f'<tr><td>{html.escape(score_tables.heading(column))}</td>{cells}</tr>')
  title = html.escape(score_tables.differences_title(summary))
  return f'<h3>{title}</h3><table><tr><th></th>{head}</tr>{"".join(lines)}</table>'


def _clips(clips: Sequence[Mapping[str, Any]]) -> str:
  """Best, middling and worst clips by the row that was generated with the least help."""
  rows = [row for row in clips[0]['rows'] if row not in ('baseline', 'real')]
  subject = rows[-1]
  ranked = []
  for column in _ORDER:
    ranked = [clip for clip in clips if np.isfinite(clip['rows'][subject].get(column, np.nan))]
    if ranked:
      better = clip_scores.COLUMNS[column].better
      ranked.sort(key=lambda clip: -better * clip['rows'][subject][column])
      break
  if not ranked:
    return ''
  heading, form, *_ = clip_scores.COLUMNS[column]
  middle = max(0, len(ranked) // 2 - _SHOWN // 2)
  parts = [
    f'<p>From left to right: {html.escape(", ".join(clips[0]["rows"]))}. '
    f'Ranked by {html.escape(heading)} of "{html.escape(subject)}".</p>'
  ]
  shown = set()
  for title, chosen in (
    ('Best', ranked[:_SHOWN]),
    ('Worst', ranked[::-1][:_SHOWN]),
    ('Middling', ranked[middle : middle + _SHOWN]),
  ):
    chosen = [clip for clip in chosen if clip['clip_id'] not in shown]
    shown |= {clip['clip_id'] for clip in chosen}
    figures = [
      f'<figure><video src="{html.escape(clip["video"])}" controls autoplay loop muted playsinline></video>'
      f'<figcaption>{html.escape(clip["clip_id"])}: {heading} {clip["rows"][subject][column]:{form}}'
      '</figcaption></figure>'
      for clip in chosen
    ]
    parts.append(f'<h3>{title}</h3>{"".join(figures)}' if figures else '')
  return ''.join(parts)
