"""Scores on a converted split: both nets, VG-net alone, and the still example frame that each must beat.

Rows of the table:

* still: the example frame, repeated.
* true landmarks: VG-net driven by the clip's own landmarks.
* sound: both nets; they see the example frame and the sound, and nothing else of the clip.
* real: the clip itself, put through the same detector: what re-detection alone costs.

Columns are means over clips of means over frames: PSNR (dB) and SSIM of the whole 128x128 crop and of the mouth's
part of it, over all frames but the example; LMD, the mean distance in pixels of the 20 mouth points, found again in the frames, from the
recorded ones; r, the correlation over time of the mouth's opening with the recorded one; and range, how much it
opens and shuts (standard deviation) as a share of what was recorded.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from atvg_jax import metrics, streaming
from atvg_jax.generator import Generator, load_nets
from data_pipelines import faces, features
from data_pipelines.errors import InputError

ROWS = ('still', 'true landmarks', 'sound', 'real')
COLUMNS = ('psnr', 'ssim', 'psnr_mouth', 'ssim_mouth', 'lmd', 'opening_r', 'opening_range')

_PADDING = 64  # pixels around a crop: the detector wants to see that a face ends


def run(dirs: Sequence[str], split: str, *, nets: Sequence[str] | None = None, batch_size: int = 4,
        max_clips: int | None = None, out: str | None = None) -> str:
  """Scores weights on the split of each folder.

  Args:
    dirs: folders that `atvg prepare` wrote.
    split: name of the split.
    nets: see `generator.load_nets`.
    batch_size: clips at a time.
    max_clips: score the first so many of each folder only.
    out: folder for evaluation.json and evaluation.md, or None.

  Returns:
    The tables, as Markdown.
  """
  if out is not None and os.path.exists(out) and not os.path.isdir(out):
    raise InputError(f'--out {out} is a file: name a folder')
  generator = Generator(*load_nets(nets))
  if generator.published:
    batch_size = 1  # their recurrence runs over the batch: clips would leak into each other
  scores = {directory: evaluate(generator, _clips(directory, split, batch_size, max_clips)) for directory in dirs}
  results = {'split': split, 'weights': list(map(os.fspath, nets or ('packaged',))),
             'data': {directory: summary(rows) | {'per_clip': rows} for directory, rows in scores.items()}}
  text = markdown(results)
  if out is not None:
    os.makedirs(out, exist_ok=True)
    _write(os.path.join(out, 'evaluation.json'), json.dumps(_without_nan(results), indent=2, allow_nan=False) + '\n')
    _write(os.path.join(out, 'evaluation.md'), text)
  return text


def _clips(directory: str, split: str, batch_size: int, max_clips: int | None) -> Iterator[Mapping[str, np.ndarray]]:
  """Batches of whole clips, each once, with a progress bar."""
  from data_pipelines import input_pipeline  # imports TensorFlow, which takes seconds
  seen = 0
  with tqdm(unit='clip', desc=f'scoring {directory}', dynamic_ncols=True, total=max_clips) as progress:
    batches = input_pipeline.eval_batches((directory,), split=split, batch_size=batch_size)
    for batch in input_pipeline.iterate(batches):
      if max_clips is not None:
        batch[features.MASK] = batch[features.MASK] * (seen + np.arange(len(batch[features.MASK])) < max_clips)
      yield batch
      seen += int(batch[features.MASK].sum())
      progress.update(int(batch[features.MASK].sum()))
      if max_clips is not None and seen >= max_clips:
        return


def evaluate(generator: Generator,
             batches: Iterator[Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
  """Scores of every clip: dicts with 'clip_id' and, for each of ROWS, a dict of COLUMNS.

  Args:
    generator: the nets.
    batches: as `input_pipeline.eval_batches` gives them, whole clips padded to a common length.
  """
  landmarker = faces.FaceLandmarker()
  scores = []
  for batch in batches:
    videos = _videos(generator, batch)
    pictures = {name: _picture_scores(video, batch[features.VIDEO]) for name, video in videos.items()}
    for clip in np.flatnonzero(batch[features.MASK]):
      length = int(batch[features.FRAME_MASK][clip].sum())
      true = batch[features.LANDMARKS][clip, :length]
      found = {'still': np.repeat(batch[features.EXAMPLE_LANDMARKS][clip][None], length, axis=0)}
      found |= {name: redetect(landmarker, videos[name][clip, :length]) for name in ROWS if name != 'still'}
      row = {'clip_id': batch[features.CLIP_ID][clip].decode()}
      others = _other_frames(batch[features.VIDEO][clip, :length], batch[features.EXAMPLE_IMAGE][clip])
      for name in ROWS:
        row[name] = {column: float(values[clip, :length][others].mean()) for column, values in pictures[name].items()}
        row[name] |= landmark_scores(found[name], true)
      scores.append(row)
  if not scores:
    raise InputError('the split holds no clip: choose another --split or convert more clips')
  return scores


def _other_frames(video: np.ndarray, example: np.ndarray) -> np.ndarray:
  """Which frames [T] of a video [T, H, W, 3] are not the example; all of them where the picture never changes.

  The example would give the still picture a perfect frame: 100 dB in a mean of 28 frames are 3 dB for nothing.
  """
  others = (video != example).any(axis=(1, 2, 3))
  return others if others.any() else np.ones_like(others)


def _videos(generator: Generator, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """uint8 [B, T, H, W, 3] for each of ROWS."""
  image, true, real = (batch[key] for key in (features.EXAMPLE_IMAGE, features.LANDMARKS, features.VIDEO))
  conditions, length = generator.conditions(batch[features.EXAMPLE_LANDMARKS]), real.shape[1]

  def draw(landmarks):
    return np.concatenate(list(generator.vg(image, conditions.example_landmarks, landmarks)), axis=1)[:, :length]

  return {'still': np.broadcast_to(image[:, None], real.shape),
          'true landmarks': draw(streaming.split(generator.normalise(true))),
          'sound': draw(generator.spoken(conditions, streaming.split(batch[features.MFCC]))),
          'real': real}


@jax.jit
def _score_window(ours, true):
  ours, true = (video.astype(jnp.float32) / 255 for video in (ours, true))
  scores = {}
  for suffix, (rows, columns) in (('', (slice(None), slice(None))), ('_mouth', metrics.mouth_box(ours.shape[2]))):
    pair = ours[:, :, rows, columns], true[:, :, rows, columns]
    scores |= {f'psnr{suffix}': metrics.psnr(*pair), f'ssim{suffix}': metrics.ssim(*pair)}
  return scores


def _picture_scores(ours: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
  """PSNR and SSIM [B, T] of two videos uint8 [B, T, H, W, 3], window by window so that one program will do."""
  windows = [_score_window(*pair) for pair in zip(streaming.split(ours), streaming.split(true), strict=True)]
  return {name: np.concatenate([window[name] for window in windows], axis=1) for name in windows[0]}


def redetect(landmarker: faces.FaceLandmarker, crops: np.ndarray) -> np.ndarray | None:
  """Finds the landmarks in aligned crops: uint8 [T, 128, 128, 3] → [T, 136], or None where no face is seen."""
  padding = [(0, 0), (_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0)]
  try:
    track = landmarker.track(np.pad(crops, padding, mode='edge'))
  except InputError:
    return None
  return faces.normalise(track.landmarks - _PADDING)


def landmark_scores(found: np.ndarray | None, true: np.ndarray) -> dict[str, float]:
  """LMD, correlation and range of the mouth's opening, of landmarks [T, 136]; NaN where there is nothing to say.

  Where no face was found there is no LMD, and the correlation is 0: a mouth that nobody sees does not follow. It is 0
  for a mouth that stands still, too.
  """
  if found is None:
    return {'lmd': float('nan'), 'opening_r': 0.0, 'opening_range': 0.0}
  opening, true_opening = faces.mouth_opening(found), faces.mouth_opening(true)
  scores = {'lmd': float(np.mean(metrics.lmd(found, true))), 'opening_r': float('nan'), 'opening_range': float('nan')}
  if np.std(true_opening) > 1e-6:
    scores['opening_r'] = float(metrics.correlation(opening, true_opening))
    scores['opening_range'] = float(np.std(opening) / np.std(true_opening))
  return scores


def summary(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Means over clips: {'clips': n, 'rows': {row: {column: mean or None}}}; None where no clip has a number."""
  def mean(row, column):
    values = np.array([clip[row][column] for clip in scores])
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None

  return {'clips': len(scores), 'rows': {row: {column: mean(row, column) for column in COLUMNS} for row in ROWS}}


def markdown(results: Mapping[str, Any]) -> str:
  """The tables of `run`'s results."""
  header = ('| | PSNR | SSIM | PSNR mouth | SSIM mouth | LMD | mouth opening: r | range |\n'
            '|---|---|---|---|---|---|---|---|\n')
  formats = {'psnr': '.2f', 'ssim': '.4f', 'psnr_mouth': '.2f', 'ssim_mouth': '.4f', 'lmd': '.2f', 'opening_r': '.3f',
             'opening_range': '.2f'}
  text = []
  for directory, data in results['data'].items():
    text.append(f"**{directory}**, split {results['split']}, clips: {data['clips']}\n\n{header}")
    for name, row in data['rows'].items():
      cells = ['—' if row[column] is None else f'{row[column]:{formats[column]}}' for column in COLUMNS]
      text.append(f'| {name} | {" | ".join(cells)} |\n')
    text.append('\n')
  return ''.join(text)


def _without_nan(value: Any) -> Any:
  """JSON has no NaN: None instead."""
  if isinstance(value, Mapping):
    return {name: _without_nan(item) for name, item in value.items()}
  if isinstance(value, list):
    return [_without_nan(item) for item in value]
  return None if isinstance(value, float) and not np.isfinite(value) else value


def _write(path: str, text: str) -> None:
  with open(path + '.partial', 'w', encoding='utf-8') as file:
    file.write(text)
  os.replace(path + '.partial', path)
