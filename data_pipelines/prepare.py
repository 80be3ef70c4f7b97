"""Converts a corpus of clips into a data set that `input_pipeline` and TFDS read.

The work happens in `<out>.partial`, beside the final folder:

1. list the clips, with their speakers and splits;
2. convert them in worker processes, one staged file each: what a killed run has finished stays;
3. let the TFDS builder write the staged records to TFRecords, then index, statistics and report beside them;
4. rename the finished folder to `<out>`, so that it is there whole or not at all.
"""

import contextlib
import fcntl
import functools
import importlib
import io
import json
import os
import pathlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tqdm

from data_pipelines import clip_source, features
from data_pipelines.conversion import beam_engine, convert_clip, cut_video, worker_pool
from data_pipelines.conversion import sound_offsets as speaker_offsets
from data_pipelines.errors import InputError, of_the_machine
from data_pipelines.records import landmark_statistics

DATASETS = ('clips', 'grid', 'lrw', 'lrw_ar')
_IMAGE_FORMAT = 'jpeg'  # the configuration of the TFDS builders that is made


class _Conversion(NamedTuple):
  """What is converted, and into what."""

  dataset: str
  source: pathlib.Path
  out: pathlib.Path
  clips: list[clip_source.ClipSource]
  tasks: list[convert_clip.StagingTask]  # one each for every clip
  head: dict[str, Any]  # of the report: what identifies the conversion


def prepare(
  dataset: str,
  source: str | os.PathLike,
  out: str | os.PathLike,
  *,
  workers: int | None = None,
  limit: int | None = None,
  all_faces: bool = False,
  sound_offsets: str | os.PathLike | None = None,
  parts: Sequence[clip_source.ClipSource] | None = None,
  progress: bool = True,
  beam_runner: str | None = None,
  beam_options: Sequence[str] = (),
) -> dict[str, Any]:
  """Converts `source` into the data set `out`.

  Run again after a kill, it goes on where it stopped; run again after success, it does nothing. The
  files are the same byte for byte whatever the number of workers.

  Args:
    dataset: one of `DATASETS`.
    source: the corpus' folder.
    out: the data set's folder: a new name, or a data set made of the same source with the same options.
    workers: number of processes; by default one a core.
    limit: convert only the first `limit` clips of each split, to try things out.
    all_faces: of `clips` only: keep every face, not only the largest of those seen at a time.
    sound_offsets: report of an earlier conversion of the same clips, see `sound_offsets.load`: every speaker's sound is
      put in step with the lips as that report has measured it. Not of `clips`, which does so for every video by itself.
    parts: what to convert, in the place of all that `source` holds.
    progress: show a progress bar on standard error.
    beam_runner: convert with Apache Beam instead of worker processes; the result is the same byte for byte.
    beam_options: of its pipeline, each as 'name=value'.

  Returns:
    The report (`report.json`), with `out`, `new_clips` (how many this call converted) and times added: `seconds` in
    all, `seconds_to_first_clip` and `seconds_converting` of it.

  Raises:
    InputError: bad source or options, a speaker in two splits, `out` is taken, no clip could be converted,
      Beam is wanted and fails, or the disk is full.
  """
  started = time.time()
  source, out = pathlib.Path(source).resolve(), pathlib.Path(out).absolute()
  _check_options(dataset, workers, all_faces, sound_offsets)
  if beam_runner is not None:
    beam_engine.require()
  if out == source or source in out.parents:
    raise InputError(f'{out} lies in the source folder {source}: choose another place for the converted data.')
  if parts is None:
    options = {'all_faces': True} if all_faces else {}
    parts = _source_module(dataset).list_clips(str(source), **options)
  conversion = _list(dataset, source, out, _limited(list(parts), limit), sound_offsets)
  times, new = _Times(started), 0
  if _is_done(out, conversion.head):
    report = json.loads((out / 'report.json').read_text())
    seconds = 0.0
  else:
    if beam_runner is None:
      engine: Engine = functools.partial(_run_pool, workers=workers or worker_pool.default_workers())
    else:
      engine = functools.partial(_run_beam, runner=beam_runner, options=beam_options)
    try:
      with _locked(out):
        new = _convert(conversion.tasks, engine, times.note, progress)
        report = _build(conversion, progress)
    except InputError:
      raise
    except Exception as error:  # TensorFlow's writers raise errors of their own where a disk is full
      reason, strerror = of_the_machine(error), getattr(error, 'strerror', None)
      if reason is None and not isinstance(error, OSError):
        raise
      if reason is not None and strerror is None:
        raise InputError(f'{out}.partial cannot be written: {reason}') from error
      raise InputError(
        f'{out}.partial cannot be written ({strerror or error}): make room or choose another place, then run the same '
        'command again.'
      ) from error
    seconds = time.time() - started
  return report | {
    'out': str(out),
    'seconds': seconds,
    'seconds_to_first_clip': times.first,
    'seconds_converting': times.last,
    'new_clips': new,
  }


def _check_options(dataset: str, workers: int | None, all_faces: bool, sound_offsets: str | os.PathLike | None) -> None:
  if dataset not in DATASETS:
    raise InputError(f'There is no data set {dataset!r}: choose one of {", ".join(DATASETS)}.')
  if workers is not None and workers < 1:
    raise InputError(f'{workers} workers cannot convert anything: give 1 or more.')
  if all_faces and dataset != 'clips':
    raise InputError(f'{dataset} has one face a clip: all faces are kept of the data set clips only.')
  if sound_offsets is not None and dataset == 'clips':
    raise InputError(
      'clips measures the sound of every video by itself: offsets of speakers are for the other data sets.'
    )


def _list(
  dataset: str,
  source: pathlib.Path,
  out: pathlib.Path,
  clips: list[clip_source.ClipSource],
  sound_offsets: str | os.PathLike | None,
) -> _Conversion:
  """The clips and their staged files."""
  _refuse_leaks(dataset, clips)
  offsets = None if sound_offsets is None else speaker_offsets.load(sound_offsets)
  clips = speaker_offsets.apply(clips, offsets or {})
  tasks = [convert_clip.staging_task(clip, _IMAGE_FORMAT, _staging(out)) for clip in clips]
  head = {
    'dataset': dataset,
    'image_format': _IMAGE_FORMAT,
    'version': convert_clip.VERSION,
    'source_fingerprint': convert_clip.fingerprint(tasks),
    'sound_offsets': offsets,
  }
  return _Conversion(dataset, source, out, clips, tasks, head)


class _Times:
  """Seconds from the start to the first and to the last clip."""

  def __init__(self, started: float):
    self.first = self.last = 0.0
    self._started = started

  def note(self) -> None:
    """A clip is done."""
    self.last = time.time() - self._started
    self.first = self.first or self.last


def _source_module(dataset: str):
  return importlib.import_module(f'data_pipelines.datasets.{dataset}.{dataset}_source')


def _limited(clips: list[clip_source.ClipSource], limit: int | None) -> list[clip_source.ClipSource]:
  if limit is None:
    return clips
  if limit < 1:
    raise InputError(f'A limit of {limit} clips leaves nothing to convert: give 1 or more.')
  return [clip for split in clip_source.SPLITS for clip in [c for c in clips if c.split == split][:limit]]


def _refuse_leaks(dataset: str, clips: list[clip_source.ClipSource]) -> None:
  """A speaker in training and validation would make every score a lie."""
  # Clips of nobody known are left out anyway.
  leaked = clip_source.leaked_speakers((clip.speaker, clip.split) for clip in clips if clip.speaker)
  if leaked:
    raise InputError(
      f'The splits of {dataset} share {len(leaked)} speakers ({", ".join(leaked[:5])}): correct the '
      'split, which must be by speaker, so that validation shows faces and voices new to the nets.'
    )


def _partial(out: pathlib.Path) -> pathlib.Path:
  return out.with_name(f'{out.name}.partial')


def _staging(out: pathlib.Path) -> pathlib.Path:
  return _partial(out) / 'clips'


def _is_done(out: pathlib.Path, head: dict[str, Any]) -> bool:
  """Whether `out` is this very conversion. Anything else but nothing is an error: it is never overwritten."""
  if not out.exists() or (out.is_dir() and not any(out.iterdir())):
    return False
  if not out.is_dir():
    raise InputError(f'{out} is a file, where the folder of the converted data is to be: choose another name.')
  try:
    report = json.loads((out / 'report.json').read_text())
  except (OSError, ValueError):
    raise InputError(f'{out} is not empty and no data set of this program: choose another folder.') from None
  changed = [name for name, value in head.items() if report.get(name) != value]
  if changed:
    raise InputError(
      f'{out} holds another conversion ({", ".join(changed)} differ): remove it or choose another folder.'
    )
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


Function = Callable[[convert_clip.StagingTask], None]
Engine = Callable[[Function, list[convert_clip.StagingTask], Callable[[], Any]], None]


def _convert(tasks: list[convert_clip.StagingTask], engine: Engine, note: Callable[[], None], progress: bool) -> int:
  """Converts what has not been converted yet, calling `note` after each clip; returns how many clips that was."""
  waiting = [task for task in tasks if not os.path.exists(task.path)]
  with tqdm.tqdm(
    total=len(tasks),
    initial=len(tasks) - len(waiting),
    desc='converting',
    unit='clip',
    smoothing=0.05,
    disable=not progress,
    file=sys.stderr,
  ) as bar:

    def update() -> None:
      note()
      bar.update()

    if waiting:
      engine(functools.partial(_attempt, cut_video.convert_to_file), waiting, update)
  return len(waiting)


def _attempt(function: Function, task: convert_clip.StagingTask) -> None:
  """Converts a clip in a worker; an unforeseen failure becomes the reason why the clip is left out."""
  try:
    function(task)
  except OSError:  # the disk is full: no fault of the clip
    raise
  except Exception:
    convert_clip.save(convert_clip.Rejection('failed', traceback.format_exc().strip().splitlines()[-1]), task.path)


def _run_pool(
  function: Function, tasks: list[convert_clip.StagingTask], update: Callable[[], Any], *, workers: int
) -> None:
  with contextlib.closing(worker_pool.run(function, tasks, min(workers, len(tasks)))) as outcomes:
    for outcome in outcomes:
      task = tasks[outcome.index]
      if outcome.error is not None:
        reason = outcome.error.strip().splitlines()[-1]
        if 'OSError' in outcome.error and not os.path.exists(task.path):
          raise OSError(reason)
        convert_clip.save(convert_clip.Rejection('failed', reason), task.path)  # the worker died
      update()


def _run_beam(
  function: Function,
  tasks: list[convert_clip.StagingTask],
  update: Callable[[], Any],
  *,
  runner: str,
  options: Sequence[str],
) -> None:
  with beam_engine.watched([task.path for task in tasks], update):
    beam_engine.run(function, tasks, runner, options)


def _build(conversion: _Conversion, progress: bool) -> dict[str, Any]:
  """Staged clips → the finished folder under its final name; returns the report."""
  from data_pipelines.conversion import report
  from data_pipelines.records import record_index  # here, for what they import is slow

  clips, tasks = cut_video.staged(conversion.clips, conversion.tasks)
  sums = landmark_statistics.zeros()
  results = [_measured(task.path, clip, sums) for clip, task in zip(clips, tasks, strict=True)]
  splits = {clip.split for clip, result in zip(clips, results, strict=True) if isinstance(result, convert_clip.Record)}
  if not splits:
    first = next(result for result in results if isinstance(result, convert_clip.Rejection))
    raise InputError(
      f'None of the {len(clips)} clips in {conversion.source} could be converted; the first: '
      f'{clips[0].clip_id}, {first.reason}: {first.detail}'
    )
  if progress:
    kept = sum(isinstance(result, convert_clip.Record) for result in results)
    print(f'writing {kept} records', file=sys.stderr)
  partial = _partial(conversion.out)
  built = _write_records(conversion, clips, partial / 'tfds')
  for split in sorted(splits):
    record_index.save(record_index.build(built, split), split)
  landmark_statistics.save(sums, built)
  summary = report.write(built, conversion.head, clips, tasks, results)
  os.replace(built, conversion.out)  # also onto an empty folder
  shutil.rmtree(partial)
  return summary


def _measured(
  path: str,
  clip: clip_source.ClipSource,
  sums: dict[str, Any],
) -> convert_clip.Record | convert_clip.Rejection:
  """A staged result without its arrays, whose landmarks are added to `sums` if it is for training."""
  result = convert_clip.load(path, keys=(features.LANDMARKS, features.REST_LANDMARKS))
  if isinstance(result, convert_clip.Rejection):
    return result
  if clip.split == clip_source.TRAIN:
    landmark_statistics.add(sums, result.fields[features.LANDMARKS], result.fields[features.REST_LANDMARKS])
  return convert_clip.Record({}, result.facts)


def _write_records(
  conversion: _Conversion, clips: list[clip_source.ClipSource], data_dir: pathlib.Path
) -> pathlib.Path:
  """Has the TFDS builder write the records; returns the folder with the TFRecord files."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # TensorFlow lists what this processor can do
  import tensorflow_datasets as tfds

  dataset = conversion.dataset
  module = importlib.import_module(f'data_pipelines.datasets.{dataset}.{dataset}_dataset_builder')
  shutil.rmtree(data_dir, ignore_errors=True)  # of a run that was killed here
  tfds.disable_progress_bar()
  builder = module.Builder(data_dir=data_dir, config=_IMAGE_FORMAT)
  builder.staging_dir = str(_staging(conversion.out))
  builder.clips = clips
  with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what it downloads
    builder.download_and_prepare(
      download_dir=data_dir / 'downloads',
      download_config=tfds.download.DownloadConfig(manual_dir=conversion.source),
    )
  return pathlib.Path(builder.data_dir)
