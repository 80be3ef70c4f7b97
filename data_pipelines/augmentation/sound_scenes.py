"""Scenes: training windows composed of one speaker's clips, pauses, and what else is heard; NumPy.

A scene replaces the window that would be cut out of one clip. What is not speech has a mouth at rest as its target.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_pipelines import features
from data_pipelines.augmentation import sounds

_RATE = features.SAMPLES_PER_FRAME
_NOTHING = 0.1  # share of scenes without any speech
_PLAIN = 0.15  # share of scenes with speech that are left clean
_POOL, _POOL_SECONDS = 40, 4  # pieces of each kind of sound, made once: music takes long
_CODECS = (
  ('libmp3lame', 24_000, 16_000),
  ('libmp3lame', 24_000, 22_050),
  ('libmp3lame', 16_000, 16_000),
  ('libopus', 12_000, 16_000),
)
_QUIET, _QUIET_FRAMES = 26, 8  # decibels below a clip's loud frames, and how many such frames are a pause
CLOSED = -1.0  # a rest gap below any: `rest_gaps` of frames without speech


class Clip(NamedTuple):
  """What a scene needs of a clip."""

  samples: np.ndarray  # int16 [640 T]
  landmarks: np.ndarray  # float32 [T, 136]
  rest: np.ndarray  # float32 [136]


class Window(NamedTuple):
  """A scene.

  Attributes:
    samples: int16 [640 T].
    landmarks: float32 [T, 136]: `rest`, moved as each clip's face moves from its own rest.
    rest: float32 [136], of the first clip.
    rest_gaps: float32 [T]: gap of the inner lips in the rest of each frame's clip, CLOSED where nobody speaks.
    weights: float32 [T]: of the frames in the loss; less at the ends of clips, where sound and face do not fit.
  """

  samples: np.ndarray
  landmarks: np.ndarray
  rest: np.ndarray
  rest_gaps: np.ndarray
  weights: np.ndarray


class _Voice(NamedTuple):
  """Clips in a window, before anything is done to the sound."""

  samples: np.ndarray  # float32 [640 T]
  deviations: np.ndarray  # [T, 136]
  rest_gaps: np.ndarray  # [T]
  weights: np.ndarray  # [T]
  speaking: np.ndarray  # bool [T]


@dataclasses.dataclass(frozen=True)
class Scene:
  """The op 'scene': for trainings whose batches hold sound, in the place of windows of single clips.

  Attributes:
    strength: factor on how often the sound is changed.
  """

  strength: float = 1.0

  def __call__(
    self,
    rng: np.random.Generator,
    length: int,
    clip: Clip,
    draw_own: Callable[[], Clip],
    draw_voice: Callable[[], Clip],
  ) -> Window:
    """Composes a window.

    Args:
      rng: all its choices.
      length: frames T.
      clip: that it is about.
      draw_own: () → another clip of the speaker, or the same.
      draw_voice: () → a clip of anybody, for babble.
    """
    if rng.random() < _NOTHING:
      silent = _Voice(*_empty(length))
      return _window(_nothing(rng, length), silent, clip.rest)
    voice = _alone(rng, length, clip) if rng.random() < 0.55 else _in_turn(rng, length, clip, draw_own)
    samples = voice.samples
    if voice.speaking.any() and rng.random() >= _PLAIN:
      samples = _change(rng, samples, voice.speaking, draw_voice, self.strength)
    return _window(samples, voice, clip.rest)


OPS = {'scene': Scene}


def _window(samples: np.ndarray, voice: _Voice, rest: np.ndarray) -> Window:
  return Window(
    features.sound_to_int16(samples),
    (rest + voice.deviations).astype(np.float32),
    rest,
    voice.rest_gaps,
    voice.weights,
  )


def _empty(length: int) -> tuple[np.ndarray, ...]:
  return (
    np.zeros(length * _RATE, np.float32),
    np.zeros((length, features.LANDMARK_SIZE), np.float32),
    np.full(length, CLOSED, np.float32),
    np.ones(length, np.float32),
    np.zeros(length, bool),
  )


def _alone(rng: np.random.Generator, length: int, clip: Clip) -> _Voice:
  """One clip with a pause before and after it, as far as there is room."""
  voice, frames = _Voice(*_empty(length)), len(clip.landmarks)
  if frames > length:
    place = int(rng.integers(length - frames - length // 2, length // 2 + 1))
  elif rng.random() < 0.2:  # half outside
    place = int(rng.integers(length - frames - 8, length - frames + 9) if rng.random() < 0.5 else rng.integers(-8, 9))
  else:
    place = int(rng.integers(0, length - frames + 1))
  _put(voice, clip, place)
  return voice


def _in_turn(rng: np.random.Generator, length: int, clip: Clip, draw_own: Callable[[], Clip]) -> _Voice:
  """Clips of the speaker one after the other, some with short pauses between them."""
  voice = _Voice(*_empty(length))
  place = -int(rng.integers(0, max(1, len(clip.landmarks) - 6)))
  while place < length:
    _put(voice, clip, place)
    place += len(clip.landmarks) + (0 if rng.random() < 0.35 else int(rng.integers(2, 14)))
    clip = draw_own() if rng.random() < 0.5 else clip
  return voice


def _put(voice: _Voice, clip: Clip, place: int) -> None:
  """Writes a clip into the arrays of a window, from frame `place` on."""
  length, frames = len(voice.weights), len(clip.landmarks)
  begin, end = max(0, place), min(length, place + frames)
  if begin >= end:
    return
  inside = slice(begin - place, end - place)
  sound = _fade(features.sound_to_float(clip.samples[: frames * _RATE]))
  voice.samples[begin * _RATE : end * _RATE] += sound[inside.start * _RATE : inside.stop * _RATE]
  voice.deviations[begin:end] = (clip.landmarks - clip.rest)[inside]
  voice.rest_gaps[begin:end] = features.inner_lip_gaps(clip.rest.reshape(-1, 2)).mean()
  voice.speaking[begin:end] = True
  if place > 0:
    voice.weights[max(0, begin - 3) : begin] = 0
    voice.weights[begin] = 0.5
  if place + frames < length:
    voice.weights[end : end + 3] = 0
    voice.weights[end - 1] = 0.5
  voice.rest_gaps[begin:end][quiet(clip.samples)[inside]] = CLOSED


def quiet(samples: np.ndarray) -> np.ndarray:
  """Where nobody speaks in a clip: samples int16 [640 T] → bool [T].

  These are pauses, not the short gaps within words: some frames in a row, all much quieter than the loud ones.
  """
  frames = len(samples) // _RATE
  power = np.mean(np.square(samples[: frames * _RATE].reshape(frames, _RATE) / features.PEAK), axis=1)
  level = 10 * np.log10(power + 1e-9)
  low = level < np.percentile(level, 90) - _QUIET
  for begin, end in np.flatnonzero(np.diff(np.pad(low.astype(np.int8), 1))).reshape(-1, 2):
    low[begin:end] = end - begin >= _QUIET_FRAMES
  return low


def _fade(samples: np.ndarray, count: int = 160) -> np.ndarray:
  faded = samples.copy()
  ramp = np.linspace(0, 1, count, dtype=np.float32)
  faded[:count] *= ramp
  faded[-count:] *= ramp[::-1]
  return faded


@functools.cache
def _pool() -> dict[str, list[np.ndarray]]:
  """Pieces of each of `sounds.ALL`, float32, of power 1: the same in every process."""
  rng = np.random.default_rng(2019)
  made = {
    kind: [sound(rng, _POOL_SECONDS * features.SAMPLE_RATE) for _ in range(_POOL)] for kind, sound in sounds.ALL.items()
  }
  return {kind: [(one / sounds.rms(one)).astype(np.float32) for one in pieces] for kind, pieces in made.items()}


def _piece(rng: np.random.Generator, count: int, kinds: tuple[str, ...]) -> np.ndarray:
  pieces = _pool()[kinds[rng.integers(len(kinds))]]
  sound = pieces[rng.integers(len(pieces))]
  start = int(rng.integers(0, max(1, len(sound) - count)))
  return np.resize(sound[start:], count)


def _nothing(rng: np.random.Generator, length: int) -> np.ndarray:
  """Sound in which nobody speaks."""
  count = length * _RATE
  samples: np.ndarray = np.zeros(count, np.float32)
  if rng.random() < 0.1:
    return samples
  for _ in range(rng.integers(1, 3)):
    other = _piece(rng, count, tuple(sounds.ALL)) * sounds.gain(rng.uniform(-75, -18))
    if rng.random() < 0.3:
      begin, end = np.sort(rng.integers(0, count, 2))
      other[begin:end] = 0
    samples = samples + other
  return sounds.band(rng, samples) if rng.random() < 0.2 else samples


def _change(
  rng: np.random.Generator,
  samples: np.ndarray,
  speaking: np.ndarray,
  draw_voice: Callable[[], Clip],
  strength: float,
) -> np.ndarray:
  """Gain, a room, noise under everything, music or babble under the voice, sounds in the pauses, a band or a codec."""
  level = _speech_level(samples[np.repeat(speaking, _RATE)])
  change = rng.uniform(-14, 6) if rng.random() < 0.6 else rng.uniform(-40, -13) - level
  samples, level, count = samples * sounds.gain(change), level + change, len(samples)
  if rng.random() < 0.25 * strength:
    samples = sounds.room(rng, samples)
  if rng.random() < 0.7 * strength:
    kinds = tuple(sounds.STEADY if rng.random() < 0.75 else sounds.EVENTS)
    samples = samples + _piece(rng, count, kinds) * sounds.gain(rng.uniform(-80, max(-79, min(-32, level - 6))))
  if rng.random() < 0.33 * strength:
    if rng.random() < 0.5:
      other = _piece(rng, count, ('music', 'music', 'clicks', 'breath'))
    else:
      other = _babble(rng, count, draw_voice)
    samples = samples + other * sounds.gain(level - rng.uniform(1, 20))
  samples = _fill_pauses(rng, samples, ~np.repeat(speaking, _RATE))
  return _narrow(rng, samples, strength)


def _fill_pauses(rng: np.random.Generator, samples: np.ndarray, quiet: np.ndarray) -> np.ndarray:
  """Sounds in some of the stretches without speech, `quiet` bool [n]."""
  samples = samples.copy()
  for begin, end in np.flatnonzero(np.diff(np.pad(quiet.astype(np.int8), 1))).reshape(-1, 2):
    if end - begin < 1600 or rng.random() < 0.4:
      continue
    for _ in range(rng.integers(1, 3)):
      other = _fade(_piece(rng, end - begin, tuple(sounds.ALL)))
      samples[begin:end] += other * sounds.gain(rng.uniform(-65, -18))
  return samples


def _narrow(rng: np.random.Generator, samples: np.ndarray, strength: float) -> np.ndarray:
  draw = rng.random()
  if draw < 0.16 * strength:
    return sounds.band(rng, samples)
  if draw < 0.22 * strength:
    return sounds.resampled(samples, int(rng.choice([8_000, 11_025])))
  if draw < 0.31 * strength:
    return sounds.codec(samples, *_CODECS[rng.integers(len(_CODECS))])
  return samples


def _babble(rng: np.random.Generator, count: int, draw_voice: Callable[[], Clip]) -> np.ndarray:
  """Three to six voices, of power 1."""
  total = np.zeros(count, np.float32)
  for _ in range(rng.integers(3, 7)):
    samples = draw_voice().samples.astype(np.float32)
    samples = np.resize(np.roll(samples, -int(rng.integers(len(samples)))), count)
    total += samples / sounds.rms(samples + 1e-3) * sounds.gain(rng.uniform(-4, 4))
  return total / sounds.rms(total)


def _speech_level(samples: np.ndarray) -> float:
  """Power in decibels of the louder half of the frames."""
  power = np.sort((samples[: len(samples) // _RATE * _RATE].reshape(-1, _RATE) ** 2).mean(axis=1))
  return float(10 * np.log10(power[len(power) // 2 :].mean() + 1e-12))
