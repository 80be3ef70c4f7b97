"""The scores of `robustness` as tables (Markdown, JSON, CSV), curves (PNG), and a page with both."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from atvg_jax.evaluate import clip_scores, robustness_page, score_tables, sound_changes
from atvg_jax.evaluate.robustness_points import TURNS
from data_pipelines.atomic_files import atomic_write

# Data set → its clips: {'clip_id', 'speaker', 'yaw', 'face_shape', 'mouth_width', 'rows': {point: {column: number}}}.
Tables = Mapping[str, Sequence[Mapping[str, Any]]]

_YAW_STEP = 5  # degrees, of a bin
# Columns of the Markdown tables; all are in the JSON and the CSV.
_SHOWN = (
  'psnr',
  'ssim',
  'psnr_lips',
  'ssim_lips',
  'cpbd',
  'lmd',
  'lmd_face',
  'opening_r',
  'opening_range',
  'closure',
  'lag',
  'velocity_error',
  'jitter',
  'identity_drift',
)
# Panels of the curves.
_PANELS = ('opening_r', 'lmd', 'ssim_lips', 'psnr', 'cpbd', 'jitter')
_ROWS = ('landmark noise 0', 'sound')  # by angle, speaker and data set: VG-net alone, and both nets
_AXES = {
  'landmark noise': 'standard deviation, half crops',
  'white noise': 'signal to noise, dB',
  'babble': 'signal to noise, dB',
  'music': 'signal to noise, dB',
  'room tone': 'of full scale, dB',
  'sampling rate': 'Hz',
  'mp3': 'kbit/s',
  'crop shift': 'pixels of 128',
  'turned head': 'degrees to one side',
  'turned head landmarks': 'degrees to one side',
}
_UNTOUCHED = {'crop shift': 'sound', 'turned head': 'sound', 'turned head landmarks': 'landmark noise 0'}
_NAMES = {'landmark noise 0': 'true landmarks', 'sound': 'sound'}


def write(out: str, head: Mapping[str, Any], tables: Tables, experiments: Mapping[str, Sequence[Any]]) -> str:
  """Writes everything into the folder `out`.

  Args:
    out: the folder.
    head: the settings of the run.
    tables: the scores.
    experiments: name → its points (see `robustness.Point`); those that the tables lack are left out.

  Returns:
    The Markdown.
  """
  points = {point for clips in tables.values() for point in clips[0]['rows']}
  missing = [name for name, levels in experiments.items() if levels[0].name not in points]
  experiments = {name: levels for name, levels in experiments.items() if name not in missing}
  summaries = {name: score_tables.summary(clips) for name, clips in tables.items()}
  groups = {name: {'yaw': by_yaw(clips), 'speaker': _by_speaker(clips)} for name, clips in tables.items()}
  text = _markdown(head, summaries, groups, experiments)
  if 'babble' in missing:
    text += '\nNo curve of babble: all clips are of one speaker, so that nobody else can talk. Give more --data.\n'
  score_tables.write(os.path.join(out, 'robustness.md'), text)
  results = {
    **head,
    'data_sets': {name: summaries[name] | groups[name] | {'per_clip': list(clips)} for name, clips in tables.items()},
  }
  score_tables.write(os.path.join(out, 'robustness.json'), score_tables.table_json(results))
  score_tables.write(
    os.path.join(out, 'robustness.csv'),
    score_tables.table_csv(
      [{**clip, 'clip_id': f'{name}/{clip["clip_id"]}'} for name, clips in tables.items() for clip in clips]
    ),
  )
  for name, levels in experiments.items():
    _draw(out, name, [(dataset, _curve(summary, levels), summary['rows']) for dataset, summary in summaries.items()])
  _draw_angles(out, groups)
  _draw_speakers(out, groups)
  pictures = [f'{name.replace(" ", "_")}.png' for name in (*experiments, 'view angle', 'speakers')]
  score_tables.write(os.path.join(out, 'robustness.html'), robustness_page.page(text, pictures))
  return text


def by_yaw(clips: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Means over the clips of every bin of view angles that has some.

  Returns:
    '-5 to 0' (the upper end is the next bin's) → {'low', 'clips', 'rows'}; clips whose angle is not known are left out.
  """
  bins: dict[int, list[Mapping[str, Any]]] = {}
  for clip in clips:
    if np.isfinite(clip['yaw'] if clip['yaw'] is not None else np.nan):
      bins.setdefault(int(np.floor(clip['yaw'] / _YAW_STEP)) * _YAW_STEP, []).append(clip)
  return {f'{low} to {low + _YAW_STEP}': {'low': low, **_means(bins[low])} for low in sorted(bins)}


def _by_speaker(clips: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Means of every speaker, from the widest to the narrowest face."""
  groups: dict[str, list[Mapping[str, Any]]] = {}
  for clip in clips:
    groups.setdefault(clip['speaker'], []).append(clip)
  found = {
    speaker: {
      **_means(theirs),
      **{fact: float(np.mean([clip[fact] for clip in theirs])) for fact in ('face_shape', 'mouth_width')},
    }
    for speaker, theirs in groups.items()
  }
  return dict(sorted(found.items(), key=lambda item: -item[1]['face_shape']))


def _means(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  return {
    'clips': len(clips),
    'rows': score_tables.summary(
      [{**clip, 'rows': {row: clip['rows'][row] for row in (*_ROWS, 'baseline', 'real')}} for clip in clips]
    )['rows'],
  }


def _curve(summary: Mapping[str, Any], levels: Sequence[Any]) -> dict[float, Mapping[str, Any]]:
  """Level → columns; beside an experiment's own levels the one where nothing is done, where that has a number."""
  curve = {point.level: summary['rows'][point.name] for point in levels}
  untouched = _UNTOUCHED.get(levels[0].experiment)
  return curve if untouched is None else {0: summary['rows'][untouched], **curve}


def _markdown(
  head: Mapping[str, Any],
  summaries: Mapping[str, Any],
  groups: Mapping[str, Any],
  experiments: Mapping[str, Sequence[Any]],
) -> str:
  columns = {name: clip_scores.COLUMNS[name] for name in _SHOWN}
  text = [
    f'# Robustness\n\nSplit {head["split"]}, weights {", ".join(head["weights"])}. Means over clips; all columns and '
    '95 % intervals are in robustness.json, every clip in robustness.csv.\n'
  ]

  def table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    means = {name: {column: score['mean'] for column, score in scores.items()} for name, scores in rows.items()}
    text.append(f'\n{title}\n\n' + score_tables.by_row(means, columns))

  def count(group: Mapping[str, Any]) -> str:
    return f'{group["clips"]} {"clip" if group["clips"] == 1 else "clips"}'

  for name, summary in summaries.items():
    rows = summary['rows']
    text.append(f'\n## {name}, {count(summary)}\n')
    if warning := score_tables.few_clips(summary):
      text.append(f'\n{warning}\n')
    table('Nothing done', {_NAMES.get(row, row): rows[row] for row in ('baseline', *_ROWS, 'real')})
    for experiment, levels in experiments.items():
      table(
        f'{experiment} ({_AXES[experiment]})',
        {f'{level:g}': scores for level, scores in _curve(summary, levels).items()},
      )
      missing = {point.name: _faceless(rows[point.name], summary['clips']) for point in levels}
      if any(missing.values()):
        text.append(
          '\nClips in which no face was found, so that they have no distances: '
          + ', '.join(f'{point} {number}' for point, number in missing.items() if number)
          + '.\n'
        )
    for row in _ROWS:
      table(
        f'view angle, {_NAMES[row]}',
        {f'{label}° ({count(group)})': group['rows'][row] for label, group in groups[name]['yaw'].items()},
      )
    for row in _ROWS:
      table(
        f'speaker (jaw width : height, mouth width in eye distances), {_NAMES[row]}',
        {
          f'{speaker} ({group["face_shape"]:.2f}, {group["mouth_width"]:.2f}; {count(group)})': group['rows'][row]
          for speaker, group in groups[name]['speaker'].items()
        },
      )
  return ''.join(text)


def _faceless(row: Mapping[str, Any], clips: int) -> int:
  return clips - row['lmd']['clips'] if 'lmd' in row else clips


def _figure(out: str, name: str, draw: Callable[[Any, str], None], width: float = 12) -> None:
  """A picture of one panel a score, drawn by draw(axes, column)."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg  # matplotlib takes a second to import
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, 7), layout='constrained')
  FigureCanvasAgg(figure)
  panels = figure.subplots(2, len(_PANELS) // 2)
  for axes, column in zip(panels.flat, _PANELS, strict=True):
    shown = clip_scores.COLUMNS[column]
    better = {1: ' (more is better)', -1: ' (less is better)', 0: ''}[shown.better]
    axes.set_title(shown.heading + better, fontsize=10)
    axes.grid(alpha=0.3)
    draw(axes, column)
  figure.legend(*panels.flat[0].get_legend_handles_labels(), loc='outside right upper', fontsize=8)
  figure.suptitle(name)
  with atomic_write(os.path.join(out, f'{name.replace(" ", "_")}.png'), 'wb') as file:
    figure.savefig(file, format='png', dpi=100)


def _values(rows: Sequence[Mapping[str, Any]], column: str, key: str) -> np.ndarray:
  """Numbers of a column, NaN where there are none."""
  values = [row.get(column, {}).get(key) for row in rows]
  return np.array([np.nan if value is None else value for value in values], np.float64)


def _draw(out: str, experiment: str, curves: Sequence[tuple[str, Mapping[float, Any], Mapping[str, Any]]]) -> None:
  def draw(axes: Any, column: str) -> None:
    for number, (name, curve, rows) in enumerate(curves):
      color, levels = f'C{number}', list(curve)
      axes.plot(levels, _values(list(curve.values()), column, 'mean'), 'o-', color=color, label=name)
      axes.fill_between(
        levels, *(_values(list(curve.values()), column, key) for key in ('low', 'high')), color=color, alpha=0.15, lw=0
      )
      # A picture from the front is no baseline of turned heads.
      references = [] if experiment in TURNS else [('baseline', ':')]
      references += [('sound', '--')] if experiment in sound_changes.EXPERIMENTS else []
      for row, style in references:
        (value,) = _values([rows[row]], column, 'mean')
        if np.isfinite(value):
          axes.axhline(value, color=color, ls=style, lw=1, label=f'{name}, {"no noise" if row == "sound" else row}')
    axes.set_xlabel(_AXES[experiment])
    if experiment in sound_changes.EXPERIMENTS and experiment != 'room tone':
      axes.invert_xaxis()

  # To the right it gets worse.
  _figure(out, experiment, draw)


def _draw_angles(out: str, groups: Mapping[str, Any]) -> None:
  def draw(axes: Any, column: str) -> None:
    for number, (name, group) in enumerate(groups.items()):
      bins = list(group['yaw'].values())
      for row, style in zip(_ROWS, ('s--', 'o-')):
        rows, middles = [entry['rows'][row] for entry in bins], [entry['low'] + _YAW_STEP / 2 for entry in bins]
        means = _values(rows, column, 'mean')
        spread = np.abs(np.stack([_values(rows, column, key) for key in ('low', 'high')]) - means)
        axes.errorbar(
          middles,
          means,
          np.nan_to_num(spread),
          fmt=style,
          color=f'C{number}',
          capsize=2,
          lw=1,
          label=f'{name}, {_NAMES[row]}',
        )
    axes.set_xlabel('view angle (yaw), degrees')

  _figure(out, 'view angle', draw)


def _draw_speakers(out: str, groups: Mapping[str, Any]) -> None:
  speakers = [
    (f'{name} {speaker}\n{entry["face_shape"]:.2f}', entry)
    for name, group in groups.items()
    for speaker, entry in group['speaker'].items()
  ]

  def draw(axes: Any, column: str) -> None:
    for row, style in zip(_ROWS, 'so'):
      rows = [entry['rows'][row] for _, entry in speakers]
      means = _values(rows, column, 'mean')
      spread = np.abs(np.stack([_values(rows, column, key) for key in ('low', 'high')]) - means)
      axes.errorbar(range(len(speakers)), means, np.nan_to_num(spread), fmt=style, capsize=3, label=_NAMES[row])
    axes.set_xticks(
      range(len(speakers)), [label for label, _ in speakers], fontsize=8, rotation=90 if len(speakers) > 8 else 0
    )

  _figure(out, 'speakers', draw, width=max(12, len(speakers)))
