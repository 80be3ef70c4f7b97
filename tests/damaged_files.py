"""Damaged and unusual video files of many kinds, made of one good clip of a drawn face.

`python tests/damaged_files.py FOLDER COUNT` writes COUNT of them, for `atvg prepare clips --source FOLDER --out DIR`.
"""

import fractions
import functools
import os
import pathlib
import random
import struct
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import av
import drawn_clips
import numpy as np
from PIL import Image

KEPT = 'kept'
ANYTHING = None  # whatever chance has left whole; but no crash, and a line in the report
_FRAMES = 24


class Made(NamedTuple):
  """A file, and what must become of it."""

  path: pathlib.Path
  kind: str
  fates: tuple[str, ...] | None  # KEPT, or reasons


def write(
  path: pathlib.Path,
  pictures: list[np.ndarray],
  sound: np.ndarray | None,
  *,
  rate: int = 16_000,
  layout: str = 'mono',
  sample_format: str = 'fltp',
  sound_codec: str = 'aac',
  codec: str = 'libx264',
  pixels: str = 'yuv420p',
  stamps: list[float] | None = None,
  rotation: int | None = None,
) -> None:
  """A film of any codecs; `sound` is [channels, n] (or [1, n channels] where the format is packed)."""
  with av.open(str(path), 'w') as container:
    video = container.add_stream(codec, rate=25)
    video.height, video.width, video.pix_fmt = *pictures[0].shape[:2], pixels
    video.codec_context.time_base = fractions.Fraction(1, 90_000 if codec == 'libx264' else 25)
    if rotation is not None:
      video.set_display_rotation(rotation)
    audio = None if sound is None else container.add_stream(sound_codec, rate=rate, layout=layout)
    for i, picture in enumerate(pictures):
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
      frame.time_base = video.codec_context.time_base
      frame.pts = round((i / 25 if stamps is None else stamps[i]) / frame.time_base)
      container.mux(video.encode(frame))
    container.mux(video.encode())
    if audio is not None and sound.size:
      frame = av.AudioFrame.from_ndarray(sound, format=sample_format, layout=layout)
      frame.sample_rate, frame.pts, frame.time_base = rate, 0, fractions.Fraction(1, rate)
      container.mux(audio.encode(frame))
    if audio is not None:
      container.mux(audio.encode())


def _hum(rate: int = 16_000) -> np.ndarray:
  """float32 [1, n] at another rate."""
  sound = drawn_clips.sound(_FRAMES)
  places = np.arange(_FRAMES * rate // 25) * 16_000 / rate
  return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)[None]


def _good(path, rng):
  path.write_bytes(_content())


def _truncated(path, rng):
  path.write_bytes(_content()[: rng.randrange(1, len(_content()) - 1)])


def _torn_movie(path, rng):  # its index is at the end: it is lost
  write(path.with_suffix('.mov'), drawn_clips.frames(_FRAMES), _hum())
  content = path.with_suffix('.mov').read_bytes()
  path.with_suffix('.mov').unlink()
  path.write_bytes(content[: len(content) * rng.randrange(10, 80) // 100])


def _flipped(path, rng):
  content = bytearray(_content())
  for _ in range(rng.randrange(1, 200)):
    content[rng.randrange(len(content))] = rng.randrange(256)
  path.write_bytes(content)


def _hole(path, rng):
  content = bytearray(_content())
  start = rng.randrange(len(content))
  end = min(len(content), start + rng.randrange(50, 3000))
  content[start:end] = bytes(end - start)
  path.write_bytes(content)


def _headless(path, rng):
  path.write_bytes(_content()[rng.randrange(4, 2000) :])


def _garbage(path, rng):
  path.write_bytes(rng.randbytes(rng.randrange(1, 20_000)))


def _huge(path, rng):
  """An uncompressed film that says its pictures were 65000 pixels wide."""
  avi = path.with_suffix('.avi')
  write(avi, [np.zeros((16, 16, 3), np.uint8)] * 3, None, codec='rawvideo', pixels='bgr24')
  content = bytearray(avi.read_bytes())
  for place in range(len(content) - 8):
    if content[place : place + 8] == struct.pack('<II', 16, 16):
      content[place : place + 8] = struct.pack('<II', 65_000, 65_000)
  avi.unlink()
  path.write_bytes(content)


def _endless(path, rng):
  """A film that says it took a century."""
  content = bytearray(_content())
  for name in (b'mvhd', b'mdhd'):  # version and flags, two dates, time scale, length
    place = content.find(name)
    while place >= 0:
      content[place + 20 : place + 24] = struct.pack('>I', 0xFFFFFFF0)
      place = content.find(name, place + 4)
  path.write_bytes(content)


def _no_sample(path, rng):
  sound = _hum()
  sound[0, 3000:9000] = np.nan
  write(path, drawn_clips.frames(_FRAMES), sound, sound_codec='pcm_f32le', sample_format='flt')


def _surround(path, rng):
  write(path, drawn_clips.frames(_FRAMES), np.repeat(_hum(48_000), 6, axis=0), rate=48_000, layout='5.1')


def _eight_bits(path, rng):
  sound = np.round((_hum(8000) + 1) * 127).astype(np.uint8)
  write(path, drawn_clips.frames(_FRAMES), sound, rate=8000, sound_codec='pcm_u8', sample_format='u8')


def _odd(path, rng):
  pictures = [picture[: 191 - rng.randrange(2), :189] for picture in drawn_clips.frames(_FRAMES)]
  write(path, pictures, _hum(), codec='ffv1', pixels='bgr0')


def _phone(path, rng):
  turns = rng.choice([1, 2, 3])
  pictures = [np.rot90(picture, turns) for picture in drawn_clips.frames(_FRAMES)]
  write(path, pictures, _hum(), rotation={1: -90, 2: 180, 3: 90}[turns])


def _variable_rate(path, rng):
  steps = np.cumsum([0] + [rng.choice([1, 1, 1, 2]) for _ in range(_FRAMES - 1)])
  pictures = drawn_clips.frames(int(steps[-1]) + 1)
  write(path, [pictures[i] for i in steps], np.tile(_hum(), 3), stamps=[i / 25 for i in steps])


def _one_pixel(path, rng):
  write(path, [np.zeros((1, 1, 3), np.uint8)] * _FRAMES, _hum(), codec='ffv1', pixels='bgr0')


def _anamorphic(path, rng):  # half as wide as it is to be shown
  pictures = [np.asarray(Image.fromarray(picture).resize((96, 192))) for picture in drawn_clips.frames(_FRAMES)]
  write(path, pictures, _hum())


def _link(path, rng):
  target = path.parents[2] / f'elsewhere-{path.name}'
  _good(target, rng)
  path.symlink_to(target)


def _locked(path, rng):
  _good(path, rng)
  path.chmod(0)


# Kind → (how it is made, ending, what becomes of it).
_KINDS: dict[str, tuple[Callable, str, tuple[str, ...] | None]] = {
  'good': (_good, '.mp4', (KEPT,)),
  'truncated': (_truncated, '.mp4', ANYTHING),
  'torn-movie': (_torn_movie, '.mov', ('unreadable',)),
  'flipped': (_flipped, '.mp4', ANYTHING),
  'hole': (_hole, '.mp4', ANYTHING),
  'headless': (_headless, '.mp4', ('unreadable',)),
  'garbage': (_garbage, '.mp4', ANYTHING),
  'empty': (lambda path, rng: path.touch(), '.mp4', ('unreadable',)),
  'text': (lambda path, rng: path.write_text('This is no video.\n' * 50), '.avi', ('unreadable',)),
  'picture': (
    lambda path, rng: Image.fromarray(drawn_clips.face()).save(path, 'PNG'),
    '.mp4',
    ('unreadable', 'no sound'),
  ),
  'other-ending': (_good, '.avi', (KEPT,)),
  'no-ending': (_good, '', (KEPT,)),
  'no-sound': (lambda path, rng: write(path, drawn_clips.frames(_FRAMES), None), '.mp4', ('no sound',)),
  'sound-of-no-length': (
    lambda path, rng: write(path, drawn_clips.frames(_FRAMES), np.zeros((1, 0), np.float32)),
    '.mkv',
    ('no sound',),
  ),
  'silence': (lambda path, rng: write(path, drawn_clips.frames(_FRAMES), 0 * _hum()), '.mp4', ('silent',)),
  'no-picture': (lambda path, rng: _sound_only(path), '.mp4', ('unreadable',)),
  'one-frame': (lambda path, rng: write(path, drawn_clips.frames(1), _hum()), '.mp4', ('unreadable', 'too short')),
  'five-frames': (lambda path, rng: write(path, drawn_clips.frames(5), _hum()), '.mp4', ('too short',)),
  'no-face': (
    lambda path, rng: write(path, [np.full((96, 96, 3), 90, np.uint8)] * _FRAMES, _hum()),
    '.mp4',
    ('no face',),
  ),
  'nan': (_no_sample, '.mkv', (KEPT,)),
  'surround': (_surround, '.mp4', (KEPT,)),
  'eight-bits': (_eight_bits, '.mkv', (KEPT,)),
  'odd': (_odd, '.mkv', (KEPT,)),
  'phone': (_phone, '.mp4', (KEPT,)),
  # The drawn head moves by whole pixels: two of them at once, where a frame is missing, look like a jump cut.
  'variable-rate': (_variable_rate, '.mp4', (KEPT, 'too short')),
  'one-pixel': (_one_pixel, '.mkv', ('no face',)),
  'thin': (_anamorphic, '.mp4', ANYTHING),
  'huge': (_huge, '.avi', ('unreadable', 'no sound')),
  'endless': (_endless, '.mp4', ANYTHING),
  'name-日本語 ñ (1)': (_good, '.mp4', (KEPT,)),
  'name-\udcff\udcfe': (_good, '.mp4', ANYTHING),  # bytes that are no UTF-8: libav cannot open every one
  'link': (_link, '.mp4', (KEPT,)),
  'dangling': (lambda path, rng: path.symlink_to(path.with_name('nowhere.mp4')), '.mp4', ('unreadable',)),
  'folder': (lambda path, rng: path.mkdir(), '.mp4', ('unreadable',)),
  'pipe': (lambda path, rng: os.mkfifo(path), '.mp4', ('unreadable',)),
}
if os.geteuid():  # the superuser may read everything
  _KINDS['locked'] = (_locked, '.mp4', ('unreadable',))


def make(folder: pathlib.Path, count: int, seed: int = 0, endings: tuple[str, ...] | None = None) -> list[Made]:
  """Writes `count` files, of each kind in turn; `endings` names those that are wanted."""
  rng, made = random.Random(seed), []
  kinds = [kind for kind in _KINDS.items() if endings is None or kind[1][1] in endings]
  folder.mkdir(parents=True, exist_ok=True)
  for i in range(count):
    kind, (function, ending, fates) = kinds[i % len(kinds)]
    path = folder / f'{i:04d}-{kind}{ending}'
    function(path, rng)
    made.append(Made(path, kind, fates))
  return made


def _sound_only(path: pathlib.Path) -> None:
  with av.open(str(path), 'w') as container:
    audio = container.add_stream('aac', rate=16_000, layout='mono')
    frame = av.AudioFrame.from_ndarray(_hum(), format='fltp', layout='mono')
    frame.sample_rate = 16_000
    container.mux(audio.encode(frame))
    container.mux(audio.encode())


@functools.cache
def _content() -> bytes:
  """A good film."""
  with tempfile.TemporaryDirectory() as folder:
    return drawn_clips.write(pathlib.Path(folder, 'a.mp4'), num_frames=_FRAMES).read_bytes()


if __name__ == '__main__':
  for file in make(pathlib.Path(sys.argv[1]) / 'anna', int(sys.argv[2])):
    print(file.path.name)
