"""What a conversion made, for people: report.json, rejected.csv, report.html and contact_sheet.jpg."""

import base64
import collections
import csv
import html
import io
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines import features
from data_pipelines.clip_source import SPLITS, ClipSource
from data_pipelines.conversion import convert_clip, record_facts, report_charts, sound_sync
from data_pipelines.conversion.convert_clip import Record, Rejection, StagingTask
from data_pipelines.faces import face_alignment

_PERCENTILES = (0, 5, 50, 95, 100)
# Numbers of a clip whose distribution is shown, with their unit.
_MEASURES = {
  'frames': 'frames of 1/25 s',
  'eye_distance': 'source pixels',
  'yaw': 'degrees, median of the clip',
  'frames_without_face': 'frames',
  'frames_trimmed': 'frames, at the ends',
  'mouth_motion': 'eye distances a frame',
  'mouth_opening_range': 'eye distances',
  'chin_lowest': 'crop pixels of 128',
  'sound_level': 'dB of full scale',
  'sound_peak': 'of full scale',
}
# Values of a clip that are counted.
_CATEGORIES = ('source_fps', 'source_size', 'faces_seen', 'sound_advance')

_SHEET_ROWS = 12
_SHEET_COLUMNS = 8
_SHEET_MARGIN = 22  # pixels above a row, for its name


def write(
  folder: pathlib.Path,
  head: dict[str, Any],
  clips: Sequence[ClipSource],
  tasks: Sequence[StagingTask],
  results: Sequence[Record | Rejection],
) -> dict[str, Any]:
  """Writes all four files into `folder`.

  Args:
    folder: of the data set, not yet under its final name.
    head: what identifies the conversion.
    clips: all that were listed.
    tasks: their staged files.
    results: what became of them; they need no pictures.

  Returns:
    The content of report.json.
  """
  rejected = [(clip, result) for clip, result in zip(clips, results) if isinstance(result, Rejection)]
  report = {**head, **summarise(clips, results)}
  with (folder / 'rejected.csv').open('w', newline='', encoding='utf-8', errors='backslashreplace') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(['clip_id', 'speaker', 'split', 'path', 'reason', 'detail'])
    for clip, rejection in rejected:
      writer.writerow([clip.clip_id, clip.speaker, clip.split, clip.path, *rejection])
  sheet = contact_sheet(clips, tasks, results)
  sheet.save(folder / 'contact_sheet.jpg', quality=88)
  (folder / 'report.html').write_text(_page(report, rejected, sheet), encoding='utf-8', errors='backslashreplace')
  (folder / 'report.json').write_text(json.dumps(report, indent=2, sort_keys=True) + '\n')
  return report


def summarise(clips: Sequence[ClipSource], results: Sequence[Record | Rejection]) -> dict[str, Any]:
  """Counts, reasons and distributions. No time and no machine: equal conversions give equal reports."""
  kept = [(clip, result.facts) for clip, result in zip(clips, results) if isinstance(result, Record)]
  reasons = collections.Counter(result.reason for result in results if isinstance(result, Rejection))
  splits = {}
  for split in SPLITS:
    facts = [fact for clip, fact in kept if clip.split == split]
    splits[split] = {
      'clips': len(facts),
      'rejected': sum(clip.split == split and isinstance(result, Rejection) for clip, result in zip(clips, results)),
      'frames': sum(fact['frames'] for fact in facts),
      'minutes': round(sum(fact['frames'] for fact in facts) / features.FPS / 60, 2),
      'speakers': sorted({clip.speaker for clip, _ in kept if clip.split == split}),
    }
  return {
    'clips': len(clips),
    'kept': len(kept),
    'rejected': len(clips) - len(kept),
    'kept_share': round(len(kept) / len(clips), 4),
    'reasons': dict(sorted(reasons.items())),
    'rejected_clips': [
      {'clip_id': clip.clip_id, 'speaker': clip.speaker, 'split': clip.split, **result._asdict()}
      for clip, result in zip(clips, results)
      if isinstance(result, Rejection)
    ],
    'splits': splits,
    'clips_of_speaker': dict(sorted(collections.Counter(clip.speaker for clip, _ in kept).items())),
    'speakers': _speakers(clips, results),
    'sync': _sync(kept),
    'histograms': {name: report_charts.histogram([fact[name] for _, fact in kept]) for name in _MEASURES},
    'percentiles': {
      name: {str(p): round(float(np.percentile([fact[name] for _, fact in kept], p)), 3) for p in _PERCENTILES}
      for name in _MEASURES
    },
    'counts': {
      name: {str(value): count for value, count in sorted(collections.Counter(fact[name] for _, fact in kept).items())}
      for name in _CATEGORIES
    },
  }


def _speakers(clips: Sequence[ClipSource], results: Sequence[Record | Rejection]) -> dict[str, dict[str, Any]]:
  """Clips, rejected clips and minutes of every speaker in every split that has the speaker."""
  found: dict[str, dict[str, Any]] = {}
  for clip, result in zip(clips, results):
    row = found.setdefault(clip.speaker, {}).setdefault(clip.split, {'clips': 0, 'rejected': 0, 'frames': 0})
    if isinstance(result, Rejection):
      row['rejected'] += 1
    else:
      row['clips'] += 1
      row['frames'] += result.facts['frames']
  return dict(sorted(found.items()))


def _sync(kept: Sequence[tuple[ClipSource, dict[str, Any]]]) -> dict[str, Any]:
  """How late the sound of the records is, of all clips and of each speaker."""
  pools: dict[str, sound_sync.Pool] = {}
  for clip, fact in kept:
    for name in ('', clip.speaker):  # no speaker is called nothing
      pools.setdefault(name, sound_sync.Pool()).add(np.asarray(fact[record_facts.SYNC]))
  rows = {}
  for name, pool in pools.items():
    estimate = pool.estimate()
    curve = [round(float(value), 4) for value in pool.curve()]
    rows[name] = {**estimate._asdict(), 'verdict': estimate.verdict, 'curve': curve}
  return {
    'lags_ms': (sound_sync.LAGS * round(1000 * sound_sync.STEP)).tolist(),
    'sound_advance_ms': sorted({round(1000 * clip.sound_advance, 1) for clip, _ in kept}),
    'all': rows.pop('', None),
    'speakers': dict(sorted(rows.items())),
  }


def contact_sheet(
  clips: Sequence[ClipSource], tasks: Sequence[StagingTask], results: Sequence[Record | Rejection]
) -> Image.Image:
  """Rows are clips (spread over speakers), columns moments; the right half shows its landmarks."""
  chosen = _spread([i for i, result in enumerate(results) if isinstance(result, Record)], clips)
  size, height = features.IMAGE_SIZE, features.IMAGE_SIZE + _SHEET_MARGIN
  sheet = Image.new('RGB', (_SHEET_COLUMNS * size, len(chosen) * height), 'white')
  draw = ImageDraw.Draw(sheet)
  for row, i in enumerate(chosen):
    record = convert_clip.load(tasks[i].path)
    assert isinstance(record, Record)
    landmarks = record.fields[features.LANDMARKS]
    draw.text((4, row * height + 5), f'{clips[i].clip_id}  {clips[i].split}  {len(landmarks)} frames', fill='black')
    for column, t in enumerate(np.linspace(0, len(landmarks) - 1, _SHEET_COLUMNS).round().astype(int)):
      picture = Image.open(io.BytesIO(record.fields[features.VIDEO][t])).convert('RGB')
      if column >= _SHEET_COLUMNS // 2:
        _draw_landmarks(picture, landmarks[t])
      sheet.paste(picture, (column * size, row * height + _SHEET_MARGIN))
  return sheet


def _spread(kept: list[int], clips: Sequence[ClipSource]) -> list[int]:
  """Up to `_SHEET_ROWS` clips: of different speakers as far as there are, in order."""
  of_speaker = collections.defaultdict(list)
  for i in kept:
    of_speaker[clips[i].speaker].append(i)
  # One clip of each speaker before the second of any; each from another place of the speaker's list.
  turns = [
    (turn, speaker, i)
    for speaker, members in of_speaker.items()
    for turn, i in enumerate(members[(k * 7919 + 3) % len(members)] for k in range(len(members)))
  ]
  unique = list(dict.fromkeys(i for _, _, i in sorted(turns)))
  if len(of_speaker) > _SHEET_ROWS:
    unique = [unique[round(k)] for k in np.linspace(0, len(of_speaker) - 1, _SHEET_ROWS)]
  return sorted(unique[:_SHEET_ROWS])


def _draw_landmarks(picture: Image.Image, landmarks: np.ndarray) -> None:
  draw = ImageDraw.Draw(picture)
  for i, (x, y) in enumerate(face_alignment.denormalise(landmarks)):
    color = (255, 220, 0) if i >= features.MOUTH.start else (0, 230, 120)
    draw.rectangle((x - 1, y - 1, x, y), fill=color)


_STYLE = (
  'body{font:15px sans-serif;margin:2em;max-width:1100px}table{border-collapse:collapse;margin:.5em 0}'
  'td,th{border:1px solid #bbb;padding:.2em .7em;text-align:left}img{max-width:100%}'
  '.chart{font-size:11px;margin:.3em}'
)


def _page(report: dict[str, Any], rejected: list[tuple[ClipSource, Rejection]], sheet: Image.Image) -> str:
  """One page that needs no other file. First what one should look at: the sample, then what is left out."""
  name = html.escape(report['dataset'])
  parts = [
    f'<h1>{name}: {report["kept"]} of {report["clips"]} clips converted ({report["kept_share"]:.1%})</h1>',
    *_sample_parts(sheet),
    '<h2>Splits</h2>',
    _table(
      ['split', 'clips', 'left out', 'frames', 'minutes', 'speakers'],
      [
        [split, row['clips'], row['rejected'], row['frames'], row['minutes'], ', '.join(row['speakers'])]
        for split, row in report['splits'].items()
      ],
    ),
    '<h2>Left out</h2>',
    *_rejection_parts(report['reasons'], rejected),
    '<h2>Synchrony of sound and lips</h2>',
    *_sync_parts(report['sync']),
    '<h2>Distributions over clips</h2>',
    *_distribution_parts(report),
    '<h2>Speakers</h2>',
    _table(
      ['speaker', 'split', 'clips', 'left out', 'minutes'],
      [
        [speaker or '(unknown)', split, row['clips'], row['rejected'], round(row['frames'] / features.FPS / 60, 2)]
        for speaker, rows in report['speakers'].items()
        for split, row in rows.items()
      ],
    ),
  ]
  body = '\n'.join(parts)
  return (
    f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
    f'<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n'
  )


def _sample_parts(sheet: Image.Image) -> list[str]:
  buffer = io.BytesIO()
  sheet.save(buffer, 'JPEG', quality=85)
  picture = base64.b64encode(buffer.getvalue()).decode()
  return [
    '<h2>Sample</h2>',
    '<p>Each row is a clip, from its first frame to its last. In the right half the landmarks are drawn: those of the '
    'mouth should lie on the lips, the others on the face.</p>',
    f'<img alt="contact sheet: rows are clips, columns moments" src="data:image/jpeg;base64,{picture}">',
  ]


def _rejection_parts(reasons: dict[str, int], rejected: list[tuple[ClipSource, Rejection]]) -> list[str]:
  if not rejected:
    return ['<p>No clip.</p>']
  rows = [[clip.clip_id, clip.speaker, *rejection] for clip, rejection in rejected]
  return [_table(['reason', 'clips'], reasons.items()), _table(['clip', 'speaker', 'reason', 'detail'], rows)]


def _distribution_parts(report: dict[str, Any]) -> list[str]:
  header = [f'{p} %' if p % 100 else ('minimum', 'maximum')[p // 100] for p in _PERCENTILES]
  percentiles = [[name, *report['percentiles'][name].values(), unit] for name, unit in _MEASURES.items()]
  return [
    *(report_charts.bars(name.replace('_', ' '), report['histograms'][name], unit) for name, unit in _MEASURES.items()),
    _table(['', *header, 'unit'], percentiles),
    *(
      f'<h2>{name.replace("_", " ").capitalize()}</h2>' + _table([name, 'clips'], report['counts'][name].items())
      for name in _CATEGORIES
    ),
  ]


def _sync_parts(sync: dict[str, Any]) -> list[str]:
  """What `_sync` has found: an explanation, a chart and a table."""
  advance = ' or '.join(f'{value:g}' for value in sync['sound_advance_ms'])
  moved = (
    f'has already advanced the sound by {advance} ms' if any(sync['sound_advance_ms']) else 'has not moved the sound'
  )

  def cells(name: str, row: dict[str, Any]) -> list[Any]:
    return [
      name,
      row['clips'],
      *('' if row[key] is None else row[key] for key in ('offset_ms', 'uncertainty_ms', 'correlation')),
      row['verdict'],
    ]

  # Those with the most clips, as many as the chart has colours for.
  most = sorted(sync['speakers'], key=lambda name: -sync['speakers'][name]['clips'])[:7]
  curves = {'all': sync['all']['curve']} | {name: sync['speakers'][name]['curve'] for name in sorted(most)}
  return [
    (
      '<p>How much later than the lips the sound comes, in the converted records; negative values: earlier. '
      f'The conversion {moved}.</p>'
      "<p>The offset is the lag at which the mouth's opening correlates most with the loudness between 1 and 3 kHz, "
      'pooled over the clips. ± is its standard deviation. The last column says "in step" for offsets within '
      f'{sound_sync.TOLERANCE:g} ms, and "unclear" for fewer than {sound_sync.FEWEST} clips or a standard deviation '
      f'above {sound_sync.UNCLEAR:g} ms.</p>'
    ),
    report_charts.lines('correlation', sync['lags_ms'], curves, 'ms by which the sound is shifted', mark=0),
    _table(
      ['speaker', 'clips', 'sound late by, ms', '±', 'correlation', ''],
      [cells('all', sync['all']), *(cells(name, row) for name, row in sync['speakers'].items())],
    ),
  ]


def _table(header: Sequence[str], rows) -> str:
  lines = ['<table><tr>' + ''.join(f'<th>{html.escape(str(cell))}</th>' for cell in header) + '</tr>']
  lines += ['<tr>' + ''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row) + '</tr>' for row in rows]
  return '\n'.join(lines) + '</table>'
