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

  scores: dict[str, Any]  # 'clip_id', 'speaker', 'mouth' (`clip_scores.mouth_of` its example), 'rows': Rows
  videos: dict[str, np.ndarray]  # row → uint8 [T, 128, 128, 3]


class SubmittedRows(NamedTuple):
  """The rows of a clip while threads score them."""

  clip: clip_scores.RealClip
  videos: dict[str, np.ndarray]  # row → uint8 [T, 128, 128, 3]
  scores: dict[str, concurrent.futures.Future]  # row → ({column: number}, Seen or None)


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

  def score(row: str) -> tuple[dict[str, float], clip_scores.Seen | None]:
    still = row == 'baseline'  # one picture: its face is looked for once
    seen = clip_scores.look(videos[row][:1] if still else videos[row])
    if still and seen is not None:
      seen = clip_scores.Seen(*(np.repeat(values, len(clip.landmarks), axis=0) for values in seen))
    found = None if seen is None else seen.landmarks
    scores = clip_scores.video_scores(
      clip_scores.landmarker(), videos[row], clip, by_frame[row], published=published, found=found
    )
    return scores, seen

  return SubmittedRows(clip, videos, {row: threads.submit(score, row) for row in videos})


def collect(
  submitted: SubmittedRows, metric_networks: networks.MetricNetworks, samples: np.ndarray | None
) -> tuple[Rows, str]:
  """Waits for the scores of `submit`, and adds those of the metric networks.

  Args:
    submitted: what `submit` returned; of its rows one is 'real', one 'baseline'.
    metric_networks: networks that score the videos as well.
    samples: float32 [n] at 16 kHz, the clip's sound; None where it has none, or no network needs it.

  Returns:
    The rows, and what the example's mouth shows, see `clip_scores.mouth_of`.
  """
  results = {row: score.result() for row, score in submitted.scores.items()}
  _, true = results['real']
  rows = {row: scores | clip_scores.blendshape_scores(seen, true) for row, (scores, seen) in results.items()}
  landmarks = {row: None if seen is None else seen.landmarks for row, (_, seen) in results.items()}
  of_networks = metric_networks.clip_scores(submitted.videos, submitted.clip.example, samples, landmarks)
  for row, scores in of_networks.items():
    rows[row] |= scores
  return rows, clip_scores.mouth_of(results['baseline'][1])
