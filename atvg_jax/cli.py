"""The `atvg` command: one function a subcommand, each importing only what it runs. Options: `cli_options`.

Bad input, a full disk and the like end in one sentence on standard error and exit status 2; an interrupt in 130, any
other signal in 128 and its number. Then nothing unfinished is left.
"""

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atvg_jax import cli_options
from atvg_jax.runtime import devices, ending, host_memory
from data_pipelines.errors import InputError, of_the_machine

if TYPE_CHECKING:
  from atvg_jax.generate import video_maker


def _prepare(arguments: argparse.Namespace) -> None:
  from data_pipelines import prepare

  prepare.prepare(
    arguments.dataset,
    arguments.source,
    arguments.out,
    workers=arguments.workers,
    all_faces=arguments.all_faces,
    sound_offsets=arguments.sound_offsets,
    beam_runner=arguments.beam_runner,
    beam_options=arguments.beam_options,
  )


def _fit_landmarks(arguments: argparse.Namespace) -> None:
  from atvg_jax.train import fit_landmarks

  print(
    fit_landmarks.run(
      arguments.data,
      arguments.out,
      num_components=arguments.num_components,
      points=arguments.points,
      symmetric=not arguments.asymmetric,
    )
  )


def _look(arguments: argparse.Namespace) -> dict[str, Any]:
  """The options of how a video looks, and of what is kept beside it."""
  return {
    'frame': arguments.frame,
    'motion': arguments.motion,
    'save': tuple(filter(None, arguments.save.split(','))),
    'face': arguments.face,
    'force': arguments.force,
    'expressiveness': arguments.expressiveness,
  }


def _sharing(arguments: argparse.Namespace) -> dict[str, Any]:
  """The options of how many videos are shared among hosts and devices."""
  return {name: getattr(arguments, name) for name in ('shard', 'distributed', 'lanes', 'beam_runner', 'beam_options')}


def _choose_face(arguments: argparse.Namespace, options: dict[str, Any]) -> None:
  """Where no --image is given, the person of --weights speaks, in a video that repeats if it is one."""
  from atvg_jax.generate import person

  if arguments.image is None:
    arguments.image, options['loop'] = person.face(arguments.weights, arguments.frame)


def _generate(arguments: argparse.Namespace) -> None:
  from atvg_jax.generate import many_videos, video_maker

  options = _look(arguments)
  if arguments.manifest is not None:
    many_videos.make_all(
      many_videos.from_manifest(arguments.manifest, arguments.out, **options),
      arguments.out,
      weights=arguments.weights,
      **_sharing(arguments),
    )
    return
  _choose_face(arguments, options)
  if arguments.audio is None and arguments.driving is None:
    raise InputError('there is nothing to say: give --audio SPEECH, or --driving VIDEO to follow a video')
  folders = [path for path in (arguments.image, arguments.audio) if path is not None and os.path.isdir(path)]
  if folders:
    if arguments.audio is None or arguments.driving is not None or os.path.splitext(arguments.out)[1]:
      raise InputError(
        f'{folders[0]} is a directory: with --image DIR --audio DIR, --out is a folder, and there is no --driving'
      )
    many_videos.make_all(
      many_videos.from_folders(arguments.image, arguments.audio, arguments.out, **options),
      arguments.out,
      weights=arguments.weights,
      **_sharing(arguments),
    )
    return
  if any(_sharing(arguments).values()):
    raise InputError(
      '--shard, --distributed, --lanes and --beam-runner are for many videos: give --manifest FILE, or folders as '
      '--image and --audio'
    )
  result = video_maker.generate_video(
    arguments.image,
    arguments.out,
    audio=arguments.audio,
    driving=arguments.driving,
    weights=arguments.weights,
    stream=arguments.stream,
    raw=arguments.raw,
    **options,
  )
  if arguments.out != video_maker.PIPE:
    _report(result)


def _say(arguments: argparse.Namespace) -> None:
  from atvg_jax.generate import text_to_speech, video_maker

  options = _look(arguments)
  _choose_face(arguments, options)
  result = text_to_speech.run(
    arguments.text,
    arguments.image,
    arguments.out,
    voice=arguments.voice,
    speed=arguments.speed,
    weights=arguments.weights,
    **options,
  )
  if arguments.out != video_maker.PIPE:
    _report(result)


def _personalise(arguments: argparse.Namespace) -> None:
  from atvg_jax.personalise import personalise

  text = personalise.run(
    arguments.videos,
    arguments.out,
    minutes=arguments.minutes,
    consent_note=arguments.consent_note,
    start=arguments.weights,
  )
  print(text, end='')


def _app(arguments: argparse.Namespace) -> None:
  from atvg_jax.app import page

  page.run(arguments.port, arguments.weights, arguments.host)


def _demo(arguments: argparse.Namespace) -> None:
  from atvg_jax.generate import demo

  _report(demo.run(arguments.out))


def _report(result: 'video_maker.Result') -> None:
  """Prints where a video is, and how fast it was made."""
  print(
    f'{result.path}: {result.num_frames} frames, {result.num_frames / result.fps:.1f} seconds of video, made in '
    f'{result.seconds:.1f} s ({result.num_frames / result.seconds:.0f} frames/s)'
  )


def _evaluate(arguments: argparse.Namespace) -> None:
  from atvg_jax.evaluate import evaluate, video_pairs
  from atvg_jax.evaluate.metric_networks import networks

  metric_networks = networks.MetricNetworks(
    sync=arguments.sync,
    identity_weights=arguments.identity_weights,
    use_lpips=arguments.lpips,
    syncnet=arguments.syncnet_weights,
    inception=arguments.fid_weights,
  )
  if arguments.real or arguments.generated or arguments.against:
    if not arguments.real or not (arguments.generated or arguments.against) or arguments.data:
      raise InputError('to score videos give --real DIR and --generated DIR or --against NAME=DIR, without --data')
    text = video_pairs.run(
      arguments.real,
      arguments.generated,
      against=video_pairs.parse_systems(arguments.against),
      out=arguments.out,
      metric_networks=metric_networks,
    )
    print(text, end='')
    return
  if not arguments.data:
    raise InputError('there is nothing to score: give --data DIR, or --real DIR and --generated DIR')
  text = evaluate.run(
    arguments.data,
    arguments.split,
    weights=arguments.weights,
    protocol=arguments.protocol,
    batch_size=arguments.batch_size,
    max_clips=arguments.max_clips,
    out=arguments.out,
    metric_networks=metric_networks,
    silence_clips=arguments.silence_clips,
  )
  print(text, end='')


def _robustness(arguments: argparse.Namespace) -> None:
  from atvg_jax.evaluate import robustness

  text = robustness.run(
    arguments.data,
    arguments.split,
    out=arguments.out,
    weights=arguments.weights,
    batch_size=arguments.batch_size,
    max_clips=arguments.max_clips,
    experiments=arguments.experiments,
  )
  print(text, end='')


def _import_torch(arguments: argparse.Namespace) -> None:
  from atvg_jax import convert

  convert.import_torch(
    at=arguments.at,
    vg=arguments.vg,
    at_single=arguments.at_single,
    discriminator=arguments.discriminator,
    basics=arguments.basics,
    out=arguments.out,
  )


def _release(arguments: argparse.Namespace) -> None:
  from atvg_jax.checkpoints import weights

  weights.release(arguments.workdir, arguments.out)


def _export(arguments: argparse.Namespace) -> None:
  from atvg_jax.generate import export

  export.run(arguments.out, arguments.weights)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
  'demo': _demo,
  'generate': _generate,
  'say': _say,
  'app': _app,
  'personalise': _personalise,
  'prepare': _prepare,
  'fit-landmarks': _fit_landmarks,
  'evaluate': _evaluate,
  'robustness': _robustness,
  'import-torch': _import_torch,
  'release': _release,
  'export': _export,
}
# Commands with options of their own: name → the module whose `run(argv)` parses them.
_PASSED_ON: Mapping[str, str] = {
  'train': 'atvg_jax.train.loop',
  'ablate': 'atvg_jax.ablate.sweep',
  'plan': 'atvg_jax.train.plan',
  'benchmark': 'atvg_jax.benchmarks',
}


# TensorFlow greets at length, oneDNN in spite of the level: records are read without it.
_QUIET: Mapping[str, str] = {'TF_CPP_MIN_LOG_LEVEL': '2', 'TF_ENABLE_ONEDNN_OPTS': '0'}
_OURS = ('atvg_jax', 'configs', 'data_pipelines')


def run(argv: Sequence[str]) -> None:
  """Runs one command line (without the program's name); raises InputError on bad input."""
  for name, value in _QUIET.items():
    os.environ.setdefault(name, value)
  if argv and argv[0] == 'plan' and '--generate' in argv:
    importlib.import_module('atvg_jax.generate.lanes.plan').run(list(argv[1:]))
    return
  if argv and argv[0] in _PASSED_ON:
    importlib.import_module(_PASSED_ON[argv[0]]).run(list(argv[1:]))
    return
  arguments = cli_options.make_parser().parse_args(argv)
  _COMMANDS[arguments.command](arguments)


def main(argv: Sequence[str] | None = None) -> int:
  """Entry point of the console script: runs the command and returns the exit status."""
  host_memory.keep_freed()
  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors='backslashreplace')  # names of files may be bytes that are no text
  try:
    with ending.as_exceptions():
      run(sys.argv[1:] if argv is None else argv)
  except InputError as error:
    return _tell(str(error), 2)
  except ModuleNotFoundError as error:
    package = (error.name or '').partition('.')[0]
    if package in ('', *_OURS):
      raise
    return _tell(
      f'this needs the package {package}, which is not installed here, as where only what generation needs is '
      'installed: pip install -e . in the folder of the checkout',
      2,
    )
  except KeyboardInterrupt:
    return _tell('interrupted; no unfinished file is left under a final name', 130)
  except ending.Ended as ended:
    return _tell(f'ended by {ended}; no unfinished file is left under a final name', 128 + ended.number)
  except Exception as error:
    sentence = devices.missing(error) or of_the_machine(error)
    if sentence is None:
      raise  # a bug: its traceback is what helps
    return _tell(sentence, 2)
  return 0


def _tell(sentence: str, status: int) -> int:
  with contextlib.suppress(OSError):  # the terminal may be gone
    print(f'atvg: {sentence}', file=sys.stderr, flush=True)
  return status


if __name__ == '__main__':
  sys.exit(main())
