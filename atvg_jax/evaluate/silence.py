"""Whether the mouth rests when nobody speaks: AT-net's answer in pauses between sentences, by what is heard in them."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from atvg_jax import landmarks as lm
from atvg_jax.generate import streaming
from atvg_jax.generate.generator import Generator
from data_pipelines import features
from data_pipelines.augmentation import sounds

PAUSE = 50  # frames
_EDGE = 4, 46  # of a pause: the mouth closes after a sentence, and opens before one
# (kind of `sounds.ALL`, decibels of full scale); digital silence comes first.
CONDITIONS = (
  *((kind, level) for kind in ('white', 'pink', 'brown', 'hum', 'room tone') for level in (-70, -50, -30)),
  ('music', -25),
  ('clicks', -30),
  ('breath', -35),
)


def scores(generator: Generator, speech: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
  """Movement and opening of the mouth in a pause of two seconds between two recordings.

  Args:
    generator: AT-net is used, and its landmark basis.
    speech: float32 [n] at 16 kHz; each is followed by a pause and the next.

  Returns:
    What is heard in the pause → standard deviation and mean of the lips' gap above rest in it, each as a share of that
    in speech, means over the pauses. Both are 0 for a mouth that rests.
  """
  conditions: list[tuple[str, np.ndarray]] = [('digital silence', np.zeros(PAUSE * features.SAMPLES_PER_FRAME))]
  for number, (kind, level) in enumerate(CONDITIONS):
    noise = sounds.ALL[kind](np.random.default_rng(number), PAUSE * features.SAMPLES_PER_FRAME)
    conditions.append((f'{kind}, {level} dB', noise / sounds.rms(noise) * sounds.gain(level)))
  pairs = list(itertools.pairwise(speech))
  return {name: _mean(_pause(generator, *pair, noise) for pair in pairs) for name, noise in conditions}


def _mean(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
  deviation, mean = np.mean(list(values), axis=0)
  return float(deviation), float(mean)


def _pause(generator: Generator, before: np.ndarray, after: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
  frames = len(before) // features.SAMPLES_PER_FRAME
  samples = np.concatenate([before[: frames * features.SAMPLES_PER_FRAME], noise, after]).astype(np.float32)
  example = np.zeros((1, len(generator.basis.components)), np.float32)
  inputs = streaming.at_inputs([samples], generator.at.front_end)
  coefficients = np.concatenate(list(generator.at(example, inputs, streaming.WINDOW)), axis=1)[0]
  gaps = coefficients @ lm.mouth_gap(generator.basis.components * generator.basis.scale)
  pause = gaps[frames + _EDGE[0] : frames + _EDGE[1]]
  speaking = np.concatenate([gaps[:frames], gaps[frames + PAUSE :]])
  return float(pause.std() / speaking.std()), float(pause.mean() / speaking.mean())


def table(made: dict[str, tuple[float, float]]) -> str:
  """`scores` as Markdown."""
  rows = [f'| {name} | {deviation:.2f} | {mean:+.2f} |' for name, (deviation, mean) in made.items()]
  return '\n'.join(['| in the pause | deviation | mean |', '|---|---|---|', *rows])
