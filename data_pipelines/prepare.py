"""Converts a corpus of clips into a data set that `input_pipeline` and TFDS read.

The work happens in `<out>.partial`, beside the final folder:

1. list the clips, with their speakers and splits;
2. convert them in worker processes, one staged file each: what a killed run has finished stays;
3. let the TFDS builder write the staged records to TFRecords, then index, statistics and report beside them;
4. rename the finished folder to `<out>`, so that it is there whole or not at all.
"""

import contextlib
import fcntl
import importlib
import io
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import tqdm

from data_pipelines import clip_source, convert_clip, features, landmark_statistics, worker_pool
from data_pipelines.errors import InputError

DATASETS = ('grid', 'lrw_ar')


def prepare(
    dataset: str,
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    workers: int | None = None,
    image_format: str = 'jpeg',
    limit: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
  """Converts `source` into the data set `out`.

  Run again after a kill, it goes on where it stopped; run again after success, it does nothing. The
  files are the same byte for byte whatever the number of workers.

  Args:
    dataset: one of `DATASETS`.
    source: the corpus' folder.
    out: the data set's folder: a new name, or a data set made of the same source with the same options.
    workers: number of processes; by default one a core.
    image_format: 'jpeg', or 'png' for exact frames.
    limit: convert only the first `limit` clips of each split, to try things out.
    progress: show a progress bar on standard error.

  Returns:
    The report (`report.json`), with `out`, `seconds` and `new_clips` (how many this call converted) added.

  Raises:
    InputError: bad source or options, `out` is taken, no clip could be converted, or the disk is full.
  """
  started = time.time()
  if dataset not in DATASETS:
    raise InputError(f'There is no data set {dataset!r}: choose one of {", ".join(DATASETS)}.')
  if image_format not in convert_clip.IMAGE_FORMATS:
    raise InputError(f'There is no frame format {image_format!r}: choose one of '
                     f'{", ".join(convert_clip.IMAGE_FORMATS)}.')
  if workers is not None and workers < 1:
    raise InputError(f'{workers} workers cannot convert anything: give 1 or more.')
  source, out = pathlib.Path(source).resolve(), pathlib.Path(out).absolute()
  if out == source or source in out.parents:
    raise InputError(f'{out} lies in the source folder {source}: choose another place for the converted data.')
  clips = _limited(_source_module(dataset).list_clips(str(source)), limit)
  tasks = [convert_clip.staging_task(clip, image_format, _staging(out)) for clip in clips]
  report_head = {
      'dataset': dataset,
      'image_format': image_format,
      'version': convert_clip.VERSION,
      'source_fingerprint': convert_clip.fingerprint(tasks),
  }
  if _is_done(out, report_head):
    report = json.loads((out / 'report.json').read_text())
    return report | {'out': str(out), 'seconds': 0.0, 'new_clips': 0}

  try:
    with _locked(out):
      new = _convert(tasks, workers or worker_pool.default_workers(), progress)
      report = _build(dataset, source, out, clips, tasks, report_head, progress)
  except OSError as error:
    raise InputError(f'{out}.partial cannot be written ({error.strerror or error}): make room or choose another place, '
                     'then run the same command again.') from error
  return report | {'out': str(out), 'seconds': round(time.time() - started, 1), 'new_clips': new}


def _source_module(dataset: str):
  return importlib.import_module(f'data_pipelines.{dataset}.{dataset}_source')


def _limited(clips: list[clip_source.ClipSource], limit: int | None) -> list[clip_source.ClipSource]:
  if limit is None:
    return clips
  if limit < 1:
    raise InputError(f'A limit of {limit} clips leaves nothing to convert: give 1 or more.')
  return [clip for split in clip_source.SPLITS for clip in [c for c in clips if c.split == split][:limit]]


def _partial(out: pathlib.Path) -> pathlib.Path:
  return out.with_name(f'{out.name}.partial')


def _staging(out: pathlib.Path) -> pathlib.Path:
  return _partial(out) / 'clips'


def _is_done(out: pathlib.Path, head: dict[str, Any]) -> bool:
  """Whether `out` is this very conversion. Anything else but nothing is an error: it is never overwritten."""
  if not out.exists() or out.is_dir() and not any(out.iterdir()):
    return False
  if not out.is_dir():
    raise InputError(f'{out} is a file, where the folder of the converted data is to be: choose another name.')
  try:
    report = json.loads((out / 'report.json').read_text())
  except (OSError, ValueError):
    raise InputError(f'{out} is not empty and no data set of this program: choose another folder.') from None
  changed = [name for name, value in head.items() if report.get(name) != value]
  if changed:
    raise InputError(f'{out} holds another conversion ({", ".join(changed)} differ): remove it or choose another '
                     'folder.')
  return True


@contextlib.contextmanager
def _locked(out: pathlib.Path) -> Iterator[None]:
  """Makes the working folder and keeps a second conversion out of it; the lock goes with the process."""
  partial = _partial(out)
  if partial.exists() and not partial.is_dir():
    raise InputError(f'{partial} is a file, where the working folder is to be: remove it.')
  _staging(out).mkdir(parents=True, exist_ok=True)
  with (partial / 'lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise InputError(f'Another conversion is writing {out}: wait for it, or stop it.') from None
    yield


def _convert(tasks: list[convert_clip.StagingTask], workers: int, progress: bool) -> int:
  """Converts what has not been converted yet; returns how many clips that was."""
  waiting = [task for task in tasks if not os.path.exists(task.path)]
  bar = tqdm.tqdm(total=len(tasks), initial=len(tasks) - len(waiting), desc='converting', unit='clip', smoothing=0.05,
                  disable=not progress, file=sys.stderr)
  with bar, contextlib.closing(worker_pool.run(convert_clip.convert_to_file, waiting,
                                               min(workers, len(waiting)))) as outcomes:
    for outcome in outcomes:
      task = waiting[outcome.index]
      if outcome.error is not None:
        if 'OSError' in outcome.error and not os.path.exists(task.path):
          raise OSError(outcome.error.strip().splitlines()[-1])
        convert_clip.save(convert_clip.Rejection('failed', outcome.error.strip().splitlines()[-1]), task.path)
      bar.update()
  return len(waiting)


def _build(dataset: str, source: pathlib.Path, out: pathlib.Path, clips: list[clip_source.ClipSource],
           tasks: list[convert_clip.StagingTask], head: dict[str, Any], progress: bool) -> dict[str, Any]:
  """Staged clips → the finished folder under its final name."""
  from data_pipelines import record_index, report  # here, for what they import is slow

  results = [convert_clip.load(task.path, keys=(features.LANDMARKS, features.REST_LANDMARKS)) for task in tasks]
  kept = [i for i, result in enumerate(results) if isinstance(result, convert_clip.Record)]
  if not kept:
    raise InputError(f'None of the {len(clips)} clips in {source} could be converted; the first: '
                     f'{clips[0].clip_id}, {results[0].reason}: {results[0].detail}')
  if progress:
    print(f'writing {len(kept)} records', file=sys.stderr)
  built = _write_records(dataset, source, _partial(out) / 'tfds', clips, tasks)
  for split in sorted({clips[i].split for i in kept}):
    record_index.save(record_index.build(built, split), split)
  train = (results[i].fields for i in kept if clips[i].split == clip_source.TRAIN)
  landmark_statistics.save(
      landmark_statistics.accumulate((fields[features.LANDMARKS], fields[features.REST_LANDMARKS]) for fields in train),
      built)
  summary = report.write(built, head, clips, tasks, results)
  os.replace(built, out)  # also onto an empty folder
  shutil.rmtree(_partial(out))
  return summary


def _write_records(dataset: str, source: pathlib.Path, data_dir: pathlib.Path, clips: list[clip_source.ClipSource],
                   tasks: list[convert_clip.StagingTask]) -> pathlib.Path:
  """Has the TFDS builder write the records; returns the folder with the TFRecord files."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # TensorFlow tells what this processor can do, at length
  import tensorflow_datasets as tfds

  module = importlib.import_module(f'data_pipelines.{dataset}.{dataset}_dataset_builder')
  shutil.rmtree(data_dir, ignore_errors=True)  # of a run that was killed here
  tfds.disable_progress_bar()
  builder = module.Builder(data_dir=data_dir, config=tasks[0].image_format)
  builder.staging_dir = str(pathlib.Path(tasks[0].path).parent)
  builder.clips = clips
  with contextlib.redirect_stdout(io.StringIO()):  # TFDS greets and takes leave
    builder.download_and_prepare(download_dir=data_dir / 'downloads',
                                 download_config=tfds.download.DownloadConfig(manual_dir=source))
  return pathlib.Path(builder.data_dir)
