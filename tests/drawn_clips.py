"""Clips of a drawn face that speaks: made on the spot, so that tests of the data need no corpus."""

import atexit
import functools
import importlib.resources
import math
import pathlib
import shutil
import tempfile
import wave

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data_pipelines import features, prepare
from data_pipelines.media import video_writer

SIZE = 192


@functools.lru_cache(maxsize=256)
def face(
  opening: float = 0.0,
  shift: tuple[float, float] = (0.0, 0.0),
  skin: tuple[int, int, int] = (215, 165, 140),
) -> np.ndarray:
  """uint8 [192, 192, 3]: a face with its mouth open by 0 to 0.05, moved by some pixels."""
  enlarged = 4 * SIZE
  image = Image.new('RGB', (enlarged, enlarged), (70, 100, 140))
  draw = ImageDraw.Draw(image)

  def ellipse(x, y, width, height, color):
    x, y = (value + offset / SIZE for value, offset in zip((x, y), shift))
    draw.ellipse([value * enlarged for value in (x - width, y - height, x + width, y + height)], fill=color)

  def shade(amount):
    return tuple(int(value * amount) for value in skin)

  hair = (60, 40, 30)
  ellipse(0.5, 1.05, 0.42, 0.22, (50, 50, 70))  # shoulders
  ellipse(0.5, 0.78, 0.11, 0.2, shade(0.87))  # neck
  ellipse(0.5, 0.40, 0.27, 0.33, hair)
  ellipse(0.5, 0.48, 0.225, 0.30, skin)
  ellipse(0.5, 0.235, 0.2, 0.075, hair)
  for x in (0.41, 0.59):
    ellipse(x, 0.375, 0.055, 0.012, (80, 55, 40))  # brow
    ellipse(x, 0.43, 0.042, 0.022, (245, 240, 235))
    ellipse(x, 0.43, 0.019, 0.02, (70, 50, 40))
    ellipse(x, 0.43, 0.009, 0.01, (10, 10, 10))
    ellipse(x, 0.41, 0.05, 0.012, shade(0.87))  # lid
  ellipse(0.5, 0.50, 0.022, 0.075, shade(0.92))  # nose
  ellipse(0.5, 0.565, 0.042, 0.022, shade(0.9))
  for x in (0.48, 0.52):
    ellipse(x, 0.575, 0.01, 0.006, (110, 70, 60))
  ellipse(0.5, 0.665, 0.08, 0.024 + opening, (170, 80, 80))
  ellipse(0.5, 0.665, 0.062, 0.006 + opening, (90, 35, 40))
  return np.asarray(image.filter(ImageFilter.GaussianBlur(9)).resize((SIZE, SIZE), Image.Resampling.BOX))


def openings(num_frames: int) -> np.ndarray:
  """[T]: how far the mouth of a drawn clip is open: it opens every eight frames."""
  return 0.02 * (1 - np.cos(np.arange(num_frames) * math.tau / 8))


def sound(num_frames: int) -> np.ndarray:
  """float32 [640 T]: a hum as loud as the mouth is open."""
  time = np.arange(num_frames * features.SAMPLES_PER_FRAME) / features.SAMPLE_RATE
  loudness = np.interp(time, (np.arange(num_frames) + 0.5) / features.FPS, openings(num_frames)) / 0.04
  hum = sum(np.sin(math.tau * 120 * k * time) / k for k in range(1, 12))
  return (0.02 + 0.3 * loudness * hum / 2).astype(np.float32)


def frames(num_frames: int, **look) -> list[np.ndarray]:
  """The head sways by a pixel or two."""
  return [
    face(float(round(opening, 4)), (round(2 * math.sin(t / 5)), 0), **look)
    for t, opening in enumerate(openings(num_frames))
  ]


def write(
  path: pathlib.Path,
  pictures: list[np.ndarray] | None = None,
  samples: np.ndarray | str | None = 'hum',
  num_frames: int = 20,
) -> pathlib.Path:
  """Writes a clip (as MP4, whatever the name), by default one of the drawn face with its hum."""
  pictures = frames(num_frames) if pictures is None else pictures
  samples = sound(len(pictures)) if isinstance(samples, str) else samples
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_suffix('.mp4')
  with video_writer.VideoWriter(temporary, pictures[0].shape[:2], samples) as writer:
    for picture in pictures:
      writer.append(picture)
  temporary.rename(path)
  return path


def write_grid(root: pathlib.Path, clips: int = 3, num_frames: int = 20) -> pathlib.Path:
  """GRID in its own layout: one speaker, `s1/video/*.mpg` and `s1/align/*.align`."""
  for i in range(clips):
    look = frames(num_frames + i, skin=(211 - i, 162, 138))  # no frame of another clip is the same
    write(root / 's1' / 'video' / f'bbaf{i}n.mpg', look)
    alignment = root / 's1' / 'align' / f'bbaf{i}n.align'
    alignment.parent.mkdir(exist_ok=True)
    alignment.write_text('0 5000 sil\n5000 10000 bin\n10000 15000 blue\n15000 20000 sil\n')
  return root


def write_lrw_ar(root: pathlib.Path, clips: int = 4, num_frames: int = 24) -> pathlib.Path:
  """LRW-AR in its own layout: every third clip of a held-out speaker."""
  rows = ['clip,speaker']
  for i in range(clips):
    name, speaker = f'{i:05d}', ('c01', 'c18', 'c02')[i % 3]
    skin = {'c01': (215, 165, 140), 'c18': (190, 140, 110), 'c02': (230, 185, 165)}[speaker]
    skin = tuple(value - i // 3 for value in skin)  # likewise
    write(root / 'video' / f'{name}.mp4', frames(num_frames + i, skin=skin))
    rows.append(f'{name},{speaker}')
    if i:
      transcript = root / 'transcripts' / f'{name}.csv'
      transcript.parent.mkdir(exist_ok=True)
      transcript.write_text('word\nقال\nإن\n', encoding='utf-8')
  (root / 'speakers.csv').write_text('\n'.join(rows) + '\n')
  return root


def write_lrw(root: pathlib.Path, words: tuple[str, ...] = ('ABOUT', 'YEARS'), num_frames: int = 29) -> pathlib.Path:
  """LRW in its own layout: a clip and its text of each word in each split."""
  for word in words:
    for folder in ('train', 'val', 'test'):
      path = write(root / word / folder / f'{word}_00001.mp4', num_frames=num_frames)
      path.with_suffix('.txt').write_text(f'Word: {word}\nDuration: 0.36 seconds\n')
  return root


def write_clips(root: pathlib.Path, speakers: tuple[str, ...] = ('anna', 'bert'), num_frames: int = 24) -> pathlib.Path:
  """Videos of one's own: a folder for each speaker."""
  for speaker in speakers:
    write(root / speaker / 'talk 1.mp4', num_frames=num_frames)
  return root


@functools.cache
def converted(dataset: str) -> pathlib.Path:
  """A converted set of drawn clips, made once a test process: for tests that only read it."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='atvg_test_'))
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  source = {'grid': write_grid, 'lrw_ar': write_lrw_ar}[dataset](folder / 'source')
  prepare.prepare(dataset, source, folder / dataset, workers=1, progress=False)
  return folder / dataset


def spoken(num_frames: int, late: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
  """The packaged sentence, over and over, and a mouth as wide open as it is loud: samples [640 T], openings [T].

  Args:
    num_frames: T.
    late: seconds by which the sound comes after the mouth.
  """
  with wave.open(str(importlib.resources.files('atvg_jax') / 'assets' / 'demo_speech.wav')) as file:
    sentence = np.frombuffer(file.readframes(file.getnframes()), '<i2') / np.float32(32768)
  samples = np.resize(sentence, num_frames * features.SAMPLES_PER_FRAME)
  loudness = np.sqrt((samples.reshape(num_frames, -1) ** 2).mean(axis=1))
  smooth = np.convolve(loudness, np.hanning(7)[1:-1], 'same')
  opening = 0.04 * np.clip(smooth / np.percentile(smooth, 95), 0, 1)
  delayed = np.pad(samples, (round(late * features.SAMPLE_RATE), 0))[: len(samples)]
  return delayed.astype(np.float32), opening


def write_speaker(path: pathlib.Path, seconds: float = 10.4, late: float = 0.0, **look) -> pathlib.Path:
  """Writes a video of the drawn face saying the packaged sentence, see `spoken`."""
  samples, opening = spoken(round(seconds * features.FPS), late)
  shown = [
    face(round(float(width), 3), (round(2 * math.sin(t / 9)), 0), **look) for t, width in enumerate(opening.tolist())
  ]
  return write(path, shown, samples)
