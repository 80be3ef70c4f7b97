"""Metrics and pictures of a run: metrics.jsonl for programs, TensorBoard and pictures/ for people."""

import io
import json
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary

from data_pipelines import features
from data_pipelines.atomic_files import atomic_write

METRICS_FILE = 'metrics.jsonl'


class MetricWriter:
  """Writes into a workdir; on processes other than the main one it does nothing.

  A run that resumes from a checkpoint drops the rows written after it, so that the curve of a run that was killed is
  that of the uninterrupted run.

  Attributes:
    workdir: the run's.
  """

  def __init__(self, workdir: str, *, start_step: int = 0, enabled: bool = True):
    """Opens the files of `workdir`; rows of steps beyond `start_step` are dropped."""
    self._enabled = enabled
    self.workdir = workdir
    if not enabled:
      return
    os.makedirs(os.path.join(workdir, 'pictures'), exist_ok=True)
    self._path = os.path.join(workdir, METRICS_FILE)
    _drop_after(self._path, start_step)
    self._file = open(self._path, 'a', encoding='utf-8')  # noqa: SIM115 (stays open until `close`)
    self._board = SummaryWriter(os.path.join(workdir, 'tensorboard'), purge_step=start_step + 1)

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes a row of metrics; names look like 'train/g_loss'."""
    if not self._enabled:
      return
    row = {'step': step, **{name: float(value) for name, value in values.items()}}
    self._file.write(json.dumps(row) + '\n')
    self._file.flush()
    for name, value in values.items():
      self._board.add_scalar(name, float(value), step)
    self._board.flush()

  def picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, 3], as pictures/<name>_<step>.png and to TensorBoard."""
    if not self._enabled:
      return
    with atomic_write(self._picture_path(step, name, 'png'), 'wb') as file:
      Image.fromarray(picture).save(file, format='PNG')
    self._board.add_image(name, picture, step, dataformats='HWC')

  def animation(self, step: int, name: str, frames: np.ndarray) -> None:
    """Writes a short video, uint8 [T, H, W, 3], as pictures/<name>_<step>.gif and to TensorBoard, which plays GIFs."""
    if not self._enabled:
      return
    first, *rest = map(Image.fromarray, frames)
    made = io.BytesIO()
    first.save(made, format='GIF', save_all=True, append_images=rest, duration=1000 // features.FPS, loop=0)
    with atomic_write(self._picture_path(step, name, 'gif'), 'wb') as file:
      file.write(made.getvalue())
    image = Summary.Image(
      height=frames.shape[1], width=frames.shape[2], colorspace=3, encoded_image_string=made.getvalue()
    )
    self._board.file_writer.add_summary(Summary(value=[Summary.Value(tag=f'{name}_moving', image=image)]), step)

  def _picture_path(self, step: int, name: str, suffix: str) -> str:
    return os.path.join(self.workdir, 'pictures', f'{name.replace("/", "_")}_{step:07d}.{suffix}')

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._enabled:
      self._file.close()
      self._board.close()


def _drop_after(path: str, step: int) -> None:
  """Removes from a metrics file the rows beyond a step, and a last row that was cut off."""
  if not os.path.exists(path):
    return
  kept = []
  with open(path, encoding='utf-8') as file:
    for line in file:
      try:
        row = json.loads(line)
      except json.JSONDecodeError:
        continue
      if row['step'] <= step:
        kept.append(line if line.endswith('\n') else line + '\n')
  with atomic_write(path) as file:
    file.writelines(kept)


def rows(workdir: str) -> list[dict[str, float]]:
  """The rows of a workdir's metrics; none before there are any."""
  try:
    with open(os.path.join(workdir, METRICS_FILE), encoding='utf-8') as file:
      return [json.loads(line) for line in file if line.endswith('\n')]
  except FileNotFoundError:
    return []


def scored(workdir: str, step: int) -> bool:
  """Whether the metrics of a workdir have the evaluation of a step."""
  return any(row['step'] == step and any(name.startswith('eval_') for name in row) for row in rows(workdir))
