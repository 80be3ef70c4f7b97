"""The points of the robustness curves, and the file that keeps those that are scored."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from atvg_jax.evaluate import score_tables
from data_pipelines.errors import InputError


class Point(NamedTuple):
  """One level of an experiment; without a level, a row that stands beside all of them."""

  experiment: str
  level: float | None = None

  @property
  def name(self) -> str:
    """The row's name in tables and files."""
    return self.experiment if self.level is None else f'{self.experiment} {self.level:g}'

  @property
  def amount(self) -> float:
    """The level of an experiment.

    Raises:
      ValueError: it has none.
    """
    if self.level is None:
      raise ValueError(f'{self.experiment} has no level')
    return self.level


BASELINE, REAL, SOUND = Point('baseline'), Point('real'), Point('sound')
TRUE_LANDMARKS = Point('landmark noise', 0.0)
_SNRS = (20, 15, 10, 5, 0, -5)  # dB
TURNS = ('turned head', 'turned head landmarks')  # from the sound, and by true landmarks
EXPERIMENTS: Mapping[str, tuple[Point, ...]] = {
  'landmark noise': tuple(Point('landmark noise', round(0.02 * i, 2)) for i in range(8)),
  'white noise': tuple(Point('white noise', snr) for snr in _SNRS),
  'babble': tuple(Point('babble', snr) for snr in _SNRS),
  'music': tuple(Point('music', snr) for snr in _SNRS),
  'room tone': tuple(Point('room tone', level) for level in (-60, -50, -40, -30)),
  'sampling rate': tuple(Point('sampling rate', rate) for rate in (11_025, 8_000)),
  'mp3': tuple(Point('mp3', kilobits) for kilobits in (32, 24, 16)),
  'crop shift': tuple(Point('crop shift', pixels) for pixels in (2, 4, 6, 8)),
  **{name: tuple(Point(name, degrees) for degrees in (15, 30, 45, 60)) for name in TURNS},
}


class Store:
  """The scores of finished videos, one line each, in a file that is only appended to."""

  def __init__(self, path: str, head: Mapping[str, Any]):
    """Opens or begins the file.

    Args:
      path: the file.
      head: the first line: what the scores depend on.

    Raises:
      InputError: the file is of another `head`, or cannot be written.
    """
    self._points: dict[tuple[str, str], dict[str, Any]] = {}
    self._path = path
    try:
      os.makedirs(os.path.dirname(path), exist_ok=True)
      if not os.path.exists(path):
        score_tables.write(path, json.dumps(head) + '\n')
        return
      with open(path, encoding='utf-8') as file:
        lines = file.read().split('\n')
      if lines[-1]:  # torn by a kill: the line is dropped, in the file too
        score_tables.write(path, '\n'.join([*lines[:-1], '']))
    except OSError as error:
      raise InputError(f'{path} cannot be written ({error.strerror}): choose another --out') from error
    try:
      found, *rest = [json.loads(line) for line in lines[:-1]]
      self._points = {(entry['clip_id'], entry['point']): entry for entry in rest}
    except (ValueError, KeyError, TypeError) as error:
      raise InputError(f'{path} is damaged: remove it, and its videos will be scored anew') from error
    if found != dict(head):
      raise InputError(
        f'{path} holds scores of other weights or other data, or of an earlier version: choose another --out, or '
        'remove the file'
      )

  def has(self, clip_id: str, point: Point) -> bool:
    """Whether a video is scored."""
    return (clip_id, point.name) in self._points

  def scores(self, clip_id: str, point: Point) -> dict[str, float]:
    """The scores of a video; NaN for what there is not."""
    scores = self._points[clip_id, point.name]['scores']
    return {name: float('nan') if value is None else value for name, value in scores.items()}

  def facts(self, clip_id: str) -> dict[str, Any]:
    """The clip's own measures, see `robustness.submit_point`."""
    return self._points[clip_id, REAL.name]['facts']

  def add(self, entries: Sequence[dict[str, Any]]) -> None:
    """Adds videos: dicts of 'clip_id', 'point', 'scores' and 'facts'."""
    lines = ''.join(json.dumps(score_tables.without_nan(entry)) + '\n' for entry in entries)
    with open(self._path, 'a', encoding='utf-8') as file:
      file.write(lines)
    self._points |= {(entry['clip_id'], entry['point']): score_tables.without_nan(entry) for entry in entries}
