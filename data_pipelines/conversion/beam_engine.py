"""The other engine of a conversion: Apache Beam, which has runners for clusters (Dataflow, Flink, Spark).

The work on one clip is the process pool's, and so are its staged files: every worker must see the source and the output
folder under the same paths, as on a shared disk.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data_pipelines.errors import InputError, extra_command


def require() -> None:
  """Raises InputError where Beam is not installed."""
  try:
    import apache_beam  # noqa: F401
  except ImportError as error:
    raise InputError(
      f'--beam-runner needs Apache Beam, which is not installed: {extra_command("beam")}, or leave the flag out to '
      'convert with the cores of this machine.'
    ) from error


def run(function: Callable[[Any], None], inputs: Sequence[Any], runner: str, options: Sequence[str] = ()) -> None:
  """Calls `function`, which must be importable and leaves its result on disk, with every input.

  Args:
    function: called with one input.
    inputs: all of them.
    runner: a Beam runner's name, such as 'DirectRunner', 'FlinkRunner', 'DataflowRunner'.
    options: of the pipeline, each as 'name=value' or 'name'.

  Raises:
    InputError: Beam is not installed, there is no such runner, or the pipeline failed.
  """
  require()
  import apache_beam as beam
  from apache_beam.options.pipeline_options import PipelineOptions

  try:
    with beam.Pipeline(runner=runner, options=PipelineOptions([f'--{option}' for option in options])) as pipeline:
      # Without the shuffle a runner would fuse the steps, and one worker would do it all.
      _ = pipeline | beam.Create(list(inputs)) | beam.Reshuffle() | beam.Map(function)
  except Exception as error:  # a runner can fail in any way
    reason = str(error).strip().splitlines()
    raise InputError(
      f'The Beam runner {runner} failed ({reason[0] if reason else type(error).__name__}): what is '
      'converted is kept, put it right and run the same command again.'
    ) from error


@contextlib.contextmanager
def watched(paths: Sequence[str], update: Callable[[], Any], interval: float = 1.0) -> Iterator[None]:
  """Meanwhile calls `update` once for each of `paths` that has come into being: runners do not tell."""
  missing, stop = list(paths), threading.Event()

  def look() -> None:
    still = [path for path in missing if not os.path.exists(path)]
    for _ in range(len(missing) - len(still)):
      update()
    missing[:] = still

  def watch() -> None:
    while not stop.wait(interval):
      look()

  thread = threading.Thread(target=watch, daemon=True, name='beam progress')
  thread.start()
  try:
    yield
  finally:
    stop.set()
    thread.join()
    look()
