"""What is to be made: a manifest, or every picture with every recording."""

import csv
import glob
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from atvg_jax.generate import side_outputs
from atvg_jax.generate.effects import head_motion
from atvg_jax.generate.generator import check_expressiveness
from atvg_jax.generate.video_maker import Job
from data_pipelines import text_tables
from data_pipelines.errors import InputError
from data_pipelines.media import video_writer

_OPTIONS = ('driving', 'frame', 'motion', 'save', 'face', 'force', 'expressiveness')
_SWITCH = {'yes': True, 'true': True, '1': True, 'no': False, 'false': False, '0': False}
_KEYS = ('image', 'audio', 'output', *_OPTIONS)
_LEAST = ('image', 'output')
_PICTURES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
_SOUNDS = ('.wav', '.mp3', '.m4a', '.flac', '.ogg', '.opus', '.aac', '.mp4', '.mov', '.mkv')


class Item(NamedTuple):
  """One video of a batch, or why there can be none."""

  output: str  # relative to the folder
  job: Job | None
  reason: str = ''


def from_manifest(path: str, out: str, **defaults: Any) -> list[Item]:
  """The items of a CSV file with a header or of a file of JSON lines.

  Keys are `image`, `audio`, `output`, `driving`, `frame`, `motion`, `save` (several divided by '+'), `face`, `force`
  (yes or no) and `expressiveness`; image, output, and audio or driving are needed. Images, sounds and videos are named
  relative to the manifest, outputs to the folder `out`, out of which none leads. `defaults` are fields of `Job` for
  items that do not say.

  Raises:
    InputError: it cannot be read, or is neither. One bad line is a bad item only.
  """
  folder = os.path.dirname(os.path.abspath(path))
  items: list[Item] = []
  taken: dict[str, int] = {}
  for number, entry in _entries(path):
    name = f'line {number}'
    try:
      if isinstance(entry, InputError):
        raise entry
      name = str(entry.get('output') or name)
      job = _job(entry, folder, out, defaults)
      made = [job.out, *side_outputs.paths(job.out, job.save)]
      if same := [path for path in made if path in taken]:
        raise InputError(f'line {number} has the same output as line {taken[same[0]]}: name another')
      taken |= dict.fromkeys(made, number)
      items.append(Item(name, job))
    except InputError as error:
      items.append(Item(name, None, f'line {number} of {path}: {error}'))
  if not items:
    raise InputError(f'{path} lists nothing to make')
  return items


def from_folders(image: str, audio: str, out: str, **options: Any) -> list[Item]:
  """Every picture of one folder with every recording of another; either may be a single file.

  The videos are named PICTURE__RECORDING.mp4; `options` are other fields of `Job`.

  Raises:
    InputError: a folder holds nothing that can be used.
  """
  images, sounds = _files(image, _PICTURES, 'picture'), _files(audio, _SOUNDS, 'sound')
  items, taken = [], set()
  for picture in images:
    for sound in sounds:
      name = f'{_stem(picture)}__{_stem(sound)}.mp4'
      if name in taken:  # a.png and a.jpg
        name = f'{os.path.basename(picture)}__{os.path.basename(sound)}.mp4'
      taken.add(name)
      items.append(Item(name, Job(picture, _inside(out, name), audio=sound, **options)))
  return items


def _entries(path: str) -> Iterator[tuple[int, dict[str, Any] | InputError]]:
  """Lines' numbers with their keys and values, or with what is wrong with them."""
  lines = text_tables.read_lines(path)
  full = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
  if not full:
    return
  if full[0][1].lstrip().startswith('{'):
    for number, line in full:
      try:
        entry = json.loads(line)
        yield number, entry if isinstance(entry, dict) else InputError('it is no JSON object')
      except (ValueError, RecursionError):
        yield number, InputError('it is no JSON')
    return
  try:
    reader = csv.DictReader(lines, restkey='', strict=True, delimiter=text_tables.separator(full[0][1], _KEYS))
    header = [str(name).strip() for name in reader.fieldnames or ()]
    if missing := [key for key in _LEAST if key not in header]:
      raise InputError(
        f'{path} has no column {missing[0]!r}: its first line must name the columns, of {", ".join(_KEYS)}'
      )
    reader.fieldnames = header
    for row in reader:
      yield reader.line_num, {key: value for key, value in row.items() if value}
  except csv.Error as error:
    raise InputError(f'{path} is no CSV file ({error}): give a CSV file or JSON lines') from error


def _job(entry: dict[str, Any], folder: str, out: str, defaults: dict[str, Any]) -> Job:
  if unknown := set(entry) - set(_KEYS):
    raise InputError(f'{min(unknown)!r} is unknown: use {", ".join(_KEYS)}')
  texts = {key: value for key, value in entry.items() if key != 'expressiveness'}
  if wrong := [key for key, value in texts.items() if not isinstance(value, str) or '\0' in value]:
    raise InputError(f'{wrong[0]} is no text')
  if missing := [key for key in _LEAST if not entry.get(key)]:
    raise InputError(f'{missing[0]} is missing')
  sources = {key: os.path.join(folder, entry[key]) for key in ('image', 'audio', 'driving') if entry.get(key)}
  options: dict[str, Any] = {key: entry[key] for key in ('frame', 'motion', 'face') if entry.get(key)}
  if options.get('motion') not in (None, head_motion.GENTLE):
    options['motion'] = os.path.join(folder, options['motion'])
  if entry.get('force'):
    if entry['force'].lower() not in _SWITCH:
      raise InputError(f'force {entry["force"]!r} is neither yes nor no')
    options['force'] = _SWITCH[entry['force'].lower()]
  if entry.get('save'):
    options['save'] = tuple(entry['save'].split('+'))
  if (expressiveness := entry.get('expressiveness', '')) != '':
    try:
      options['expressiveness'] = float(expressiveness)
    except (TypeError, ValueError):
      raise InputError(f'expressiveness {expressiveness!r} is no number') from None
  job = Job(out=_inside(out, entry['output']), **{**defaults, **options, **sources})
  if not job.out.lower().endswith(video_writer.VIDEO_SUFFIXES):
    raise InputError(f'output {entry["output"]!r} must end in {", ".join(video_writer.VIDEO_SUFFIXES)}')
  check_expressiveness(job.expressiveness)
  side_outputs.check(job.save)  # before their names are made of them
  return job


def _inside(out: str, name: str) -> str:
  """The path of an output; raises InputError where it leads out of the folder, be it by a link."""
  folder = os.path.realpath(out)
  path = os.path.join(folder, name)
  try:
    real = os.path.realpath(path)
  except (OSError, ValueError) as error:
    raise InputError(f'output {name!r} is no name of a file') from error
  if os.path.isabs(name) or os.path.commonpath([folder, real]) != folder or real == folder:
    raise InputError(f'output {name!r} leads out of {out}: give a path inside of it')
  return real


def _files(path: str, suffixes: tuple[str, ...], what: str) -> list[str]:
  if not os.path.isdir(path):
    return [path]
  found = [
    file
    for file in sorted(glob.glob(os.path.join(glob.escape(path), '*')))
    if file.lower().endswith(suffixes) and os.path.isfile(file)
  ]
  if not found:
    raise InputError(f'{path} is a directory without any {what} ({", ".join(suffixes)})')
  return found


def _stem(path: str) -> str:
  return os.path.splitext(os.path.basename(path))[0]
