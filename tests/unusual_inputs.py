"""Damaged and unusual pictures, recordings, videos and manifests, as commands: each must end in a video or a sentence.

`python tests/unusual_inputs.py FOLDER COUNT [SEED]` runs COUNT; its status is 1 where any is wrong or takes over 2 GB.
"""

import collections
import contextlib
import functools
import gc
import io
import json
import os
import pathlib
import random
import resource
import shutil
import struct
import sys
import tempfile
import wave
from collections.abc import Callable
from typing import NamedTuple

import av
import damaged_files
import numpy as np
import random_nets
from demo_samples import demo_speech
from PIL import Image

from atvg_jax import cli
from atvg_jax.app import studio
from atvg_jax.generate import demo, video_maker
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader

_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF', 'BMP', 'PPM', 'TGA', 'ICO', 'JPEG2000', 'AVIF')
_MODES = ('RGB', 'RGB', 'RGB', 'L', 'RGBA', 'LA', 'P', 'CMYK', 'I;16', '1', 'YCbCr', 'F')
_CODECS = (
  ('.wav', 'pcm_s16le', 's16'),
  ('.wav', 'pcm_f32le', 'flt'),
  ('.wav', 'pcm_u8', 'u8'),
  ('.wav', 'pcm_s24le', 's32'),
  ('.wav', 'pcm_mulaw', 's16'),
  ('.mp3', 'mp3', 'fltp'),
  ('.m4a', 'aac', 'fltp'),
  ('.flac', 'flac', 's16'),
  ('.opus', 'libopus', 'flt'),
  ('.mkv', 'aac', 'fltp'),
  ('.aiff', 'pcm_s16be', 's16'),
)
_NAMES = (
  'a b',
  '-a',
  "it's",
  'ünï',
  '日本語',
  'a%d',
  'a:b',
  'file:a',
  '*',
  '[a]',
  '~',
  '$HOME',
  'new\nline',
  'n' * 200,
  'a\\b',
  '\udcff\udcfe',
)


class Outcome(NamedTuple):
  """What came of one command."""

  kind: str
  status: int
  told: str  # the sentence, or what is wrong
  wrong: bool


Made = tuple[str, list[str]]  # a kind, and the command's arguments


def picture(path: pathlib.Path, rng: random.Random) -> str:
  """A picture of any format, mode, size and position, damaged or not; returns its kind."""
  special = {
    'empty': lambda: path.touch(),
    'folder': lambda: path.mkdir(),
    'pipe': lambda: os.mkfifo(path),
    'loop': lambda: path.symlink_to(path.name),
    'text': lambda: path.write_text('<svg/>' * rng.randrange(1, 500)),
    'noise': lambda: path.write_bytes(rng.randbytes(rng.randrange(1, 20_000))),
    'bomb': lambda: Image.new('1', (9000, 9000)).save(path, 'PNG'),
    'strip': lambda: Image.new('L', (rng.randrange(1, 4), 30_000)).save(path, 'PNG'),
    'missing': lambda: None,
  }
  if rng.random() < 0.2:
    kind = rng.choice(sorted(special))
    special[kind]()
    return f'picture: {kind}'
  form, mode = rng.choice(_FORMATS), rng.choice(_MODES)
  image = _face().resize((rng.randrange(20, 300), rng.randrange(20, 350)) if rng.random() < 0.3 else (160, 188))
  image = image.rotate(rng.choice([0, 0, 0, 90, 180, 270, 15, -30]), expand=True)
  if mode == 'I;16':
    image = Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257)
  elif mode != 'RGB':
    image = image.convert(mode)
  options = {}
  if form in ('JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF'):
    options['exif'] = Image.Exif()
    options['exif'][0x0112] = rng.randrange(0, 12)  # orientation
  content = io.BytesIO()
  try:
    image.save(content, form, **options)
  except (OSError, ValueError, KeyError):  # not every format has every mode
    content = io.BytesIO()
    image.convert('RGB').save(content, form, **options)
  harm, changed = _harmed(content.getvalue(), rng)
  path.write_bytes(changed)
  return f'picture: {harm}'


def sound(path: pathlib.Path, rng: random.Random) -> str:
  """A recording of any codec, rate and layout, damaged or not; returns its kind."""
  special = {
    'empty': lambda: path.touch(),
    'folder': lambda: path.mkdir(),
    'noise': lambda: path.write_bytes(rng.randbytes(rng.randrange(1, 20_000))),
    'list': lambda: path.write_text('#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n'),
    'picture': lambda: _face().save(path, 'JPEG'),
    'header': lambda: path.write_bytes(_wave_header(rng)),
    'missing': lambda: None,
  }
  if rng.random() < 0.2:
    kind = rng.choice(sorted(special))
    special[kind]()
    return f'sound: {kind}'
  suffix, codec, form = rng.choice(_CODECS)
  rate = 48_000 if codec in ('libopus', 'mp3', 'aac') else rng.choice([16_000, 48_000, 8_000, 44_100, 96_000])
  channels = rng.choice([1, 1, 2, 6]) if codec != 'mp3' else 1
  samples = _samples(rng, rate)
  samples = samples if codec == 'pcm_f32le' else np.nan_to_num(samples)  # AAC's encoder refuses what is no number
  with tempfile.TemporaryDirectory() as folder:
    made = pathlib.Path(folder, f'a{suffix}')
    layout = {1: 'mono', 2: 'stereo', 6: '5.1'}[channels]
    with av.open(str(made), 'w') as container:
      stream = container.add_stream(codec, rate=rate, layout=layout)
      signs = rng.choice([1, 1, -1])
      planes = np.stack([samples * (signs if i % 2 else 1) for i in range(channels)])
      frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes, np.float32), format='fltp', layout=layout)
      frame.sample_rate = rate
      for part in [] if not len(samples) else av.AudioResampler(format=form, layout=layout, rate=rate).resample(frame):
        container.mux(stream.encode(part))
      container.mux(stream.encode())
    harm, changed = _harmed(made.read_bytes() if made.exists() else b'', rng)  # of no sound some write no file
  path.write_bytes(changed)
  return f'sound: {harm}'


def _of_picture(folder: pathlib.Path, rng: random.Random) -> Made:
  path = folder / f'{_name(rng)}{rng.choice([".jpg", ".png", "", ".JPEG", ".gif"])}'
  kind = picture(path, rng)
  frame = rng.choice(['crop', 'crop', 'full'])
  return kind, ['generate', f'--image={path}', '--audio', _speech(folder), f'--frame={frame}']


def _of_sound(folder: pathlib.Path, rng: random.Random) -> Made:
  path = folder / f'{_name(rng)}{rng.choice([".wav", ".mp3", "", ".mp4"])}'
  kind = sound(path, rng)
  return kind, ['generate', f'--image={demo.portrait()}', f'--audio={path}']


def _of_video(folder: pathlib.Path, rng: random.Random) -> Made:
  kinds = sorted(set(damaged_files._KINDS) - {'name-\udcff\udcfe'})
  kind = rng.choice(kinds)
  function, ending, _ = damaged_files._KINDS[kind]
  path = folder / 'deep' / 'deeper' / f'video{ending or ".mp4"}'
  path.parent.mkdir(parents=True)
  function(path, rng)
  how = rng.choice(['image', 'driving', 'motion'])
  portrait = demo.portrait()
  arguments = {
    'image': [f'--image={path}', '--audio', _speech(folder)],
    'driving': [f'--image={portrait}', f'--driving={path}'],
    'motion': [f'--image={portrait}', '--audio', _speech(folder), f'--motion={path}'],
  }
  return f'video as {how}: {kind}', ['generate', *arguments[how]]


def _of_manifest(folder: pathlib.Path, rng: random.Random) -> Made:
  _speech(folder)
  shutil.copy(demo.portrait(), folder / 'face.jpg')
  row = {'image': 'face.jpg', 'audio': 'speech.wav', 'output': 'a.mp4'}
  for _ in range(rng.randrange(3)):
    key = rng.choice(['image', 'audio', 'output', 'frame', 'motion', 'save', 'driving', 'colour'])
    row[key] = rng.choice(
      ['', 'none.jpg', '../a.mp4', '/etc/passwd', 'full', 'landmarks', 'ü\t', 'a.mp4', '0', '\0', '"']
    )
  rows = [row] + [row | {'output': rng.choice(['b.mp4', 'a.mp4', 'c.gif', 'd/e.mp4'])}] * rng.randrange(2)
  if rng.random() < 0.4:
    text = '\n'.join(json.dumps(row) for row in rows)
  else:
    sign = rng.choice([',', ';', '\t', '|'])
    text = '\n'.join([sign.join(row), *(sign.join(row.values()) for row in rows)])
  content = text.encode(rng.choice(['utf-8', 'utf-8', 'utf-8-sig', 'utf-16', 'latin-1']), errors='replace')
  harm, content = _harmed(content, rng) if rng.random() < 0.3 else ('whole', content)
  path = folder / f'list{rng.choice([".csv", ".jsonl", ""])}'
  path.write_bytes(content)
  return f'manifest: {harm}', ['generate', f'--manifest={path}']


_KINDS: tuple[tuple[int, Callable[[pathlib.Path, random.Random], Made]], ...] = (
  (34, _of_picture),
  (30, _of_sound),
  (22, _of_video),
  (14, _of_manifest),
)


def run(folder: pathlib.Path, count: int, seed: int = 0) -> list[Outcome]:
  """Runs `count` commands, and hands every fifth picture and recording to the page too."""
  rng, maker = random.Random(seed), video_maker.VideoMaker(random_nets.save(folder))
  original, once = video_maker.VideoMaker, {'__new__': lambda *args: maker}  # compiled once
  video_maker.VideoMaker = type('Once', (original,), once)
  page = studio.Studio()
  makers = [make for weight, make in _KINDS for _ in range(weight)]
  outcomes = []
  try:
    for number in range(count):
      case = random.Random(rng.random())
      place = folder / f'{number:04d}'
      place.mkdir()
      kind, arguments = case.choice(makers)(place, case)
      outcomes.append(_command(kind, arguments, place))
      if number % 5 == 0 and kind.startswith(('picture', 'sound')):
        outcomes.append(_page(page, kind, arguments, place))
      shutil.rmtree(place)
  finally:
    video_maker.VideoMaker = original
  return outcomes


def _command(kind: str, arguments: list[str], place: pathlib.Path) -> Outcome:
  """Runs a command whose output is a folder for a manifest, and a video else, and looks at what is there after it."""
  many = arguments[1].startswith('--manifest')
  out, before = place / 'out', _files(place)
  out.mkdir()
  target = out if many else out / 'video.mp4'
  told, printed = io.StringIO(), io.StringIO()
  try:
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(printed):
      status = cli.main([*arguments, f'--out={target}'])
      gc.collect()  # what fails when it is forgotten is told here, and not in a later case
  except BaseException as error:
    return Outcome(kind, -1, f'{arguments}: {type(error).__name__}: {error}', True)
  said = [line for line in told.getvalue().splitlines() if line.startswith('atvg: ')]
  left = _files(out)
  wrong = ''
  if status not in (0, 2):
    wrong = f'status {status}'
  elif _files(place) - {f'out/{name}' for name in left} - {'out'} != before:
    wrong = 'something beside the output'
  elif many:
    wrong = _wrong_batch(out, left, status)
  elif status == 2:
    wrong = f'{left} is left' if left else '' if said and told.getvalue().endswith('\n') else 'no sentence'
  else:
    wrong = _wrong_video(target, left)
  if 'Traceback' in told.getvalue():
    wrong = f'a traceback:\n{told.getvalue()}'
  sentence = said[-1] if said else ''
  return Outcome(kind, status, f'{arguments}: {wrong}: {sentence}' if wrong else sentence, bool(wrong))


def _wrong_video(path: pathlib.Path, left: set[str]) -> str:
  if left != {path.name}:
    return f'{left} instead of {path.name}'
  return '' if _frames(path) else 'no whole video'


def _frames(path: str | pathlib.Path) -> int:
  """How many frames a video has: one is enough for a sound of a moment."""
  with av.open(str(path)) as container:
    return sum(1 for _ in container.decode(video=0))


def _wrong_batch(out: pathlib.Path, left: set[str], status: int) -> str:
  if not left:
    return '' if status == 2 else 'nothing made'
  rows = json.loads((out / 'summary.json').read_text())
  made = {os.path.normpath(row['output']) for row in rows if row['status'] == 'made'}
  videos = {name for name in left if name.endswith('.mp4') and not name.endswith(('.attention.mp4', '.motion.mp4'))}
  if made != videos or (status == 0) != all(row['status'] == 'made' for row in rows):
    return f'{rows} and {left}'
  return next((name for name in left if os.path.basename(name).startswith('.')), '')


def _page(page: studio.Studio, kind: str, arguments: list[str], place: pathlib.Path) -> Outcome:
  """The same files on the page."""
  image, recording = (argument.partition('=')[2] or argument for argument in (arguments[1], arguments[-1]))
  recording = arguments[3] if arguments[2] == '--audio' else recording
  before = _files(place)
  try:
    with contextlib.redirect_stderr(io.StringIO()):
      for path in page.video(image, studio.Speech(recording), 'crop', lambda done, total: None):
        assert _frames(path)
    told, wrong = '', False
  except InputError as error:
    told = str(error)
    wrong = str(place) in told or not told.endswith('.') or 'cannot be used: try others' in told
  except BaseException as error:
    told, wrong = f'{type(error).__name__}: {error}', True
  return Outcome(
    f'page: {kind}', 2 if told else 0, f'{arguments}: {told}' if wrong else told, wrong or _files(place) != before
  )


def _files(folder: pathlib.Path) -> set[str]:
  return {str(path.relative_to(folder)) for path in folder.rglob('*') if not path.is_dir() or path.is_symlink()}


@functools.cache
def _face() -> Image.Image:
  return Image.fromarray(video_reader.read_image(demo.portrait()))


def _name(rng: random.Random) -> str:
  return rng.choice(_NAMES) if rng.random() < 0.3 else 'input'


def _speech(folder: pathlib.Path) -> str:
  """A fifth of a second."""
  path = folder / 'speech.wav'
  with wave.open(str(path), 'wb') as file:
    file.setparams((1, 2, 16_000, 0, 'NONE', ''))
    file.writeframes((demo_speech()[:3_200] * 32767).astype('<i2').tobytes())
  return str(path)


def _samples(rng: random.Random, rate: int) -> np.ndarray:
  """Speech, noise, silence or nonsense, up to half a second."""
  count = rng.choice([0, 1, 100, rate // 10, rate // 4, rate // 2]) if rng.random() < 0.5 else rate // 4
  speech = np.interp(np.arange(count) * 16_000 / rate, np.arange(32_000), demo_speech()).astype(np.float32)
  kind = rng.random()
  if kind < 0.1:
    return 0 * speech
  if kind < 0.2:
    return speech + 0.9
  if kind < 0.3:
    return 50 * speech
  if kind < 0.4:
    return np.where(np.arange(count) % 7 == 0, np.nan, speech).astype(np.float32)
  return speech


def _wave_header(rng: random.Random) -> bytes:
  """A WAV that says anything of itself."""
  fields = (rng.choice([1, 3, 6, 7, 65534]), rng.randrange(0, 70), rng.choice([0, 1, 16_000, 2**31]))
  return (
    b'RIFF'
    + struct.pack('<I', rng.randrange(2**32))
    + b'WAVEfmt '
    + struct.pack('<IHHIIHH', 16, *fields, 32_000, rng.randrange(9), rng.choice([0, 4, 8, 16, 24, 64]))
    + b'data'
    + struct.pack('<I', rng.randrange(2**32))
    + rng.randbytes(3_000)
  )


def _harmed(content: bytes, rng: random.Random) -> tuple[str, bytes]:
  """What was done to a file, and what it is then."""
  kind = rng.choice(['whole', 'whole', 'whole', 'cut', 'flipped', 'hole', 'headless', 'longer'])
  if kind == 'cut':
    return kind, content[: rng.randrange(len(content) + 1)]
  if kind == 'flipped':
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 30)):
      if changed:
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return kind, bytes(changed)
  if kind == 'hole':
    start = rng.randrange(len(content) + 1)
    size = min(len(content) - start, rng.randrange(1, 2_000))
    return kind, content[:start] + bytes(size) + content[start + size :]
  if kind == 'headless':
    return kind, content[rng.randrange(1, 200) :]
  if kind == 'longer':
    return kind, content + rng.randbytes(rng.randrange(1, 5_000))
  return kind, content


if __name__ == '__main__':
  results = run(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
  for (kind, status), number in sorted(collections.Counter((one.kind, one.status) for one in results).items()):
    print(f'{number:4d} {kind}: {status}')
  wrong = [one for one in results if one.wrong]
  sys.stdout.writelines(f'WRONG {one}\n' for one in wrong)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # GiB
  print(f'In all {len(results)}, wrong {len(wrong)}, {peak:.2f} GiB')
  sys.exit(1 if wrong or peak > 2 else 0)
