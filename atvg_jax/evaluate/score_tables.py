"""Scores of many clips → means with intervals, by speaker, as Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from atvg_jax.evaluate import clip_scores
from data_pipelines.atomic_files import atomic_write

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)  # percentiles
MIN_CLIPS = 4  # resamplings of fewer say next to nothing
_MANY_CLIPS = 10  # the percentiles of fewer lie too close to the mean
_WIDTH = 100  # characters of a line in a terminal: wider tables are split
# Scores in the tables by speaker and by mouth; the JSON has all.
_OF_GROUPS = (
  'psnr',
  'ssim_mouth',
  'ssim_lips',
  'lmd',
  'opening_r',
  'opening_range',
  'closure',
  'lag',
  'jitter',
)
_ARROWS = {1: ' ↑', -1: ' ↓', 0: ''}

# What the rows of `evaluate` are, for legends.
ROWS: Mapping[str, str] = {
  'baseline': 'the example frame, repeated: what every other row must beat',
  'true landmarks': "VG-net, driven by the clip's own landmarks",
  'sound': 'both nets, from the example frame and the sound',
  'generated': 'the videos that were given',
  'real': 'the clip itself, its landmarks found again as in the other rows',
}

# A clip's scores: {'clip_id', 'speaker', 'mouth', 'rows': {row: {column: number}}}; 'mouth' may be missing.
Clip = Mapping[str, Any]


def summary(clips: Sequence[Clip], compared: Sequence[str] = ()) -> dict[str, Any]:
  """Means over clips, with bootstrap intervals.

  Args:
    clips: with the same rows each.
    compared: rows whose differences from the first of them are taken, clip by clip.

  Returns:
    'clips', their number.
    'rows': {row: {column: {'mean', 'low', 'high', 'clips'}}}, where low and high bound the mean with 95 % confidence
    (percentiles of 1,000 resamplings of the clips; None for fewer than MIN_CLIPS), and 'clips' counts those that have
    the number. 'speakers': {speaker: {'clips', 'rows': {row: {column: mean}}}}, and likewise 'mouths' by what the
    example's mouth shows, in the order of `clip_scores.MOUTHS`. 'differences': as 'rows', of all but the first of
    `compared`, over the clips in which both rows have the number; 'from': that first row, None without two of them.

    Means of nothing are None.
  """
  speakers = sorted({clip['speaker'] for clip in clips})
  shown = {clip.get('mouth') for clip in clips}
  return {
    'clips': len(clips),
    'speakers': {name: _group(clips, 'speaker', name) for name in speakers},
    'mouths': {name: _group(clips, 'mouth', name) for name in clip_scores.MOUTHS if name in shown},
    'rows': {
      row: {column: with_interval(values) for column, values in columns.items()}
      for row, columns in _table(clips).items()
    },
    'from': compared[0] if len(compared) > 1 else None,
    'differences': {row: _differences(clips, compared[0], row) for row in compared[1:]},
  }


def _differences(clips: Sequence[Clip], first: str, row: str) -> dict[str, dict[str, Any]]:
  """Paired differences of a row's scores from another row's."""
  pairs = [(clip['rows'][first], clip['rows'][row]) for clip in clips]
  differences = {}
  for column in clip_scores.columns([scores for pair in pairs for scores in pair]):
    values = np.array([ours.get(column, np.nan) - theirs.get(column, np.nan) for theirs, ours in pairs], np.float64)
    differences[column] = with_interval(values[np.isfinite(values)])
  return differences


def _group(clips: Sequence[Clip], key: str, value: str) -> dict[str, Any]:
  """Number and means of the clips of one speaker, or whose example shows one kind of mouth."""
  theirs = [clip for clip in clips if clip.get(key) == value]
  means = {row: {column: _mean(values) for column, values in scores.items()} for row, scores in _table(theirs).items()}
  return {'clips': len(theirs), 'rows': means}


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


def with_interval(values: np.ndarray) -> dict[str, Any]:
  """The mean of numbers of clips [n], or of trainings and clips [S, n], with its interval as `summary` gives them.

  Of several trainings, they and the clips are resampled, each by themselves.
  """
  low = high = None
  clips = values.shape[-1]
  if clips >= MIN_CLIPS:
    # The same clips are drawn for every column and row of a table.
    random = np.random.default_rng(0)
    draws = random.integers(clips, size=(_RESAMPLES, clips))
    if values.ndim == 1:
      means = values[draws].mean(axis=1)
    else:
      seeds = random.integers(len(values), size=(_RESAMPLES, len(values)))
      means = values[seeds[:, :, None], draws[:, None]].mean(axis=(1, 2))
    low, high = map(float, np.percentile(means, _INTERVAL))
  return {'mean': _mean(values), 'low': low, 'high': high, 'clips': clips}


def markdown(title: str, summary: Mapping[str, Any]) -> str:
  """The tables of what `summary` returns, with a legend; lines are short enough for a terminal.

  A line a score: means, then intervals. Then, where there are several speakers, some of the scores by speaker.
  """
  rows, columns = summary['rows'], clip_scores.columns(list(summary['rows'].values()))
  text = [f'**{title}**, clips: {summary["clips"]}\n\n', _by_score(rows, columns, _mean_cell)]
  if has_intervals(summary):
    text += ['\n95 % intervals of the means\n\n', _by_score(rows, columns, _interval_cell)]
  if warning := few_clips(summary):
    text.append(f'\n{warning}\n')
  if summary['from'] is not None:
    text += [f'\n{differences_title(summary)}\n\n', _by_score(summary['differences'], columns, difference_text)]
  some = {name: column for name, column in columns.items() if name in _OF_GROUPS}
  for title, groups in (('speaker', summary['speakers']), ("the example's mouth", summary['mouths'])):
    for row in rows if len(groups) > 1 else ():
      means = {f'{name} ({group["clips"]})': group['rows'][row] for name, group in groups.items()}
      text += [f'\n{row}, by {title}\n\n', by_row(means, some)]
  legend = [f'* {name}: {ROWS[name]}\n' for name in rows if name in ROWS]
  legend += [f'* {column.heading}: {column.meaning}\n' for column in columns.values() if column.meaning]
  return ''.join([*text, '\n↑ more is better, ↓ less is better.\n\n', *legend])


def differences_title(summary: Mapping[str, Any]) -> str:
  """What the table of differences is."""
  title = f'Differences from {summary["from"]}, clip by clip'
  return f'{title}, with 95 % intervals; *: the interval leaves out 0' if has_intervals(summary) else title


def difference_text(score: Mapping[str, float | None], form: str) -> str:
  """A difference with its interval, and a star where that does not reach 0."""
  mean, low, high = score['mean'], score['low'], score['high']
  signed = f'+{form.removeprefix("+")}'
  if mean is None or low is None or high is None:
    return _number(mean, signed)
  return f'{mean:{signed}} ({low:{signed}} to {high:{signed}}){"*" if low > 0 or high < 0 else " "}'


def has_intervals(summary: Mapping[str, Any]) -> bool:
  """Whether any mean of a `summary` has an interval."""
  return any(score['low'] is not None for scores in summary['rows'].values() for score in scores.values())


def few_clips(summary: Mapping[str, Any]) -> str:
  """The sentence that stands where there are no intervals, or where they are of few clips; '' for many."""
  if not has_intervals(summary):
    return f'n = {summary["clips"]}: no intervals, which need {MIN_CLIPS} clips or more.'
  if summary['clips'] < _MANY_CLIPS:
    return f'n = {summary["clips"]}: intervals of so few clips are too narrow.'
  return ''


def by_row(rows: Mapping[str, Mapping[str, float | None]], columns: Mapping[str, clip_scores.Column]) -> str:
  """A Markdown table with a line a row and a column a score; what there is not is a dash."""
  lines = [
    [name, *(_number(scores.get(column), form) for column, (_, form, *_) in columns.items())]
    for name, scores in rows.items()
  ]
  return _table_text(['', *(column.heading for column in columns.values())], lines)


def _by_score(
  rows: Mapping[str, Mapping[str, Mapping[str, float | None]]],
  columns: Mapping[str, clip_scores.Column],
  cell: Callable[[Mapping[str, float | None], str], str],
) -> str:
  """A Markdown table with a line a score and a column a row: there are more scores than a terminal is wide."""
  nothing = {'mean': None, 'low': None, 'high': None}
  lines = [
    [heading(column), *(cell(scores.get(name, nothing), column.form) for scores in rows.values())]
    for name, column in columns.items()
  ]
  return _table_text(['', *rows], lines)


def heading(column: clip_scores.Column) -> str:
  """A column's name with an arrow in the direction that is better."""
  return column.heading + _ARROWS[column.better]


def _mean_cell(score: Mapping[str, float | None], form: str) -> str:
  return _number(score['mean'], form)


def _interval_cell(score: Mapping[str, float | None], form: str) -> str:
  return '—' if score['low'] is None else f'{score["low"]:{form}} to {score["high"]:{form}}'


def _number(value: float | None, form: str) -> str:
  return '—' if value is None else f'{value:{form}}'


def _table_text(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """A Markdown table with aligned columns, in parts with the same first column if it is too wide for a terminal."""
  widths = [max(map(len, cells)) for cells in zip(head, *lines, strict=True)]
  parts, used = [[0]], widths[0] + 4
  for number, width in enumerate(widths[1:], 1):
    if used + width + 3 > _WIDTH and len(parts[-1]) > 1:
      parts.append([0])
      used = widths[0] + 4
    parts[-1].append(number)
    used += width + 3
  text = []
  for part in parts:
    rule = ['-' * widths[0], *('-' * (widths[number] - 1) + ':' for number in part[1:])]
    for line in ([head[number] for number in part], rule, *([cells[number] for number in part] for cells in lines)):
      padded = [line[0].ljust(widths[0]), *(cell.rjust(widths[number]) for number, cell in zip(part[1:], line[1:]))]
      text.append(f'| {" | ".join(padded)} |\n')
    text.append('\n')
  return ''.join(text[:-1])


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
  with atomic_write(path) as file:
    file.write(text)
