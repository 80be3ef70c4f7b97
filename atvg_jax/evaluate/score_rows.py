"""The rows of a clip's table: several videos that all should be the same real clip, scored in threads."""

import concurrent.futures
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from atvg_jax.evaluate import clip_scores
from atvg_jax.evaluate.metric_networks import networks

# Row → scores of its video: {column: number}.
Rows = dict[str, dict[str, float]]


class Scored(NamedTuple):
  """A clip with the videos that were scored."""

  scores: dict[str, Any]  # 'clip_id', 'speaker', 'rows': Rows
  videos: dict[str, np.ndarray]  # row → uint8 [T, 128, 128, 3]


class SubmittedRows(NamedTuple):
  """The rows of a clip while threads score them."""

  clip: clip_scores.RealClip
  videos: dict[str, np.ndarray]  # row → uint8 [T, 128, 128, 3]
  scores: dict[str, concurrent.futures.Future]  # row → {column: number}


def make_threads() -> concurrent.futures.Executor:
  """Threads to score with, one a core."""
  return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def submit(
  threads: concurrent.futures.Executor,
  clip: clip_scores.RealClip,
  videos: dict[str, np.ndarray],
  by_frame: Mapping[str, Mapping[str, np.ndarray]],
  *,
  published: bool = False,
) -> SubmittedRows:
  """Begins to score the rows of a clip; the face detector leaves the interpreter free.

  Args:
    threads: what scores.
    clip: the real clip.
    videos: row → uint8 [T, 128, 128, 3].
    by_frame: row → `clip_scores.reference_scores` of it, each [T].
    published: the published formulas as well.
  """

  def score(row: str) -> dict[str, float]:
    found = None
    if row == 'baseline':  # one picture: its face is looked for once
      found = clip_scores.redetect(clip_scores.landmarker(), videos[row][:1])
      found = None if found is None else np.repeat(found, len(clip.landmarks), axis=0)
    return clip_scores.video_scores(
      clip_scores.landmarker(), videos[row], clip, by_frame[row], published=published, found=found
    )

  return SubmittedRows(clip, videos, {row: threads.submit(score, row) for row in videos})


def collect(submitted: SubmittedRows, metric_networks: networks.MetricNetworks, samples: np.ndarray | None) -> Rows:
  """Waits for the scores of `submit`, and adds those of the metric networks.

  Args:
    submitted: what `submit` returned; one of its rows is 'real'.
    metric_networks: networks that score the videos as well.
    samples: float32 [n] at 16 kHz, the clip's sound; None where it has none, or no network needs it.
  """
  rows = {row: score.result() for row, score in submitted.scores.items()}
  for row, scores in metric_networks.clip_scores(submitted.videos, submitted.clip.example, samples).items():
    rows[row] |= scores
  return rows
