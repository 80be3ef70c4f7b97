"""The `atvg` command: one function a subcommand, each importing only what it runs.

Bad input ends in one sentence on standard error and exit status 2; an interrupt in exit status 130.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import atvg_jax
from atvg_jax.runtime import host_memory
from data_pipelines import features
from data_pipelines.errors import InputError

_WEIGHTS_HELP = (
  'weights of AT-net and of VG-net, in either order: training workdirs or .npz files (default: the packaged ones)'
)


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
    beam_options=arguments.beam_option,
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


def _generate(arguments: argparse.Namespace) -> None:
  from atvg_jax.generate import batch, video_maker

  options = _look(arguments)
  if arguments.manifest is not None:
    batch.make_all(
      batch.from_manifest(arguments.manifest, arguments.out, **options),
      arguments.out,
      nets=arguments.weights,
      shard=arguments.shard,
    )
    return
  if arguments.image is None:
    raise InputError('there is nobody to speak: give --image FACE, or --manifest FILE for many videos')
  if arguments.audio is None and arguments.driving is None:
    raise InputError('there is nothing to say: give --audio SPEECH, or --driving VIDEO to follow a video')
  folders = [path for path in (arguments.image, arguments.audio) if path is not None and os.path.isdir(path)]
  if folders:
    if arguments.audio is None or arguments.driving is not None or os.path.splitext(arguments.out)[1]:
      raise InputError(
        f'{folders[0]} is a directory: with --image DIR --audio DIR, --out is a folder, and there is no --driving'
      )
    batch.make_all(
      batch.from_folders(arguments.image, arguments.audio, arguments.out, **options),
      arguments.out,
      nets=arguments.weights,
      shard=arguments.shard,
    )
    return
  if arguments.shard is not None:
    raise InputError('--shard shares many videos among hosts: give --manifest FILE, or folders as --image and --audio')
  result = video_maker.generate_video(
    arguments.image,
    arguments.out,
    audio=arguments.audio,
    driving=arguments.driving,
    nets=arguments.weights,
    stream=arguments.stream,
    raw=arguments.raw,
    **options,
  )
  if arguments.out != video_maker.PIPE:
    _report(result)


def _look(arguments: argparse.Namespace) -> dict[str, Any]:
  """What `_add_look` added."""
  return {'frame': arguments.frame, 'motion': arguments.motion, 'save': tuple(filter(None, arguments.save.split(',')))}


def _say(arguments: argparse.Namespace) -> None:
  from atvg_jax.generate import text_to_speech, video_maker

  result = text_to_speech.run(
    arguments.text,
    arguments.image,
    arguments.out,
    voice=arguments.voice,
    speed=arguments.speed,
    nets=arguments.weights,
    **_look(arguments),
  )
  if arguments.out != video_maker.PIPE:
    _report(result)


def _app(arguments: argparse.Namespace) -> None:
  from atvg_jax.app import page

  page.run(arguments.port, arguments.weights)


def _demo(arguments: argparse.Namespace) -> None:
  from atvg_jax.generate import demo

  _report(demo.run(arguments.out))


def _report(result) -> None:
  """Says where a video is."""
  print(
    f'{result.path}: {result.num_frames} frames, {result.num_frames / features.FPS:.1f} seconds of video, made in '
    f'{result.seconds:.1f} s ({result.num_frames / result.seconds:.0f} frames/s)'
  )


def _evaluate(arguments: argparse.Namespace) -> None:
  from atvg_jax.evaluate import evaluate
  from atvg_jax.evaluate.metric_networks import panel

  judges = panel.Panel(use_lpips=arguments.lpips, syncnet=arguments.syncnet_weights, inception=arguments.fid_weights)
  if arguments.real or arguments.generated:
    if not (arguments.real and arguments.generated) or arguments.data:
      raise InputError('to score videos give --real DIR and --generated DIR, without --data')
    print(evaluate.run_folders(arguments.real, arguments.generated, out=arguments.out, judges=judges))
    return
  if not arguments.data:
    raise InputError('there is nothing to score: give --data DIR, or --real DIR and --generated DIR')
  print(
    evaluate.run(
      arguments.data,
      arguments.split,
      nets=arguments.weights,
      protocol=arguments.protocol,
      batch_size=arguments.batch_size,
      max_clips=arguments.max_clips,
      out=arguments.out,
      judges=judges,
    )
  )


def _robustness(arguments: argparse.Namespace) -> None:
  from atvg_jax.evaluate import robustness

  print(
    robustness.run(
      arguments.data,
      arguments.split,
      out=arguments.out,
      nets=arguments.weights,
      batch_size=arguments.batch_size,
      max_clips=arguments.max_clips,
    )
  )


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


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='atvg', description='A talking face from one picture and a recording of speech.'
  )
  parser.add_argument('--version', action='version', version=f'atvg {atvg_jax.__version__}')
  commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)

  def command(name, function, summary):
    sub = commands.add_parser(name, help=summary, description=summary)
    sub.set_defaults(function=function)
    return sub

  sub = command('demo', _demo, 'make a video with what is packaged: nothing to download')
  sub.add_argument('--out', default='demo.mp4', help='the video to write (default: demo.mp4)')

  sub = command('generate', _generate, 'make a face speak: one picture and a recording → a video')
  sub.add_argument('--image', help='picture of a face, a video of one, or a folder of pictures')
  sub.add_argument(
    '--audio', help="recording of speech, of any length (a video will do); a folder of them; '-' reads standard input"
  )
  sub.add_argument('--driving', metavar='VIDEO', help='follow the mouth of the face in this video instead of the sound')
  sub.add_argument(
    '--out',
    required=True,
    help="the video to write, e.g. talking.mp4; a folder for many; '-' streams to standard output",
  )
  _add_look(sub)
  sub.add_argument('--stream', action='store_true', help='write the video while it is made: it can be watched at once')
  sub.add_argument('--raw', action='store_true', help='standard input is 16-bit samples at 16 kHz mono')
  sub.add_argument(
    '--manifest',
    metavar='FILE',
    help='make many: a CSV file or JSON lines with image, audio, output and options; --out is a folder',
  )
  sub.add_argument('--shard', metavar='I/N', help='of many, make every N-th from the I-th on')
  sub.add_argument('--weights', nargs='+', metavar='PATH', help=_WEIGHTS_HELP)

  sub = command('say', _say, 'make a face say a text (needs the extra tts)')
  sub.add_argument('text', help='what to say')
  sub.add_argument('--image', required=True, metavar='FACE', help='picture of a face, or a video of one')
  sub.add_argument('--out', required=True, metavar='VIDEO', help="the video to write; '-' streams to standard output")
  sub.add_argument(
    '--voice', default='en-gb', help='language of eSpeak NG, and how it is spoken, e.g. de, en-us+f3 (default: en-gb)'
  )
  sub.add_argument('--speed', type=int, default=150, metavar='WORDS', help='a minute, 80 to 450 (default: 150)')
  _add_look(sub)
  sub.add_argument('--weights', nargs='+', metavar='PATH', help=_WEIGHTS_HELP)

  sub = command('app', _app, 'open a page in the browser, for this machine only (needs the extra demo)')
  sub.add_argument('--port', type=int, default=7860, help='default: 7860')
  sub.add_argument('--weights', nargs='+', metavar='PATH', help=_WEIGHTS_HELP)

  sub = command('prepare', _prepare, 'convert clips to training data')
  sub.add_argument('dataset', choices=('clips', 'grid', 'lrw', 'lrw_ar'))
  sub.add_argument(
    '--source', required=True, help="folder of the data set, in the corpus' own layout (clips: any videos)"
  )
  sub.add_argument('--out', required=True, help='folder to write')
  sub.add_argument('--workers', type=int, default=None, help='processes (default: one a core)')
  sub.add_argument('--all-faces', action='store_true', help='clips: keep every face, not only the largest at a time')
  sub.add_argument(
    '--sound-offsets',
    metavar='REPORT',
    help='report.json of an earlier conversion of the same clips: put the sound of every speaker in step with the '
    'lips by what it says',
  )
  sub.add_argument(
    '--beam-runner',
    metavar='RUNNER',
    help='convert with this Apache Beam runner instead, e.g. FlinkRunner (needs the extra beam)',
  )
  sub.add_argument(
    '--beam-option',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='option of the Beam pipeline, e.g. direct_num_workers=2; may be given often',
  )
  for name, action in (('beam_runner', 'store'), ('beam_option', 'append')):  # as they were spelt before
    sub.add_argument(f'--{name}', action=action, default=argparse.SUPPRESS, help=argparse.SUPPRESS)

  sub = command('fit-landmarks', _fit_landmarks, 'fit a mean face and its components to converted data, and draw them')
  sub.add_argument('--data', required=True, nargs='+', metavar='DIR', help='folders that prepare wrote')
  sub.add_argument('--out', metavar='DIR', help='folder for the basis and its picture (default: the data set)')
  sub.add_argument('--num-components', type=int, default=6, help='default: 6')
  sub.add_argument(
    '--points',
    choices=('mouth_jaw', 'all'),
    default='mouth_jaw',
    help='what moves; the rest of the face is held still (default: mouth_jaw)',
  )
  sub.add_argument('--asymmetric', action='store_true', help='let the two sides of the face move apart')

  # Its flags are absl's and belong to the loop: they are passed on untouched.
  commands.add_parser('train', add_help=False, help='train a net: --config=configs/….py --workdir=…')

  commands.add_parser(
    'ablate', add_help=False, help='train and score the rows of an ablation table: --config=… --workdir=…'
  )

  commands.add_parser('plan', add_help=False, help='what a training step needs of a TPU slice: --config=… --topology=…')

  sub = command('evaluate', _evaluate, 'score weights on a converted split, or videos beside real ones')
  sub.add_argument('--data', nargs='+', metavar='DIR', help='folders that prepare wrote')
  sub.add_argument('--real', metavar='DIR', help='folder of real videos')
  sub.add_argument('--generated', metavar='DIR', help="folder of anybody's generated videos, of the same names")
  sub.add_argument('--split', default='validation', help='default: validation')
  sub.add_argument('--weights', nargs='+', metavar='PATH', help=_WEIGHTS_HELP)
  sub.add_argument(
    '--protocol',
    default='same-clip',
    choices=('same-clip', 'other-clip', 'cross-speaker', 'published'),
    help='where the example frame is from (default: same-clip, another moment)',
  )
  sub.add_argument('--batch-size', type=int, default=4, help='clips at a time (default: 4)')
  sub.add_argument('--max-clips', type=int, default=None, help='score the first so many clips only')
  sub.add_argument('--lpips', action='store_true', help='LPIPS as well (needs the extra lpips)')
  sub.add_argument(
    '--syncnet-weights', metavar='FILE', help='LSE-C and LSE-D as well, by syncnet_v2.model (extra torch)'
  )
  sub.add_argument(
    '--fid-weights', metavar='FILE', help='FID as well, by pt_inception-2015-12-05-6726825d.pth (extra torch)'
  )
  sub.add_argument('--out', metavar='DIR', help='folder for evaluation.json, .md, .csv, .html and the videos')

  sub = command(
    'robustness', _robustness, 'how the scores fall under noise, shifts and turned heads: tables and curves'
  )
  sub.add_argument('--data', required=True, nargs='+', metavar='DIR', help='folders that prepare wrote')
  sub.add_argument('--split', default='validation', help='default: validation')
  sub.add_argument('--weights', nargs='+', metavar='PATH', help=_WEIGHTS_HELP)
  sub.add_argument('--batch-size', type=int, default=4, help='clips at a time (default: 4)')
  sub.add_argument('--max-clips', type=int, default=None, help='the first so many clips of each folder only')
  sub.add_argument(
    '--out',
    required=True,
    metavar='DIR',
    help='folder for robustness.json, .md, .csv, the curves, and finished points to go on from',
  )

  sub = command('import-torch', _import_torch, "convert the published networks' weights (.pth)")
  sub.add_argument('--at', metavar='PTH', help='AT-net, e.g. atnet_lstm_18.pth')
  sub.add_argument('--vg', metavar='PTH', help='VG-net, e.g. generator_23.pth')
  sub.add_argument('--at-single', metavar='PTH', help='the frame-wise AT-net')
  sub.add_argument('--discriminator', metavar='PTH')
  sub.add_argument('--basics', metavar='DIR', help='PCA bases and mean shapes that came with the weights')
  sub.add_argument('--out', required=True, metavar='DIR', help='folder to write')

  sub = command('release', _release, "pack a training workdir's weights into one small file")
  sub.add_argument('--workdir', required=True)
  sub.add_argument('--out', required=True, metavar='FILE', help='the .npz to write')

  sub = command('export', _export, 'write both nets as StableHLO programs that run without this project')
  sub.add_argument('--out', required=True, metavar='DIR', help='folder to write')
  sub.add_argument('--weights', nargs='+', metavar='PATH', help=_WEIGHTS_HELP)

  commands.add_parser('benchmark', add_help=False, help='measure speed and memory on this machine')  # as for train
  return parser


def _add_look(sub: argparse.ArgumentParser) -> None:
  """Adds the options of how a video looks, and of what is kept beside it."""
  sub.add_argument(
    '--frame',
    choices=('crop', 'full'),
    default='crop',
    help='the face alone, 128x128, or the whole picture at its own size (default: crop)',
  )
  head = sub.add_mutually_exclusive_group()
  head.add_argument('--still', dest='motion', action='store_const', const=None, help='hold head and eyes (the default)')
  head.add_argument(
    '--motion',
    metavar='gentle|VIDEO',
    help='move the head a little and blink: by itself, or as the face in a video does',
  )
  sub.add_argument(
    '--save', default='', metavar='KINDS', help='keep more beside the video: any of landmarks,attention,motion'
  )


def run(argv: Sequence[str]) -> None:
  """Runs one command line (without the program's name); raises InputError on bad input."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # TensorFlow greets at length
  if argv and argv[0] == 'train':
    from atvg_jax.train import loop

    loop.run(list(argv[1:]))
    return
  if argv and argv[0] == 'ablate':
    from atvg_jax.ablate import sweep

    sweep.run(list(argv[1:]))
    return
  if argv and argv[0] == 'plan':
    from atvg_jax.train import plan

    plan.run(list(argv[1:]))
    return
  if argv and argv[0] == 'benchmark':
    from atvg_jax import benchmarks

    benchmarks.run(argv[1:])
    return
  arguments = _parser().parse_args(argv)
  arguments.function(arguments)


def main(argv: Sequence[str] | None = None) -> int:
  """Entry point of the console script: runs the command and returns the exit status."""
  host_memory.keep_freed()
  try:
    run(sys.argv[1:] if argv is None else argv)
  except InputError as error:
    print(f'atvg: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('atvg: interrupted; no unfinished file is left under a final name', file=sys.stderr)
    return 130
  return 0


if __name__ == '__main__':
  sys.exit(main())
