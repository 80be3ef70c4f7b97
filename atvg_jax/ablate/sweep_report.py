"""The results of an ablation's rows as table (Markdown, JSON, CSV), curves and contact sheet."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atvg_jax.ablate.row_scores import STRIP_FILE
from atvg_jax.evaluate import clip_scores, score_tables
from atvg_jax.train import metric_writers
from data_pipelines import features
from data_pipelines.atomic_files import atomic_write

TABLE, CURVES_FILE, SHEET_FILE = 'table', 'curves.png', 'contact_sheet.png'
_HEADINGS = {'vg': 'landmarks → video, true landmarks', 'at': 'sound → landmarks'}
# Columns of the Markdown; JSON and CSV have all that were scored.
SHOWN = {
  'vg': (*clip_scores.LIKENESS, 'lmd', 'opening_r', 'opening_range', 'closure', 'cpbd', 'jitter'),
  'at': ('lmd', 'opening_r', 'opening_range', 'lag', 'velocity_error', 'jitter'),
}
# Columns of the differences.
_COMPARED = {
  'vg': ('psnr_mouth', 'ssim_mouth', 'ssim_lips', 'lmd', 'opening_r', 'opening_range', 'closure'),
  'at': ('lmd', 'opening_r', 'opening_range', 'velocity_error'),
}
# Held-out numbers of the training that are drawn over its steps: task → (name, heading).
_CURVES = {
  'vg': (('ssim_mouth', 'SSIM mouth'), ('psnr_mouth', 'PSNR mouth [dB]'), ('psnr', 'PSNR [dB]')),
  'at': (('lmd', 'LMD [pixels]'), ('opening_correlation', 'opening r'), ('opening_range_ratio', 'range')),
}
_LABEL = 230  # width of the contact sheet's titles in pixels

# What `row_scores.save` wrote, with 'row', 'title', 'task', 'seed' (None for a reference), 'steps',
# 'seconds_a_step' and 'folder'.
Result = Mapping[str, Any]


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
  """A row's numbers over its seeds, in the order in which rows come first.

  Returns:
    Dicts of 'row', 'title', 'task', 'seeds', 'steps' (of each seed), 'seconds_a_step' (mean), and 'data':
    {data set: {column: {'mean', 'std', 'seeds'}}}; 'std' is the standard deviation over seeds (n - 1), None for one.
  """
  rows = []
  for name in dict.fromkeys(result['row'] for result in results):
    theirs = [result for result in results if result['row'] == name]
    data: dict[str, Any] = {}
    for result in theirs:
      for data_set, columns in result['scores'].items():
        for column, value in columns.items():
          data.setdefault(data_set, {}).setdefault(column, []).append(value)
    seconds = [result['seconds_a_step'] for result in theirs if result.get('seconds_a_step')]
    rows.append(
      {
        **{key: theirs[0][key] for key in ('row', 'title', 'task')},
        'seeds': [result['seed'] for result in theirs if result['seed'] is not None],
        'steps': [result['steps'] for result in theirs if result['seed'] is not None],
        'seconds_a_step': float(np.mean(seconds)) if seconds else None,
        'data': {
          data_set: {column: _over_seeds(values) for column, values in columns.items()}
          for data_set, columns in data.items()
        },
      }
    )
  return rows


def _over_seeds(values: Sequence[float]) -> dict[str, Any]:
  return {
    'mean': float(np.mean(values)),
    'std': float(np.std(values, ddof=1)) if len(values) > 1 else None,
    'seeds': len(values),
  }


def differences(results: Sequence[Result], against: Mapping[str, str]) -> list[dict[str, Any]]:
  """Each row's differences from another: of the same clips, and by the seeds that both were trained with.

  Args:
    results: of the rows; those of which no clips' scores were kept are left out.
    against: row → the row that it is compared with.

  Returns:
    Dicts of 'row', 'against', their titles 'title' and 'against_title', 'task', 'seeds' and 'data':
    {data set: {column: as `score_tables.with_interval`}}, over the clips in which both have the number by every seed.
  """
  known = {(result['row'], result['seed']): result for result in results if result.get('by_clip')}
  titles = {result['row']: result['title'] for result in results}
  found = []
  for row in titles:
    other = against.get(row)
    seeds = [seed for name, seed in known if name == row and (other, seed) in known]
    if other is None or not seeds:
      continue
    pairs = [(known[row, seed]['by_clip'], known[other, seed]['by_clip']) for seed in seeds]
    data = {
      data_set: _paired([(ours[data_set], theirs.get(data_set, {})) for ours, theirs in pairs if data_set in ours])
      for data_set in pairs[0][0]
    }
    first = known[row, seeds[0]]
    found.append(
      {
        'row': row,
        'against': other,
        'title': first['title'],
        'against_title': titles[other],
        'task': first['task'],
        'seeds': seeds,
        'data': data,
      }
    )
  return found


def _paired(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
  """Column → the mean difference of two rows' scores of clips, one pair of them a seed."""
  clips = sorted(set.intersection(*(set(scores) for pair in pairs for scores in pair)))
  columns = clip_scores.columns([scores for pair in pairs for scores in pair[0].values()])
  found = {}
  for column in columns:
    ours, theirs = (
      np.array([[pair[side][clip].get(column) for clip in clips] for pair in pairs], np.float64) for side in (0, 1)
    )
    values = ours - theirs
    found[column] = score_tables.with_interval(values[:, np.isfinite(values).all(axis=0)])
  return found


def markdown(results: Sequence[Result], against: Mapping[str, str] | None = None) -> str:
  """A table for each task and data set, and one of the differences between neighbouring rows."""
  rows, parts = summary(results), []
  for task, heading in _HEADINGS.items():
    ours = [row for row in rows if row['task'] == task]
    for data_set in dict.fromkeys(name for row in ours for name in row['data']):
      columns = [name for name in SHOWN[task] if any(name in row['data'].get(data_set, {}) for row in ours)]
      clips = next(
        result['clips'][data_set] for result in results if result['task'] == task and data_set in result['clips']
      )
      titles = ' | '.join(clip_scores.COLUMNS[name].heading for name in columns)
      parts += [
        f'**{data_set}, {heading}**, held-out clips: {clips}\n\n',
        f'| | seeds | steps | s a step | {titles} |\n|{"---|" * (len(columns) + 4)}\n',
      ]
      for row in ours:
        cells = [_cell(row['data'].get(data_set, {}).get(name), clip_scores.COLUMNS[name].form) for name in columns]
        steps = '–'.join(map(str, sorted({min(row['steps']), max(row['steps'])}))) if row['steps'] else '—'
        pace = '—' if row['seconds_a_step'] is None else f'{row["seconds_a_step"]:.2f}'
        parts.append(f'| {row["title"]} | {len(row["seeds"]) or "—"} | {steps} | {pace} | {" | ".join(cells)} |\n')
      parts.append('\n')
  if not parts:
    return 'no row is finished yet\n'
  return ''.join(parts) + 'Means ± standard deviations over seeds.\n' + _differences_text(results, against or {})


def _differences_text(results: Sequence[Result], against: Mapping[str, str]) -> str:
  found = differences(results, against)
  parts = []
  for task, data_set in dict.fromkeys((each['task'], name) for each in found for name in each['data']):
    ours = [each for each in found if each['task'] == task and data_set in each['data']]
    columns = {
      name: clip_scores.COLUMNS[name]
      for name in _COMPARED[task]
      if any(name in each['data'][data_set] for each in ours)
    }
    headings = ' | '.join(score_tables.heading(column) for column in columns.values())
    parts += [
      f'\n**{data_set}, {_HEADINGS[task]}: differences between rows**\n\n',
      f'| | seeds | {headings} |\n|{"---|" * (len(columns) + 2)}\n',
    ]
    for each in ours:
      scores = each['data'][data_set]
      cells = [
        score_tables.difference_text(scores[name], column.form).strip() if name in scores else '—'
        for name, column in columns.items()
      ]
      title = f'{each["title"]} − {each["against_title"].removeprefix("+ ")}'
      parts.append(f'| {title} | {len(each["seeds"])} | {" | ".join(cells)} |\n')
  if parts:
    parts.append('\nOf the same clips, with 95 % intervals over clips and seeds; *: the interval leaves out 0.\n')
  return ''.join(parts)


def _cell(value: Mapping[str, Any] | None, form: str) -> str:
  if value is None:
    return '—'
  spread = '' if value['std'] is None else f' ± {value["std"]:{form.removeprefix("+")}}'
  return f'{value["mean"]:{form}}{spread}'


def table_csv(results: Sequence[Result]) -> str:
  """A line for each row, seed and data set."""
  columns = list(clip_scores.columns([scores for result in results for scores in result['scores'].values()]))
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['row', 'title', 'task', 'seed', 'steps', 'seconds_a_step', 'data', 'clips', *columns])
  for result in results:
    for data_set, scores in result['scores'].items():
      head = [result.get(name) for name in ('row', 'title', 'task', 'seed', 'steps', 'seconds_a_step')]
      writer.writerow(
        [
          '' if value is None else value
          for value in (*head, data_set, result['clips'][data_set], *(scores.get(column) for column in columns))
        ]
      )
  return text.getvalue()


def write(workdir: str, results: Sequence[Result], against: Mapping[str, str]) -> str:
  """Writes table.md, .json and .csv, curves.png and contact_sheet.png; returns the Markdown.

  `against` is row → the row that it is compared with, clip by clip.
  Each file appears whole or not at all, also where several hosts write the same.
  """
  text = markdown(results, against)
  whole = {'rows': summary(results), 'differences': differences(results, against)}
  _put(workdir, f'{TABLE}.md', text.encode())
  _put(workdir, f'{TABLE}.json', score_tables.table_json(whole).encode())
  _put(workdir, f'{TABLE}.csv', table_csv(results).encode())
  if any(result['seed'] is not None for result in results):
    _put(workdir, CURVES_FILE, curves(results))
    _put(workdir, SHEET_FILE, contact_sheet(results))
  return text


def _put(workdir: str, name: str, content: bytes) -> None:
  with atomic_write(os.path.join(workdir, name), 'wb') as file:
    file.write(content)


def curves(results: Sequence[Result]) -> bytes:
  """A PNG of the held-out scores over the steps: a line a row, its mean over seeds, in a band from worst to best."""
  from matplotlib import colormaps
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  trained = [result for result in results if result['seed'] is not None]
  data_sets = {
    task: dict.fromkeys(name for result in trained if result['task'] == task for name in result['scores'])
    for task in _CURVES
  }
  panels = [(task, data_set, *curve) for task in _CURVES for curve in _CURVES[task] for data_set in data_sets[task]]
  width = max((len({panel[1] for panel in panels}), 1))
  figure = Figure(figsize=(7 * width, 3.4 * -(-len(panels) // width)), dpi=100, layout='constrained')
  canvas = FigureCanvasAgg(figure)
  for number, (task, data_set, name, heading) in enumerate(panels):
    axes = figure.add_subplot(-(-len(panels) // width), width, number + 1)
    rows = list(dict.fromkeys(result['row'] for result in trained if result['task'] == task))
    for place, row in enumerate(rows):
      theirs = [result for result in trained if result['row'] == row]
      lines = [curve(result['folder'], f'eval_{data_set}/{name}') for result in theirs]
      steps = sorted(set.intersection(*(set(line) for line in lines)))
      if steps:
        values = np.array([[line[step] for step in steps] for line in lines])
        colour = colormaps['tab10' if len(rows) <= 10 else 'tab20'](place)
        axes.plot(steps, values.mean(axis=0), color=colour, marker='.', linewidth=1.2, label=theirs[0]['title'])
        if len(values) > 1:
          axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    reference = curve(
      next(result['folder'] for result in trained if result['task'] == task), f'eval_{data_set}/{name}_still'
    )
    if reference:
      axes.axhline(
        next(iter(reference.values())),
        color='black',
        linestyle='--',
        linewidth=1,
        label='mouth at rest' if task == 'at' else 'the example frame',
      )
    axes.set_title(f'{data_set}: {heading}', fontsize=10)
    axes.set_xlabel('step', fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if number % width == width - 1:
      axes.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
  made = io.BytesIO()
  canvas.print_png(made)
  return made.getvalue()


def curve(folder: str, name: str) -> dict[int, float]:
  """Step → a number of a run's metrics file."""
  return {int(row['step']): row[name] for row in metric_writers.rows(folder) if name in row}


def contact_sheet(results: Sequence[Result]) -> bytes:
  """A PNG with a line a row, of its first seed: the same moments of the same clips, below each other."""
  firsts = list({result['row']: result for result in reversed(results)}.values())[::-1]
  order = {'real': -2, 'example_frame': -1, 'rest': -1}
  firsts.sort(key=lambda result: (list(_HEADINGS).index(result['task']), order.get(result['row'], 0)))
  strips = [
    (result['title'], np.asarray(Image.open(os.path.join(result['folder'], STRIP_FILE)).convert('RGB')))
    for result in firsts
  ]
  size = features.IMAGE_SIZE
  sheet = Image.new('RGB', (_LABEL + max(strip.shape[1] for _, strip in strips), size * len(strips)), 'white')
  draw = ImageDraw.Draw(sheet)
  font = ImageFont.load_default(size=14)
  for line, (title, strip) in enumerate(strips):
    draw.text((8, size * line + size // 2), title.replace('→', 'to'), fill='black', font=font, anchor='lm')
    sheet.paste(Image.fromarray(strip), (_LABEL, size * line))
  made = io.BytesIO()
  sheet.save(made, format='PNG')
  return made.getvalue()
