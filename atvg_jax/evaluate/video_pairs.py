"""Scores of videos of any system beside the real ones: `atvg evaluate --real DIR --generated DIR`."""

import concurrent.futures
import os
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from atvg_jax.evaluate import clip_scores, score_files, score_rows
from atvg_jax.evaluate.metric_networks import networks
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_reader


def run(
  real: str, generated: str, *, out: str | None = None, metric_networks: networks.MetricNetworks | None = None
) -> str:
  """Scores videos beside the real ones of the same names.

  Args:
    real: folder of the real videos.
    generated: folder of the others; files belong together if their names without suffix are equal.
    out: folder for evaluation.json, .md, .csv, .html and videos/, or None.
    metric_networks: networks that score the videos as well.

  Returns:
    The table, as Markdown.

  Raises:
    InputError: a folder is missing, no names agree, or a video cannot be read or shows no face.
  """
  score_files.make_folder(out)
  pairs = _pairs(real, generated)
  metric_networks, threads = metric_networks or networks.MetricNetworks(), score_rows.make_threads()
  with tqdm(pairs, unit='clip', desc=f'scoring {generated}', dynamic_ncols=True) as progress:
    scored = (score_pair(*pair, metric_networks=metric_networks, threads=threads) for pair in progress)
    tables = {generated: score_files.write_videos(scored, out, 'videos')}
  return score_files.report(tables, {generated: metric_networks.set_scores()}, {'real': real}, out)


def score_pair(
  real: str, generated: str, *, metric_networks: networks.MetricNetworks, threads: concurrent.futures.Executor
) -> score_rows.Scored:
  """Scores one video file beside the real one, with the sound of the real one.

  Both are cut to the face: by the real face's place if the pictures are of one size, else each by its own.

  Raises:
    InputError: a video cannot be read, or shows no face.
  """
  clip, ours = video_reader.read_video(real), video_reader.read_video(generated)
  true_frames, true, matrices = _crops(real, clip.frames)
  if clip.frames[0].shape == ours.frames[0].shape:
    frames = _warped(ours.frames, matrices)
  else:
    frames, _, _ = _crops(generated, ours.frames)
  length = min(len(frames), len(true_frames))
  frames, true_frames, true = frames[:length], true_frames[:length], true[:length]
  example = true_frames[length // 2]
  videos = {'baseline': np.broadcast_to(example, true_frames.shape), 'generated': frames, 'real': true_frames}
  whole = true_frames[None]
  by_frame = clip_scores.reference_scores(
    {'baseline': example[None, None], 'generated': frames[None], 'real': whole}, whole, [true]
  )
  submitted = score_rows.submit(
    threads,
    clip_scores.RealClip(true_frames, true, example),
    videos,
    {row: {column: values[0] for column, values in columns.items()} for row, columns in by_frame.items()},
  )
  rows, mouth = score_rows.collect(submitted, metric_networks, clip.samples if clip.has_audio else None)
  name = os.path.splitext(os.path.basename(generated))[0]
  return score_rows.Scored({'clip_id': name, 'speaker': '', 'mouth': mouth, 'rows': rows}, videos)


def _pairs(real: str, generated: str) -> list[tuple[str, str]]:
  """The files of two folders whose names agree."""
  files = []
  for folder in (real, generated):
    if not os.path.isdir(folder):
      raise InputError(f'{folder} is no folder of videos')
    files.append(
      {
        os.path.splitext(name)[0]: os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if not name.startswith('.') and os.path.isfile(os.path.join(folder, name))
      }
    )
  names = sorted(files[0].keys() & files[1].keys())
  if not names:
    raise InputError(
      f'no file in {generated} has the name of a file in {real} (suffixes aside): there is nothing to compare'
    )
  return [(files[0][name], files[1][name]) for name in names]


def _crops(path: str, frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A video's aligned crops uint8 [T, 128, 128, 3], landmarks in them [T, 136], and matrices [T, 2, 3].

  Args:
    path: the video, for error messages.
    frames: its frames, each uint8 [H, W, 3].
  """
  # A picture that ends where the face does, as generated crops do, gets a margin: the detector wants one.
  margin = max(frames[0].shape[:2]) // 2 if max(frames[0].shape[:2]) <= 2 * features.IMAGE_SIZE else 0
  padding = [(margin, margin), (margin, margin), (0, 0)]
  try:
    track = clip_scores.landmarker().track(np.pad(frame, padding, mode='edge') for frame in frames)
  except InputError as error:
    raise InputError(f'{path}: no face was found in it, so that it cannot be scored') from error
  points = track.landmarks - margin
  matrices = face_alignment.align_track(points)
  return _warped(frames, matrices), face_alignment.normalise(face_alignment.apply(matrices, points)), matrices


def _warped(frames: Sequence[np.ndarray], matrices: np.ndarray) -> np.ndarray:
  """uint8 [T, 128, 128, 3]: frames, as many as have a matrix [T, 2, 3], warped to aligned crops."""
  return np.stack([face_alignment.warp(frame, matrix) for frame, matrix in zip(frames, matrices, strict=False)])
