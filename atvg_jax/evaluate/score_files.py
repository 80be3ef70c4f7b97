"""What an evaluation leaves in its folder: evaluation.json, .md, .csv, .html and videos/."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atvg_jax.evaluate import score_page, score_tables
from atvg_jax.evaluate.score_rows import Scored
from data_pipelines.errors import InputError


def make_folder(out: str | None) -> None:
  """Makes the folder, unless it is None.

  Raises:
    InputError: there is a file of that name, or the folder cannot be made.
  """
  if out is None:
    return
  if os.path.exists(out) and not os.path.isdir(out):
    raise InputError(f'--out {out} is a file: name a folder')
  try:
    os.makedirs(out, exist_ok=True)
  except OSError as error:
    raise InputError(f'--out {out} cannot be made ({error.strerror}): choose another folder') from error


def write_videos(scored: Iterable[Scored], out: str | None, name: str) -> list[dict[str, Any]]:
  """Writes each clip's videos, side by side, into `out`/videos/`name` → the scores, with 'video' where it was written.

  Raises:
    InputError: there is no clip.
  """
  scores = []
  for clip in scored:
    if out is not None:
      score_page.write_video(os.path.join(out, 'videos', name), clip.scores['clip_id'], clip.videos)
      clip.scores['video'] = f'videos/{name}/{clip.scores["clip_id"]}.mp4'
    scores.append(clip.scores)
  if not scores:
    raise InputError('the split holds no clip: choose another --split or convert more clips')
  return scores


def report(
  tables: Mapping[str, list[dict[str, Any]]],
  set_scores: Mapping[str, Mapping[str, float]],
  settings: Mapping[str, Any],
  out: str | None,
  *,
  compared: Sequence[str] = (),
) -> str:
  """Writes the files, if any, and returns the Markdown.

  Args:
    tables: data set → the scores of its clips.
    set_scores: data set → row → its FID, where it was asked for.
    settings: what was scored, and how.
    out: the folder, or None.
    compared: rows whose paired differences from the first of them are told.
  """
  summaries = {name: score_tables.summary(clips, compared) for name, clips in tables.items()}
  for name, rows in set_scores.items():
    for row, distance in rows.items():  # of the set as a whole: there is no interval over clips
      summaries[name]['rows'][row]['fid'] = {'mean': distance, 'low': None, 'high': None, 'clips': len(tables[name])}
  about = ', '.join(f'{name} {value}' for name, value in settings.items() if name in ('split', 'protocol', 'real'))
  text = '\n'.join(score_tables.markdown(f'{name}, {about}', summary) for name, summary in summaries.items())
  if out is not None:
    results = {**settings, 'data': {name: summaries[name] | {'per_clip': clips} for name, clips in tables.items()}}
    score_tables.write(os.path.join(out, 'evaluation.json'), score_tables.table_json(results))
    score_tables.write(os.path.join(out, 'evaluation.md'), text)
    all_clips = [clip for clips in tables.values() for clip in clips]
    score_tables.write(os.path.join(out, 'evaluation.csv'), score_tables.table_csv(all_clips))
    score_tables.write(os.path.join(out, 'evaluation.html'), score_page.page(summaries, tables, about))
  return text
