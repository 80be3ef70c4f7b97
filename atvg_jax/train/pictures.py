"""Pictures of a network in training: landmarks over time, and rows of frames. All return uint8 [H, W, 3]."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from atvg_jax import landmarks as lm
from data_pipelines import features

# Runs of consecutive points that are drawn as one line; True closes it.
LINES = (
  (features.JAW, False),
  (slice(17, 22), False),
  (slice(22, 27), False),
  (slice(27, 31), False),
  (slice(31, 36), False),
  (features.RIGHT_EYE, True),
  (features.LEFT_EYE, True),
  (slice(48, 60), True),
  (slice(60, 68), True),
)


def render(sample: Mapping[str, np.ndarray]) -> np.ndarray:
  """The picture of what a task's `sample_step` returned (as NumPy)."""
  return video_grid(sample) if 'video' in sample else landmark_plot(sample)


def animate(sample: Mapping[str, np.ndarray], *, clips: int = 4) -> np.ndarray | None:
  """The frames [T, H, W, 3] of a short video: true above generated, their MFCC below; None where there are no frames.

  Args:
    sample: as for `video_grid`, and 'mfcc' [B, T, 28, 12].
    clips: side by side at most.
  """
  if 'video' not in sample:
    return None
  columns = []
  for clip in range(min(clips, len(sample['video']))):
    pair = np.concatenate([sample['true_video'][clip], sample['video'][clip]], axis=1)
    pair = features.to_bytes(pair.astype(np.float32))  # [T, 2 H, W, 3]
    columns.append(np.concatenate([pair, _mfcc_strip(sample['mfcc'][clip], pair.shape[2])], axis=1))
  return np.concatenate(columns, axis=2)


def _mfcc_strip(mfcc: np.ndarray, width: int) -> np.ndarray:
  """A clip's MFCC over time as grey bands, with a red line at each frame's moment: [T, 28, 12] → [T, 36, width, 3]."""
  own = slice(features.MFCC_CONTEXT, features.MFCC_CONTEXT + features.MFCC_ROWS_PER_FRAME)
  rows = mfcc[:, own].reshape(-1, mfcc.shape[-1])  # 10 ms each
  low, high = np.percentile(rows, [2, 98], axis=0)
  grey = np.clip((rows - low) / np.maximum(high - low, 1e-6), 0, 1).T * 200
  grey = np.repeat(grey, 3, axis=0)[:, (np.arange(width) * len(rows)) // width]
  strip = np.repeat(grey[None, ..., None].astype(np.uint8), len(mfcc), axis=0).repeat(3, axis=-1)
  for frame in range(len(mfcc)):
    strip[frame, :, (2 * frame + 1) * width // (2 * len(mfcc))] = (255, 0, 0)
  return strip


def landmark_plot(sample: Mapping[str, np.ndarray], *, clips: int = 3, moments: int = 6) -> np.ndarray:
  """For each of the first clips: faces at some moments, true and predicted, and the mouth's opening over time.

  Args:
    sample: 'true_landmarks' and 'landmarks' [B, T, 136], 'frames' [B, T] (0 marks padding).
    clips: rows to draw at most.
    moments: faces in a row at most.
  """
  from matplotlib.backends.backend_agg import FigureCanvasAgg  # matplotlib takes a second to import
  from matplotlib.figure import Figure

  rows = min(clips, len(sample['landmarks']))
  figure = Figure(figsize=(2 * (moments + 2), 2 * rows), dpi=80, layout='constrained')
  canvas = FigureCanvasAgg(figure)
  grid = figure.add_gridspec(rows, moments + 2)
  for row in range(rows):
    length = max(1, int(sample['frames'][row].sum()))
    both = ((sample['true_landmarks'][row, :length], 'tab:gray'), (sample['landmarks'][row, :length], 'tab:red'))
    for column, moment in enumerate(np.linspace(0, length - 1, moments).astype(int)):
      axes = figure.add_subplot(grid[row, column])
      for landmarks, colour in both:
        _draw_face(axes, landmarks[moment], colour)
      axes.set_title(f'frame {moment}', fontsize=7)
    axes = figure.add_subplot(grid[row, moments:])
    for landmarks, colour in both:
      axes.plot(lm.mouth_gap(landmarks), color=colour, linewidth=1)
    axes.set_title('mouth opening (grey: true, red: predicted)', fontsize=7)
    axes.tick_params(labelsize=6)
  canvas.draw()
  return np.array(canvas.buffer_rgba())[..., :3]


def _draw_face(axes: Any, landmarks: np.ndarray, colour: str) -> None:
  """Lines through landmarks [136], in axes that show a whole crop."""
  points = landmarks.reshape(features.NUM_LANDMARKS, 2)
  for points_of_line, closed in LINES:
    line = points[points_of_line]
    line = np.concatenate([line, line[:1]]) if closed else line
    axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.8)
  axes.set(xlim=(-1, 1), ylim=(1, -1), aspect='equal', xticks=[], yticks=[])


def landmark_modes(basis: lm.LandmarkBasis, deviations: tuple[float, ...] = (-3, -1.5, 0, 1.5, 3)) -> np.ndarray:
  """For each PCA component a row of faces: the mean face, moved along it by so many of its standard deviations."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(2 * len(deviations), 2.1 * len(basis.components)), dpi=80, layout='constrained')
  canvas = FigureCanvasAgg(figure)
  grid = figure.subplots(len(basis.components), len(deviations), squeeze=False)
  mean = np.asarray(basis.mean)
  for row, (component, deviation, share) in enumerate(zip(basis.components, lm.deviations(basis), basis.explained)):
    for axes, times in zip(grid[row], deviations):
      if times:
        _draw_face(axes, mean, 'lightgray')
      _draw_face(axes, mean + times * deviation * component, 'tab:red' if times else 'black')
      axes.set_title(f'component {row + 1}: {share:.1%}' if not times else f'{times:+g} σ', fontsize=7)
  canvas.draw()
  return np.array(canvas.buffer_rgba())[..., :3]


def video_grid(sample: Mapping[str, np.ndarray], *, clips: int = 4) -> np.ndarray:
  """Rows of example | true frame | generated frame | attention | colour, one moment of each of the first clips.

  Args:
    sample: 'example_image' [B, H, W, 3], 'true_video', 'video', 'color' [B, T, H, W, 3] in [-1, 1],
      'attention' [B, T, H, W, 1] in [0, 1].
    clips: rows to draw at most.
  """
  rows = []
  for clip in range(min(clips, len(sample['video']))):
    # The frame that differs most from the example image asks the most of the network.
    difference = np.abs(sample['true_video'][clip] - sample['example_image'][clip]).mean(axis=(1, 2, 3))
    moment = int(difference.argmax())
    attention = np.repeat(sample['attention'][clip, moment], 3, axis=-1) * 2 - 1
    rows.append(
      np.concatenate(
        [
          sample['example_image'][clip],
          sample['true_video'][clip, moment],
          sample['video'][clip, moment],
          attention,
          sample['color'][clip, moment],
        ],
        axis=1,
      )
    )
  return features.to_bytes(np.concatenate(rows, axis=0).astype(np.float32))
