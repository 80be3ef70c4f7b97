"""Damaged and unusual files: no crash, each in the report with a true reason, and good neighbours are converted."""

import collections
import csv
import pathlib

import damaged_files
import pytest

from data_pipelines import prepare
from data_pipelines.conversion import convert_clip, cut_video

_KINDS = len(damaged_files._KINDS)


def fates(dataset: str, source: pathlib.Path, out: pathlib.Path, monkeypatch, workers: int) -> dict[str, list[str]]:
  """File → what became of its clips: 'kept', or reasons."""
  found = collections.defaultdict(list)
  staged = cut_video.staged

  def noting(*args):
    clips, tasks = staged(*args)
    for clip, task in zip(clips, tasks):
      result = convert_clip.load(task.path, keys=())
      found[clip.path].append(result.reason if isinstance(result, convert_clip.Rejection) else damaged_files.KEPT)
    return clips, tasks

  monkeypatch.setattr(cut_video, 'staged', noting)
  prepare.prepare(dataset, source, out, workers=workers, progress=False)
  with (out / 'rejected.csv').open(encoding='utf-8', newline='') as file:
    told = [(row['path'], row['reason']) for row in csv.DictReader(file)]
  left_out = [(path, reason) for path, reasons in found.items() for reason in reasons if reason != damaged_files.KEPT]
  assert sorted(told) == sorted(left_out)  # each has its line in the report
  return found


def check(made: list[damaged_files.Made], found: dict[str, list[str]]) -> None:
  assert not [path.name for path, *_ in made if not found[str(path)]], 'not in the report'
  wrong = [
    (path.name, found[str(path)])
    for path, _, wanted in made
    if (wanted is not None and not set(found[str(path)]) <= set(wanted))
    # A worker that dies or raises is survived, but is a fault to be mended.
    or 'failed' in found[str(path)]
  ]
  assert not wrong


def test_one_of_each_kind_in_a_folder_of_clips(tmp_path, monkeypatch):
  made = damaged_files.make(tmp_path / 'source' / 'anna', _KINDS)
  check(made, fates('clips', tmp_path / 'source', tmp_path / 'out', monkeypatch, workers=2))


@pytest.mark.slow
def test_one_of_each_kind_in_a_corpus(tmp_path, monkeypatch):
  made = damaged_files.make(tmp_path / 'source' / 's1', _KINDS, endings=('.mp4', '.avi'))
  check(made, fates('grid', tmp_path / 'source', tmp_path / 'out', monkeypatch, workers=2))


@pytest.mark.slow
def test_a_thousand(tmp_path, monkeypatch):
  made = damaged_files.make(tmp_path / 'source' / 'anna', 1000, seed=1)
  found = fates('clips', tmp_path / 'source', tmp_path / 'out', monkeypatch, workers=2)
  check(made, found)
  counts = collections.Counter((kind, fate) for path, kind, _ in made for fate in found[str(path)])
  print('\n'.join(f'{count:4d} {kind}: {fate}' for (kind, fate), count in sorted(counts.items())))
