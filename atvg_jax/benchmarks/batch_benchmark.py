"""A manifest from files to files, against the rate at which the nets alone draw in the same run.

Both rates are by the clock, and by the processors: beside other work the clock tells little, and what the processors
do for a frame stays. Where they are what limits, the share of the drawing in it is the rate that can be had.
"""

import argparse
import os
import tempfile
import time
from typing import NamedTuple

import jax
import numpy as np

from atvg_jax.benchmarks import generate_benchmark
from atvg_jax.generate import demo, many_videos, streaming
from atvg_jax.generate.lanes.lane_programs import LanePrograms, NewClip, Window
from atvg_jax.generate.lanes.lanes import default_lanes
from atvg_jax.generate.manifest import Item
from atvg_jax.generate.video_maker import Job, VideoMaker
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio


class Rate(NamedTuple):
  """Frames a second, by the clock and by the processors together."""

  clock: float
  processors: float


def run(argv: list[str]) -> None:
  """Makes the videos of a manifest, and prints a table.

  Raises:
    InputError: bad options or weights.
  """
  parser = argparse.ArgumentParser(prog='atvg benchmark batch', description=__doc__)
  parser.add_argument('--weights', nargs='+', metavar='PATH', help='as of atvg generate')
  parser.add_argument('--clips', type=int, default=100, help='videos to make')
  parser.add_argument('--seconds', type=float, nargs='+', default=[5.0], help='of a clip; two: evenly between them')
  parser.add_argument('--frame', choices=('crop', 'full', 'mixed'), default='crop')
  parser.add_argument('--lanes', type=int, help='clips that a device draws at a time')
  parser.add_argument('--devices', type=int, help='simulated ones')
  parser.add_argument('--dtype', choices=('float32', 'bfloat16'), help='that VG-net computes in')
  parser.add_argument('--windows', type=int, default=100, help='that the nets alone draw, before and after')
  arguments = parser.parse_args(argv)
  shortest, longest = min(arguments.seconds), max(arguments.seconds)
  if min(arguments.clips, arguments.windows) < 1 or shortest <= 0 or len(arguments.seconds) > 2:
    raise InputError('--clips and --windows must be 1 or more, --seconds one or two numbers above 0')
  if arguments.devices:
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', arguments.devices)
  maker = VideoMaker(arguments.weights)
  if arguments.dtype:
    maker.generator.vg = streaming.VgStream(maker.generator.bundles['vg'], arguments.dtype)
  with tempfile.TemporaryDirectory() as folder:
    items = make_items(folder, arguments.clips, (shortest, longest), arguments.frame)
    table = measure(maker, items, os.path.join(folder, 'videos'), arguments.lanes, arguments.windows)
  table['peak memory, MB'] = generate_benchmark.peak_memory()
  for name, value in table.items():
    print(f'{name:<52}{value:,.2f}')


def make_items(folder: str, clips: int, seconds: tuple[float, float], frame: str) -> list[Item]:
  """Items of the demo's portrait, and of its speech cut at other places for each."""
  speech = audio.read_audio(demo.speech())
  items = []
  for number, length in enumerate(np.linspace(*seconds, clips)):
    samples = np.resize(np.roll(speech, -number * 4000), int(length * features.SAMPLE_RATE))
    path = os.path.join(folder, f'{number}.wav')
    generate_benchmark.write_wav(path, samples)
    look = frame if frame != 'mixed' else ('crop', 'full')[number % 2]
    name = f'{number}.mp4'
    items.append(Item(name, Job(demo.portrait(), os.path.join(folder, 'videos', name), audio=path, frame=look)))
  return items


def measure(maker: VideoMaker, items: list[Item], out: str, lanes: int | None, windows: int) -> dict[str, float]:
  """Draws without files, makes the items, and draws again; name with unit → number."""
  programs = LanePrograms(maker.generator, lanes or default_lanes(), streaming.default_window())
  rates = [draw_rate(programs, windows)]
  warm = f'{out}-warm'  # what is made first compiles what there is to compile
  for folder in (out, warm):
    os.makedirs(folder, exist_ok=True)
  first = [item._replace(job=item.job._replace(out=os.path.join(warm, item.output))) for item in items[:2] if item.job]
  many_videos.make(first, warm, maker=maker, lanes=lanes)
  clock, processors = time.perf_counter(), time.process_time()
  made = many_videos.make(items, out, maker=maker, lanes=lanes)
  clock, processors = time.perf_counter() - clock, time.process_time() - processors
  if failed := [row for row in made.rows if row.status != 'made']:
    raise InputError(f'{failed[0].output} could not be made: {failed[0].reason}')
  assert made.shares is not None
  rates.append(draw_rate(programs, windows))
  frames = sum(row.frames for row in made.rows)
  alone = Rate(*(float(np.mean(values)) for values in zip(*rates)))
  return {
    'devices': jax.local_device_count(),
    'lanes': programs.num_lanes,
    'the nets alone, frames/s': alone.clock,
    'the nets alone, frames/s of the processors': alone.processors,
    'from files to files, frames/s': frames / clock,
    'from files to files, frames/s of the processors': frames / processors,
    'from files to files / the nets alone': frames / clock / alone.clock,
    'from files to files / the nets alone, processors': frames / processors / alone.processors,
    'lanes that were busy, share': made.shares.occupancy,
    'steps': made.shares.steps,
    'time in which the devices drew, share': made.shares.drawing,
    'threads that read, mean': made.shares.reading,
    'threads that pasted and encoded, mean': made.shares.writing,
  }


def draw_rate(programs: LanePrograms, windows: int) -> Rate:
  """Of VG-net in all lanes, from landmarks that are there."""
  rest = face_alignment.normalise(face_alignment.TEMPLATE).astype(np.float32)
  rng = np.random.default_rng(0)
  size, count = features.IMAGE_SIZE, programs.num_coefficients
  image = rng.integers(0, 256, (size, size, 3), np.uint8)
  programs.refill({lane: NewClip(image, rest, np.zeros(count, np.float32), rest) for lane in range(programs.num_lanes)})
  landmarks = rest + rng.normal(scale=0.05, size=(programs.window, len(rest))).astype(np.float32)
  step = {lane: Window(None, landmarks, programs.window) for lane in range(programs.num_lanes)}
  programs.draw(step, maps=False).fetched()
  clock, processors = time.perf_counter(), time.process_time()
  before = None
  for _ in range(windows):
    drawn = programs.draw(step, maps=False)
    if before is not None:
      before.fetched()
    before = drawn
  assert before is not None
  before.fetched()
  frames = windows * programs.num_lanes * programs.window
  return Rate(frames / (time.perf_counter() - clock), frames / (time.process_time() - processors))
