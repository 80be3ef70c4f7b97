"""Scores of many clips → means with intervals, by speaker, as Markdown, CSV and JSON."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atvg_jax.evaluate import clip_scores

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)  # percentiles

# A clip's scores: {'clip_id', 'speaker', 'rows': {row: {column: number}}}.
Clip = Mapping[str, Any]


def summary(clips: Sequence[Clip]) -> dict[str, Any]:
  """Means over clips, with bootstrap intervals.

  Args:
    clips: with the same rows each.

  Returns:
    'clips', their number; 'rows': {row: {column: {'mean', 'low', 'high', 'clips'}}}, where low and high bound the mean with
    95 % confidence (percentiles of 1,000 resamplings of the clips) and 'clips' counts those that have the number; 'speakers':
    {speaker: {'clips', 'rows': {row: {column: mean}}}}. Means of nothing are None.
  """
  speakers = {}
  for speaker in sorted({clip['speaker'] for clip in clips}):
    theirs = [clip for clip in clips if clip['speaker'] == speaker]
    speakers[speaker] = {
      'clips': len(theirs),
      'rows': {
        row: {column: _mean(values) for column, values in columns.items()} for row, columns in _table(theirs).items()
      },
    }
  return {
    'clips': len(clips),
    'speakers': speakers,
    'rows': {
      row: {column: _with_interval(values) for column, values in columns.items()}
      for row, columns in _table(clips).items()
    },
  }


def _table(clips: Sequence[Clip]) -> dict[str, dict[str, np.ndarray]]:
  """{row: {column: finite numbers}}."""
  table = {}
  for row in clips[0]['rows']:
    names = clip_scores.columns([clip['rows'][row] for clip in clips])
    values = {name: np.array([clip['rows'][row].get(name, np.nan) for clip in clips], np.float64) for name in names}
    table[row] = {name: column[np.isfinite(column)] for name, column in values.items()}
  return table


def _mean(values: np.ndarray) -> float | None:
  return float(values.mean()) if values.size else None


def _with_interval(values: np.ndarray) -> dict[str, Any]:
  low = high = None
  if values.size > 1:
    # The same clips are drawn for every column and row of a table.
    draws = np.random.default_rng(0).integers(values.size, size=(_RESAMPLES, values.size))
    low, high = map(float, np.percentile(values[draws].mean(axis=1), _INTERVAL))
  return {'mean': _mean(values), 'low': low, 'high': high, 'clips': int(values.size)}


def markdown(title: str, summary: Mapping[str, Any]) -> str:
  """The table of all clips, then one of every speaker where there are several, of what `summary` returns."""
  columns = clip_scores.columns(list(summary['rows'].values()))
  text = [f'**{title}**, clips: {summary["clips"]}\n\n', header('', columns)]
  for row, scores in summary['rows'].items():
    text.append(line(row, columns, {name: score['mean'] for name, score in scores.items()}))
  if any(score['low'] is not None for scores in summary['rows'].values() for score in scores.values()):
    text.append('\n95 % intervals of the means\n\n' + header('', columns))
    for row, scores in summary['rows'].items():
      cells = [
        '—'
        if name not in scores or scores[name]['low'] is None
        else f'{scores[name]["low"]:{form}} to {scores[name]["high"]:{form}}'
        for name, (_, form, _) in columns.items()
      ]
      text.append(f'| {row} | {" | ".join(cells)} |\n')
  if len(summary['speakers']) > 1:
    for row in summary['rows']:
      text.append(f'\n{row}, by speaker\n\n' + header('', columns))
      for speaker, scores in summary['speakers'].items():
        text.append(line(f'{speaker} ({scores["clips"]})', columns, scores['rows'][row]))
  return ''.join(text) + '\n'


def header(first: str, columns: Mapping[str, Any]) -> str:
  """The first two lines of a Markdown table of columns as `clip_scores.columns` gives them."""
  headings = ' | '.join(heading for heading, _, _ in columns.values())
  return f'| {first} | {headings} |\n|{"---|" * (len(columns) + 1)}\n'


def line(name: str, columns: Mapping[str, Any], scores: Mapping[str, float | None]) -> str:
  """A line of a Markdown table; what there is not is a dash."""
  cells = [
    '—' if scores.get(column) is None else f'{scores[column]:{form}}' for column, (_, form, _) in columns.items()
  ]
  return f'| {name} | {" | ".join(cells)} |\n'


def table_csv(clips: Sequence[Clip]) -> str:
  """One line for each clip and row."""
  columns = clip_scores.columns([row for clip in clips for row in clip['rows'].values()])
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['clip_id', 'speaker', 'row', *columns])
  for clip in clips:
    for row, scores in clip['rows'].items():
      values = [scores.get(name, math.nan) for name in columns]
      writer.writerow([clip['clip_id'], clip['speaker'], row, *('' if math.isnan(v) else f'{v:.6g}' for v in values)])
  return text.getvalue()


def table_json(results: Any) -> str:
  """JSON without NaN: None stands for what there is not."""
  return json.dumps(without_nan(results), indent=2, allow_nan=False) + '\n'


def without_nan(value: Any) -> Any:
  """Dicts, lists and numbers with None for what is not finite."""
  if isinstance(value, Mapping):
    return {name: without_nan(item) for name, item in value.items()}
  if isinstance(value, list):
    return [without_nan(item) for item in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def write(path: str, text: str) -> None:
  """Writes a text file, whole or not at all."""
  with open(path + '.partial', 'w', encoding='utf-8') as file:
    file.write(text)
  os.replace(path + '.partial', path)
