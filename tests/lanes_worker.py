"""Draws many clips in lanes and one by one on simulated devices; prints what differs, and what it took, as JSON."""

import argparse
import json
import sys

import jax
import numpy as np
import random_nets

from atvg_jax.checkpoints import weights
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.lanes.item_threads import spread
from atvg_jax.generate.lanes.lanes import Lanes
from atvg_jax.generate.portrait import Portrait
from data_pipelines import features
from data_pipelines.faces import face_alignment


def portraits(count: int) -> list[Portrait]:
  """Faces with noise for pixels, each with landmarks of its own."""
  rng = np.random.default_rng(1)
  rest = face_alignment.normalise(face_alignment.TEMPLATE)
  return [
    Portrait(
      rng.integers(0, 256, (128, 128, 3), np.uint8),
      (rest + rng.normal(size=rest.shape) * 0.02).astype(np.float32),
      np.eye(2, 3),
      1,
    )
    for _ in range(count)
  ]


def sounds(count: int, shortest: float, longest: float) -> list[np.ndarray]:
  """Noise, of so many seconds, longest first."""
  rng = np.random.default_rng(2)
  seconds = np.linspace(longest, shortest, count)
  return [(rng.normal(size=int(length * features.SAMPLE_RATE)) * 0.1).astype(np.float32) for length in seconds]


class Counter:
  """Programs that were made, and those of them that were compiled and not read from the cache."""

  def __init__(self):
    self.programs = self.compiled = 0
    jax.monitoring.register_event_duration_secs_listener(self._compiled)
    jax.monitoring.register_event_listener(self._cached)

  def _compiled(self, event: str, _: float, **__: object) -> None:
    made = event == '/jax/core/compile/backend_compile_duration'
    self.programs += made
    self.compiled += made

  def _cached(self, event: str, **_: object) -> None:
    self.compiled -= event == '/jax/compilation_cache/cache_hits'


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--devices', type=int, default=1)
  parser.add_argument('--lanes', type=int, default=1)
  parser.add_argument('--window', type=int, default=4)
  parser.add_argument('--clips', type=int, default=60)
  parser.add_argument('--seconds', type=float, nargs=2, default=(0.06, 2.5))
  parser.add_argument('--order', type=int, help='seed of another order than longest first')
  parser.add_argument('--check', type=int, default=10, help='compare every so manyth clip')
  parser.add_argument('--at', default='random')
  parser.add_argument('--vg', default='random')
  asked = parser.parse_args()
  jax.config.update('jax_num_cpu_devices', asked.devices)
  counter = Counter()
  loaded = [
    random_nets.bundle(kind) if name == 'random' else weights.load_net(name, kind)
    for kind, name in (('at', asked.at), ('vg', asked.vg))
  ]
  generator = Generator(*loaded)
  faces, speech = portraits(6), sounds(asked.clips, *asked.seconds)
  numbers = list(range(asked.clips))
  if asked.order is not None:
    np.random.default_rng(asked.order).shuffle(numbers)
  driving = np.random.default_rng(3).normal(size=(1000, features.LANDMARK_SIZE)) * 0.03

  def clip(drawer, number: int) -> np.ndarray:
    face = faces[number % 6]
    if number % 7 == 3:  # followed, not heard; in windows
      length = -(-len(speech[number]) // features.SAMPLES_PER_FRAME)
      landmarks = (face.landmarks + driving[:length]).astype(np.float32)
      split = [landmarks[start : start + asked.window] for start in range(0, length, asked.window)]
      pieces = drawer.draw(face, split, asked.window)
    else:
      pieces = drawer.speak(face, speech[number], asked.window)
    return np.concatenate([piece.frames for piece in pieces])

  with Lanes(generator, asked.lanes, asked.window) as lanes:

    def work(number: int) -> np.ndarray:
      with lanes.at_work():
        return clip(lanes, number)

    together = {numbers[place]: frames for place, frames in spread(work, numbers, lanes.num_threads, lanes.stop)}
    shares = lanes.usage.summary()
  counts = {'programs': counter.programs, 'compiled': counter.compiled}
  worst, frames = 0, sum(len(made) for made in together.values())
  for number in range(0, asked.clips, asked.check):
    alone = clip(generator, number)
    assert alone.shape == together[number].shape and alone.std() > 10
    worst = max(worst, int(np.abs(alone.astype(int) - together[number]).max()))
  print(json.dumps({'worst': worst, **counts, 'frames': frames, **shares._asdict()}))


if __name__ == '__main__':
  sys.exit(main())
