"""Sounds around a voice, made in NumPy: noises of colours, hum, music, keys, breath; rooms, bands and codecs.

All take and give float [n] at 16 kHz; sounds that are made have no particular loudness.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import av
import numpy as np
from scipy import signal

from data_pipelines import features

Sound = Callable[[np.random.Generator, int], np.ndarray]

_RATE = features.SAMPLE_RATE
_SCALE = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])  # semitones of a major scale


def gain(decibels: float) -> float:
  """The factor of so many decibels."""
  return float(10 ** (decibels / 20))


def rms(samples: np.ndarray) -> float:
  """Root of the mean square, never zero."""
  return float(np.sqrt(np.mean(np.square(samples)) + 1e-20))


def coloured(rng: np.random.Generator, n: int, exponent: float) -> np.ndarray:
  """Noise whose power falls by frequency to this exponent: white 0, pink 1, brown 2."""
  frequencies = np.fft.rfftfreq(n, 1 / _RATE)
  shape = np.maximum(frequencies, 40) ** (-exponent / 2) * (frequencies > 15)
  return np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape, n)


def _room_tone(rng: np.random.Generator, n: int) -> np.ndarray:
  octaves = np.log(np.maximum(np.fft.rfftfreq(n, 1 / _RATE), 30))
  knots = np.linspace(np.log(30), np.log(8000), 9)
  level = -rng.uniform(1, 6) * np.arange(9) + rng.normal(0, 5, 9)
  return np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * 10 ** (np.interp(octaves, knots, level) / 20), n)


def _hum(rng: np.random.Generator, n: int) -> np.ndarray:
  time = np.arange(n) / _RATE
  base = rng.choice([50, 60, 100, 120]) * (1 + rng.normal(0, 0.002))
  out = 0.02 * rng.standard_normal(n)
  for k in range(1, rng.integers(3, 14)):
    out += rng.uniform(0, 1) / k * np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6.3))
  return out


def music(rng: np.random.Generator, n: int) -> np.ndarray:
  """Chords and a tune of tones with harmonics, sometimes drums."""
  out = np.zeros(n)
  beat, root, sustain = int(_RATE * rng.uniform(0.12, 0.5)), rng.uniform(80, 400), rng.uniform(0.5, 6)
  drums = rng.random() < 0.5
  for start in range(0, n, beat):
    for _ in range(rng.integers(1, 4)):
      tone = root * 2 ** (rng.choice(_SCALE) / 12) * rng.choice([0.5, 1, 1, 2])
      time = np.arange(min(n - start, int(beat * sustain) + 1)) / _RATE
      wave = np.zeros(len(time))
      for k in range(1, rng.integers(2, 7)):
        if tone * k < 7500:
          wave += rng.uniform(0.2, 1) / k * np.sin(2 * np.pi * tone * k * time * (1 + 0.002 * np.sin(30 * time)))
      swell = np.minimum(1, time / rng.uniform(0.003, 0.08)) * np.exp(-time * rng.uniform(0.3, 8))
      out[start : start + len(time)] += wave * swell
    if drums and rng.random() < 0.7:
      time = np.arange(min(n - start, 3200)) / _RATE
      if rng.random() < 0.5:
        beaten = 2 * np.sin(2 * np.pi * 60 * time * (1 + np.exp(-30 * time))) * np.exp(-20 * time)
      else:
        beaten = rng.standard_normal(len(time)) * np.exp(-60 * time)
      out[start : start + len(time)] += beaten
  return out


def clicks(rng: np.random.Generator, n: int) -> np.ndarray:
  """A keyboard: short bursts of noise and tone."""
  out = 1e-6 * rng.standard_normal(n)
  place, rate = 0, rng.uniform(2, 12)
  while (place := place + int(_RATE * rng.exponential(1 / rate)) + 200) < n:
    time = np.arange(min(n - place, int(_RATE * rng.uniform(0.005, 0.05)))) / _RATE
    burst = rng.standard_normal(len(time)) * np.exp(-time * rng.uniform(80, 600))
    ring = np.sin(2 * np.pi * rng.uniform(150, 4000) * time) * np.exp(-time * rng.uniform(60, 300))
    out[place : place + len(time)] += (burst + rng.uniform(0, 2) * ring) * rng.uniform(0.3, 1)
  return out


def _breath(rng: np.random.Generator, n: int) -> np.ndarray:
  swell = np.interp(np.arange(n), np.linspace(0, n, 8), rng.uniform(0, 1, 8) ** 2)
  return coloured(rng, n, rng.uniform(0, 2.5)) * (swell + 0.02)


def _inhaling(rng: np.random.Generator, n: int) -> np.ndarray:
  """Breaths: noise of a few resonances that swells and stops, with rests between."""
  out = 1e-3 * rng.standard_normal(n)
  start = int(rng.uniform(0, 0.5) * _RATE)
  while start < n:
    length = min(n - start, int(rng.uniform(0.2, 0.9) * _RATE))
    frequencies = np.fft.rfftfreq(length, 1 / _RATE)
    shape = np.full(len(frequencies), 0.02)
    for _ in range(rng.integers(2, 6)):
      middle, width = rng.uniform(300, 6500), rng.uniform(100, 1200)
      shape += rng.uniform(0.2, 1) * np.exp(-0.5 * ((frequencies - middle) / width) ** 2)
    sound = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * shape, length)
    time, peak = np.linspace(0, 1, length), rng.uniform(0.3, 0.9)
    sound *= np.minimum(time / peak, (1 - time) / (1 - peak)) ** rng.uniform(0.5, 2)
    out[start : start + length] += sound / rms(sound) * rng.uniform(0.3, 1)
    start += length + int(rng.uniform(0.1, 1.5) * _RATE)
  return out


STEADY: Mapping[str, Sound] = {
  'white': lambda rng, n: coloured(rng, n, 0),
  'pink': lambda rng, n: coloured(rng, n, 1),
  'brown': lambda rng, n: coloured(rng, n, 2),
  'colour': lambda rng, n: coloured(rng, n, rng.uniform(0, 3)),
  'room tone': _room_tone,
  'hum': _hum,
}
EVENTS: Mapping[str, Sound] = {'music': music, 'clicks': clicks, 'breath': _breath, 'inhaling': _inhaling}
ALL: Mapping[str, Sound] = {**STEADY, **EVENTS}


def room(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
  """In a made-up room: the direct sound, and a tail of noise that dies away within .1 to .7 s."""
  decay = rng.uniform(0.1, 0.7)
  time = np.arange(int(_RATE * min(decay, 0.5))) / _RATE
  tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / decay)
  tail[: int(_RATE * rng.uniform(0.002, 0.02))] = 0
  tail = signal.fftconvolve(tail, signal.firwin(31, rng.uniform(1500, 7000), fs=_RATE), 'same')
  tail *= gain(-rng.uniform(0, 15)) / (np.linalg.norm(tail) + 1e-12)
  tail[0] += 1
  return signal.fftconvolve(samples, tail)[: len(samples)]


def band(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
  """Telephone, 8 and 11 kHz, or muffled: a band with steep edges."""
  high = rng.choice([rng.uniform(3200, 4000), rng.uniform(5000, 5600), rng.uniform(2800, 7500)])
  low = rng.choice([0, rng.uniform(50, 350)])
  frequencies = np.fft.rfftfreq(len(samples), 1 / _RATE)
  shape = 1 / (1 + np.exp(np.minimum((frequencies - high) / rng.uniform(20, 120), 50)))
  if low:
    shape = shape / (1 + np.exp(-(frequencies - low) / 20))
  return np.fft.irfft(np.fft.rfft(samples) * shape, len(samples))


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
  """Through another sample rate and back."""
  return signal.resample_poly(signal.resample_poly(samples, rate, _RATE), _RATE, rate)[: len(samples)]


def codec(samples: np.ndarray, name: str = 'libmp3lame', bit_rate: int = 24_000, rate: int = _RATE) -> np.ndarray:
  """Through a codec and back, without its delay.

  Args:
    samples: [n].
    name: 'libmp3lame' or 'libopus'.
    bit_rate: bits a second.
    rate: samples a second that it is coded at; Opus has 48,000 always.
  """
  coded = np.clip(signal.resample_poly(samples, rate, _RATE), -1, 1)
  buffer = io.BytesIO()
  with av.open(buffer, 'w', format={'libmp3lame': 'mp3', 'libopus': 'ogg'}[name]) as file:
    stream: Any = file.add_stream(name, rate=48_000 if name == 'libopus' else rate)
    stream.bit_rate = bit_rate
    stream.layout = 'mono'
    frame = av.AudioFrame.from_ndarray(features.sound_to_int16(coded)[None], format='s16', layout='mono')
    frame.sample_rate = rate
    resampler = av.AudioResampler(
      format=stream.format, layout='mono', rate=stream.rate, frame_size=stream.codec_context.frame_size or 960
    )
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
      file.mux(stream.encode(part))
    file.mux(stream.encode(None))
  buffer.seek(0)
  decoded: list[np.ndarray] = []
  with av.open(buffer, 'r') as source:
    back = av.AudioResampler(format='flt', layout='mono', rate=_RATE)
    for part in source.decode(audio=0):
      part.pts = None
      decoded += [piece.to_ndarray()[0] for piece in back.resample(part)]
    decoded += [piece.to_ndarray()[0] for piece in back.resample(None)]
  return _in_step(np.concatenate(decoded), samples)


def _in_step(late: np.ndarray, samples: np.ndarray) -> np.ndarray:
  """`late` moved by the lag, up to 3000 samples, at which it is most like `samples`, in their length."""
  size = 1 << (len(samples) + len(late)).bit_length()
  likeness = np.fft.irfft(np.fft.rfft(late, size) * np.conj(np.fft.rfft(samples, size)), size)[:3000]
  late = late[int(np.argmax(likeness)) :][: len(samples)]
  return np.pad(late, (0, len(samples) - len(late)))
