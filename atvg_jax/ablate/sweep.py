"""`atvg ablate`: trains and scores the rows of an ablation table, and prints the table.

A workdir holds a folder ROW/seed<n> for each training, which is a training workdir with `result.json` in it as soon as
it is scored, and for the whole table.md, table.json, table.csv, curves.png and contact_sheet.png. What is finished
stays
finished: the same command goes on with the rest, and a training that was killed goes on where it was.
"""

import contextlib
import gc
import json
import os
import runpy
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from atvg_jax.ablate import row_scores, sweep_report
from atvg_jax.checkpoints import run_config
from atvg_jax.evaluate import clip_scores
from atvg_jax.runtime import parallel
from atvg_jax.train import command_flags, command_logging, fit_landmarks, loop
from atvg_jax.train.step_log import NonFiniteLossError
from data_pipelines import work_shards
from data_pipelines.errors import InputError
from data_pipelines.records import record_index

REFERENCES = 'references'


class Row(NamedTuple):
  """A row of the table, as the config file's `sweep` adds it."""

  name: str
  title: str
  task: str
  against: str = ''  # the row that it is compared with, clip by clip


class Run(NamedTuple):
  """A training of a row."""

  row: Row
  seed: int
  folder: str


def run(argv: Sequence[str]) -> None:
  """The command `atvg ablate`: `--config=configs/ablations.py[:smoke]`, `--workdir=...` and `--config.field=value`.

  Raises:
    InputError: one sentence about whatever is wrong with the flags, the config or the data; or which rows failed.
    KeyboardInterrupt: a training was asked to stop, and saved.
  """
  options = command_flags.parse_flags(
    'ablate', list(argv), _define, {'config': 'configs/ablations.py', 'workdir': 'runs/ablations'}
  )
  config_file, arg, changes = _config(options)
  rows = _rows(config_file)
  chosen = work_shards.parse(options.shard).of(_chosen_rows(options.rows, rows, config_file))
  seeds = _seeds(options.seeds)
  if options.clips < 1:
    raise InputError(f'--clips={options.clips}: score one clip of each data set or more')
  runs = [Run(row, seed, os.path.join(options.workdir, row.name, f'seed{seed}')) for row in chosen for seed in seeds]
  if options.list:
    print(_list_text(chosen, options.workdir))
    return
  if not options.table:
    command_logging.set_up()
    parallel.initialize(distributed=False)
    configs = {each: _config_of(each, config_file, arg, changes) for each in runs}
    failures = _run_all(configs, rows, options)
    if failures:
      raise InputError(f'{len(failures)} of {len(runs)} trainings failed: {"; ".join(failures)}')
  print(_table(rows, options.workdir))


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string('workdir', None, 'folder of all rows, and of the table', flag_values=values)
  flags.DEFINE_string('rows', '', 'rows to run, such as baseline,mmcrnn; by default all', flag_values=values)
  flags.DEFINE_string('seeds', '1,2', 'seeds to train each row with', flag_values=values)
  flags.DEFINE_string('shard', None, 'i/n: of the rows take every n-th from the i-th on', flag_values=values)
  flags.DEFINE_integer(
    'clips', 24, 'held-out clips of each data set that a finished VG-net is scored on', flag_values=values
  )
  flags.DEFINE_boolean('list', False, 'name the rows and what of them is finished, and run none', flag_values=values)
  flags.DEFINE_boolean(
    'table', False, 'print and write the table of what is finished, and run none', flag_values=values
  )


def _config(options: flags.FlagValues) -> tuple[str, str, dict[str, Any]]:
  """The config's file, its argument, and the fields set on the command line."""
  file = config_flags.get_config_filename(options['config'])
  path, _, arg = file.partition(':')
  return path, arg, config_flags.get_override_values(options['config'])


def _rows(config_file: str) -> list[Row]:
  """The rows of a config file.

  Raises:
    InputError: it is one without `sweep`.
  """
  sweep = runpy.run_path(config_file).get('sweep')
  if sweep is None:
    raise InputError(
      f'{config_file} has no sweep(add), so that it describes one training and no table: use '
      'configs/ablations.py or a file like it'
    )
  rows: list[Row] = []
  sweep(lambda name, title, task, fields, against='': rows.append(Row(name, title, task, against)))
  return rows


def _chosen_rows(text: str, rows: Sequence[Row], config_file: str) -> list[Row]:
  names = [name.strip() for name in text.split(',') if name.strip()]
  known = {row.name for row in rows}
  for name in names:
    if name not in known:
      raise InputError(
        f'there is no row {name!r} in {config_file}: --rows takes any of {", ".join(row.name for row in rows)}'
      )
  return [row for row in rows if not names or row.name in names]


def _seeds(text: str) -> list[int]:
  seeds = [seed.strip() for seed in text.split(',') if seed.strip()]
  if not seeds or not all(seed.isdecimal() for seed in seeds):
    raise InputError(f'--seeds={text} are none: give whole numbers, e.g. 1,2')
  return list(dict.fromkeys(map(int, seeds)))


def _config_of(run: Run, config_file: str, arg: str, changes: dict[str, Any]) -> Any:
  """The locked config of a training: its row's, with the fields of the command line and its seed."""
  config = runpy.run_path(config_file)['get_config'](f'{run.row.name},{arg}' if arg else run.row.name).lock()
  for name, value in changes.items():
    group, _, field = name.partition('.')
    if field and config.get(group, name) is None:
      continue  # a field of the discriminator, where there is none
    try:
      config.update_from_flattened_dict({name: value})
    except KeyError as error:
      raise InputError(f'--config.{name} is no field of the row {run.row.name}: run it apart by --rows') from error
  config.seed = run.seed
  return config


def _run_all(configs: dict[Run, Any], rows: Sequence[Row], options: flags.FlagValues) -> list[str]:
  """Trains and scores what is not finished, and writes the table after each → a sentence a training that failed."""
  left = []
  for each, config in configs.items():
    result = row_scores.load(each.folder)
    if result is None:
      left.append(each)
    else:
      _check_same(result, config, each)
  if len(left) < len(configs):
    print(f'{len(configs) - len(left)} of {len(configs)} trainings are finished')
  _check_data(configs)
  spent: dict[str, list[float]] = {}  # task → seconds of each training that was done from its beginning
  failures = []
  for number, each in enumerate(left, 1):
    tqdm.write(
      f'[{number}/{len(left)}] {each.row.name}, seed {each.seed}: {each.row.title}'
      + _time_left(left[number - 1 :], spent)
    )
    start, fresh = time.perf_counter(), not os.path.exists(each.folder)
    try:
      result = _train_and_score(each, configs[each], options)
    except NonFiniteLossError as error:
      failures.append(f'{each.row.name}, seed {each.seed}: {error}')
      tqdm.write(f'atvg: {failures[-1]}')
      continue
    if fresh:
      spent.setdefault(each.row.task, []).append(time.perf_counter() - start)
    _table(rows, options.workdir)
    tqdm.write(_line(each, result))
  return failures


def _check_same(result: dict[str, Any], config: Any, run: Run) -> None:
  """Raises InputError where a finished row was trained by another config."""
  wanted = json.loads(json.dumps(run_config.plain(config)))
  differing = run_config.differences(wanted, run_config.upgrade(result['config']), 'config')
  if differing:
    raise InputError(
      f'{run.folder} is finished, but with another {", ".join(sorted(differing))}: use another '
      '--workdir, or that config'
    )


def _check_data(configs: dict[Run, Any]) -> None:
  """Raises InputError now for a data set that is not there, not when its row's turn comes."""
  for directory, split in {
    (directory, split)
    for config in configs.values()
    for directory in config.data.dirs
    for split in (config.data.split, config.evaluation.split)
  }:
    record_index.load(directory, split)


def _time_left(left: Sequence[Run], spent: dict[str, list[float]]) -> str:
  """', about 12 min left' once a training's time is known."""
  everything = [seconds for each in spent.values() for seconds in each]
  if not everything:
    return ''
  seconds = sum(sum(known) / len(known) for known in (spent.get(each.row.task) or everything for each in left))
  return f'; about {seconds / 60:.0f} min left'


def _train_and_score(each: Run, config: Any, options: flags.FlagValues) -> dict[str, Any]:
  """Trains a row and scores it beside what needs no net → its result.

  Raises:
    KeyboardInterrupt: the training was asked to stop.
  """
  state, summary = loop.train(config, each.folder)
  if summary['interrupted']:
    raise KeyboardInterrupt
  basis = fit_landmarks.landmark_basis(config, each.folder)
  paces = list(sweep_report.curve(each.folder, 'time/steps_per_second').values())
  with row_scores.net_predictor(config, state, basis) as predict:
    scored = row_scores.score(config, predict, options.clips)
  _score_references(config, options)  # before the row: one that is finished is not looked at again
  result = row_scores.save(
    each.folder,
    {
      'row': each.row.name,
      'title': each.row.title,
      'task': each.row.task,
      'seed': each.seed,
      'steps': summary['step'],
      'seconds_a_step': 1 / statistics.median(paces[1:] or paces),  # the first counts compiling
      'config': run_config.plain(config),
    },
    scored,
  )
  del state
  gc.collect()
  jax.clear_caches()  # of programs that no other row runs
  return result


def _score_references(config: Any, options: flags.FlagValues) -> None:
  """Scores what needs no net, unless that is done for these clips."""
  settings = {'dirs': list(config.data.dirs), 'split': config.evaluation.split, 'clips': options.clips}
  for name, (title, predict) in row_scores.references(config.task).items():
    folder = os.path.join(_references_folder(options.workdir), f'{config.task}_{name}')
    known = row_scores.load(folder)
    if known is None or known['settings'] != settings:
      row_scores.save(
        folder,
        {'row': name, 'title': title, 'task': config.task, 'seed': None, 'settings': settings},
        row_scores.score(config, predict, options.clips),
      )


def _references_folder(workdir: str) -> str:
  """Where the references are, under today's names."""
  folder = os.path.join(workdir, REFERENCES)
  with contextlib.suppress(OSError):  # there is none, as in most workdirs, or another host was faster
    os.rename(os.path.join(folder, 'vg_still'), os.path.join(folder, 'vg_example_frame'))  # of version 0.1
  return folder


def _line(each: Run, result: dict[str, Any]) -> str:
  """The numbers of a row that has just ended, in a line."""
  shown = []
  for data_set, columns in result['scores'].items():
    numbers = ', '.join(
      f'{clip_scores.COLUMNS[name].heading} {columns[name]:{clip_scores.COLUMNS[name].form}}'
      for name in sweep_report.SHOWN[each.row.task]
      if name in columns
    )
    shown.append(f'{data_set}: {numbers}')
  return f'{each.row.name}, seed {each.seed}, {"; ".join(shown)}'


def results(rows: Sequence[Row], workdir: str) -> list[dict[str, Any]]:
  """What is finished in a workdir, in the order of the table, the references of each task after its rows."""
  found = []
  for task in dict.fromkeys(row.task for row in rows):
    folders = [
      os.path.join(workdir, row.name, f'seed{seed}')
      for row in rows
      if row.task == task
      for seed in _seeds_in(os.path.join(workdir, row.name))
    ]
    references = _references_folder(workdir)
    if os.path.isdir(references):
      folders += [
        os.path.join(references, name) for name in sorted(os.listdir(references)) if name.startswith(f'{task}_')
      ]
    found += [result | {'folder': folder} for folder in folders if (result := row_scores.load(folder)) is not None]
  return found


def _seeds_in(folder: str) -> list[int]:
  names = os.listdir(folder) if os.path.isdir(folder) else []
  return sorted(int(name[4:]) for name in names if name.startswith('seed') and name[4:].isdecimal())


def _table(rows: Sequence[Row], workdir: str) -> str:
  if not os.path.isdir(workdir):
    raise InputError(f'--workdir={workdir} does not exist: there is no table yet')
  against = {row.name: row.against for row in rows if row.against}
  return sweep_report.write(workdir, results(rows, workdir), against)


def _list_text(rows: Sequence[Row], workdir: str) -> str:
  """A line a row: name, title, the seeds that are finished."""
  finished = results(rows, workdir)
  lines = []
  for row in rows:
    seeds = [str(result['seed']) for result in finished if result['row'] == row.name]
    lines.append(f'{row.name:<24}{row.title:<36}{f"finished: seeds {chr(44).join(seeds)}" if seeds else ""}'.rstrip())
  return '\n'.join(lines)
