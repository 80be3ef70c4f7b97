"""Conversion: clips a second, the start-up and the writing of records apart."""

import argparse
import pathlib
import resource
import tempfile

from data_pipelines import prepare


def run(argv: list[str]) -> None:
  """Converts the first clips of a corpus into a folder that is thrown away, and prints a table.

  Raises:
    InputError: bad options or source.
  """
  parser = argparse.ArgumentParser(prog='atvg benchmark prepare', description=__doc__)
  parser.add_argument('dataset', choices=prepare.DATASETS)
  parser.add_argument('--source', required=True, help="folder of the data set, in the corpus' own layout")
  parser.add_argument('--clips', type=int, default=200, help='of each split (default: 200)')
  parser.add_argument('--workers', type=int, default=None, help='processes (default: one a core)')
  arguments = parser.parse_args(argv)
  with tempfile.TemporaryDirectory(prefix='atvg_benchmark_') as folder:
    result = prepare.prepare(
      arguments.dataset,
      arguments.source,
      pathlib.Path(folder) / 'out',
      workers=arguments.workers,
      limit=arguments.clips,
    )
  used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of the workers, which have ended
  clips, frames = result['clips'], sum(split['frames'] for split in result['splits'].values())
  steady = result['seconds_converting'] - result['seconds_to_first_clip']
  for name, value in {
    'clips': clips,
    'frames of a clip, mean': frames / max(1, result['kept']),
    'clips/s, steady': (clips - 1) / steady,
    'frames/s, steady': frames / clips * (clips - 1) / steady,
    'clips/s, all in all': clips / result['seconds'],
    'CPU seconds of a clip': (used.ru_utime + used.ru_stime) / clips,
    'seconds to the first clip': result['seconds_to_first_clip'],
    'seconds to write the records': result['seconds'] - result['seconds_converting'],
    'seconds': result['seconds'],
  }.items():
    print(f'{name:<34}{value:,.2f}')
