"""Before | after on the held-out part: scores, and videos side by side to play."""

import os
from typing import Any

from tqdm import tqdm

from atvg_jax.evaluate import evaluate, score_files, score_page, score_rows, score_tables
from atvg_jax.generate.generator import Generator
from atvg_jax.train import feed
from data_pipelines import clip_source
from data_pipelines.records import record_index

BEFORE, AFTER = 'before', 'after'
_SOURCES = {'from the sound': 'sound', 'from true landmarks': 'true landmarks'}  # table → row of `evaluate`
REPORT = 'report.html'


def compare(before: Generator, after: Generator, directory: str, out: str) -> dict[str, list[dict[str, Any]]]:
  """Draws and scores the held-out clips with both; writes the videos into `out`.

  Returns:
    Table → its clips' scores, of the rows 'baseline', 'before', 'after' and 'real', as `score_tables` takes them.
  """
  both = [_scored(generator, directory, name) for generator, name in ((before, BEFORE), (after, AFTER))]
  return {
    table: score_files.write_videos(
      [_together(ours, theirs, row) for ours, theirs in zip(*both, strict=True)], out, table.replace(' ', '_')
    )
    for table, row in _SOURCES.items()
  }


def write(tables: dict[str, list[dict[str, Any]]], about: str, out: str) -> str:
  """Writes scores.json, scores.csv and report.html → the tables as Markdown."""
  summaries = {name: score_tables.summary(clips, (BEFORE, AFTER)) for name, clips in tables.items()}
  results = {name: summaries[name] | {'per_clip': clips} for name, clips in tables.items()}
  score_tables.write(os.path.join(out, 'scores.json'), score_tables.table_json(results))
  score_tables.write(os.path.join(out, REPORT), score_page.page(summaries, tables, about, title='One person'))
  return '\n'.join(score_tables.markdown(name, summary) for name, summary in summaries.items())


def _scored(generator: Generator, directory: str, name: str) -> list[score_rows.Scored]:
  index = record_index.load(directory, clip_source.VALIDATION)
  speakers = dict(zip(index.clip_id.tolist(), index.speaker.tolist(), strict=True))
  with_audio = generator.at.front_end.takes_sound
  batches = feed.clip_batches(directory, clip_source.VALIDATION, batch_size=1, with_audio=with_audio)
  with evaluate.Evaluation(generator, batch_size=1) as evaluation:
    scored = evaluation.score(evaluate.first_clips(batches, None), speakers)
    return list(tqdm(scored, total=len(speakers), unit='clip', desc=f'scoring {name}', dynamic_ncols=True))


def _together(before: score_rows.Scored, after: score_rows.Scored, row: str) -> score_rows.Scored:
  """One clip with both systems' rows, of which `row` is taken."""

  def rows(ours: Any, theirs: Any) -> dict[str, Any]:
    return {'baseline': ours['baseline'], BEFORE: ours[row], AFTER: theirs[row], 'real': ours['real']}

  scores = {**before.scores, 'rows': rows(before.scores['rows'], after.scores['rows'])}
  return score_rows.Scored(scores, rows(before.videos, after.videos))
