"""The results of an ablation's rows as table (Markdown, JSON, CSV), curves and contact sheet."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atvg_jax.ablate.row_scores import STRIP_FILE
from atvg_jax.evaluate import clip_scores
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


def markdown(results: Sequence[Result]) -> str:
  """A table for each task and data set."""
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
  return ''.join(parts) + 'Means ± standard deviations over seeds.\n'


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


def write(workdir: str, results: Sequence[Result]) -> str:
  """Writes table.md, .json and .csv, curves.png and contact_sheet.png; returns the Markdown.

  Each file appears whole or not at all, also where several hosts write the same.
  """
  text = markdown(results)
  _put(workdir, f'{TABLE}.md', text.encode())
  _put(workdir, f'{TABLE}.json', (json.dumps({'rows': summary(results)}, indent=2) + '\n').encode())
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
