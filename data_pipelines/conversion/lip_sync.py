"""Does the sound go with the mouth, and how late is it?

For every lag a ridge regression predicts the opening of the mouth from the cepstra of the sound, and is evaluated on
the half of the time that it was not fitted to. Loudness alone (the usual cross-correlation) needs pauses; this works in
the midst of speech, in any language, and needs no model that was trained before.

Accuracy, measured on 60 s of single words of one television speaker (LRW-AR, 23 speakers): the correlation is 0.41 at
the right lag (0.3 at the least) and at most 0.18 with another clip's sound; lags spread by 15 ms. With 30 s one lag in
fifty is wrong, with 10 s a third of them are: below `MIN_SECONDS` there is no estimate.
"""

from collections.abc import Sequence

import numpy as np

from data_pipelines import features
from data_pipelines.media import audio

MIN_SECONDS = 20.0  # of a face and its sound
MARGIN = 15  # frames of sound needed before and after the mouth's frames: the largest lag looked for
TOLERANCE = 0.05  # seconds: about two standard errors; less than that is left as it is
# A mouth is still opening when the sound is already there: on GRID, whose sound is in step, the best lag is -20 ms.
_MOUTH_BEHIND = 0.02
_MIN_CORRELATION = 0.25
_MIN_MARGIN = 0.12  # over any lag that is not a neighbour
_NEIGHBOUR = 0.15  # seconds
_STEP = 2  # MFCC rows of 10 ms between two lags
_BLOCK = 5 * features.FPS  # frames that are centred, and fitted or evaluated, as one
_RIDGE = 0.02
_DITHER = 3e-3  # of the sound's level: digital silence has no cepstrum
_LAGS = np.arange(-MARGIN * features.MFCC_ROWS_PER_FRAME, MARGIN * features.MFCC_ROWS_PER_FRAME + 1, _STEP)


def estimate(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
  """How many seconds the sound comes late, where that is clear.

  Args:
    pieces: the mouth's opening [T] at 25 frames a second, and the sound [640 (T + 2 MARGIN)] at 16 kHz from
      `MARGIN` frames before to `MARGIN` frames after; pieces whose sound is shorter are passed over.

  Returns:
    Seconds, negative if the sound comes early; None if there is too little, or no lag stands out.
  """
  if sum(len(opening) for opening, _ in pieces) < MIN_SECONDS * features.FPS:
    return None
  scores = correlations(pieces)
  if scores is None:
    return None
  best = int(scores.argmax())
  far = np.abs(_LAGS - _LAGS[best]) * features.MFCC_HOP > _NEIGHBOUR * features.SAMPLE_RATE
  if best in (0, len(_LAGS) - 1) or scores[best] < _MIN_CORRELATION or scores[best] - scores[far].max() < _MIN_MARGIN:
    return None
  return round(float(_LAGS[best]) * features.MFCC_HOP / features.SAMPLE_RATE + _MOUTH_BEHIND, 3)


def correlations(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray | None:
  """[lags]: correlation of the predicted and the measured opening, out of sample; None with fewer than two blocks."""
  blocks = []  # the opening [n] and the rows at each lag [lags, n, 13]
  for opening, samples in pieces:
    num_rows = (len(opening) + 2 * MARGIN) * features.MFCC_ROWS_PER_FRAME
    if len(samples) < num_rows * features.MFCC_HOP or not samples.any():
      continue
    rows = _rows(samples, num_rows)
    # The row in the middle of each frame, at lag 0.
    middle = (np.arange(len(opening)) + MARGIN) * features.MFCC_ROWS_PER_FRAME + features.MFCC_ROWS_PER_FRAME // 2
    count = max(1, round(len(opening) / _BLOCK))
    for frames in np.array_split(np.arange(len(opening)), count):
      lagged = rows[np.minimum(middle[frames] + _LAGS[:, None], num_rows - 1)]
      blocks.append((opening[frames] - opening[frames].mean(), lagged - lagged.mean(axis=1, keepdims=True)))
  if len(blocks) < 2:
    return None
  half = np.concatenate([np.full(len(opening), i % 2) for i, (opening, _) in enumerate(blocks)])
  measured = np.concatenate([opening for opening, _ in blocks])
  lagged = np.concatenate([rows for _, rows in blocks], axis=1)
  return np.array([_out_of_sample(rows, measured, half) for rows in lagged])


def _rows(samples: np.ndarray, count: int) -> np.ndarray:
  """[n] → [count, 13]: cepstra of every 10 ms, smoothed over five."""
  level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
  noise = np.random.default_rng(0).normal(size=len(samples)) * (_DITHER * level)
  before = (400 - features.MFCC_HOP) // 2  # so that row i is centred on the i-th 10 ms
  rows = audio.mfcc(np.pad(samples + noise, (before, 400)))[:count]
  weights = np.hanning(7)[1:-1] / np.hanning(7).sum()
  padded = np.pad(rows, ((2, 2), (0, 0)), mode='edge')
  return np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0) @ weights


def _out_of_sample(rows: np.ndarray, measured: np.ndarray, half: np.ndarray) -> float:
  """Correlation of `measured` [n] with what each half's regression on `rows` [n, 13] predicts for the other half."""
  rows = rows / (rows.std(axis=0) + 1e-6)
  predicted = np.zeros(len(measured))
  for side in (0, 1):
    x, y = rows[half == side], measured[half == side]
    weights = np.linalg.solve(x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
    predicted[half != side] = rows[half != side] @ weights
  spread = predicted.std() * measured.std()
  return float(np.mean((predicted - predicted.mean()) * (measured - measured.mean())) / spread) if spread > 0 else 0.0
