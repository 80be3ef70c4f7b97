"""Text in, a video out: speech by eSpeak NG (extra `tts`), then as with any recording."""

import ctypes
import difflib
import functools
import itertools
import os
import wave
from types import ModuleType
from typing import Any

import av
import numpy as np

from atvg_jax.generate import video_maker
from data_pipelines import atomic_files, features
from data_pipelines.errors import InputError, extra_command
from data_pipelines.media import audio

VOICE = 'en-gb'
SPEED = 150  # words a minute

# Beyond these eSpeak NG itself holds the speed.
_SPEEDS = (80, 450)
# About 20 minutes: all of it is in memory at once.
_LONGEST = 20_000  # characters

# Of the full 100: some vowels clip there. The nets' input is the same: it leaves out the MFCC of loudness.
_AMPLITUDE = 80

# Numbers of eSpeak NG's speak_lib.h.
_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_RATE, _VOLUME = 1, 2
_CHARACTER, _UTF8 = 1, 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
  """The first fields of espeak_VOICE."""

  _fields_ = [('name', ctypes.c_char_p), ('languages', ctypes.c_void_p), ('identifier', ctypes.c_char_p)]


def run(
  text: str, image: str, out: str, *, voice: str = VOICE, speed: int = SPEED, **options: Any
) -> video_maker.Result:
  """Makes a video of a face that speaks the text; `options` are those of `generate_video`.

  Raises:
    InputError: as `speak` and `generate_video` do.
  """
  with atomic_files.temporary_folder('atvg-say-') as folder:
    path = os.path.join(folder, 'speech.wav')
    save(speak(text, voice, speed), path)
    return video_maker.generate_video(image, out, audio=path, **options)


def speak(text: str, voice: str = VOICE, speed: int = SPEED) -> np.ndarray:
  """Speech of a text.

  Args:
    text: at most 20 000 characters.
    voice: a language of eSpeak NG, such as 'en-gb' or 'de', and after a '+' how it is spoken: 'en-gb+f3'.
    speed: words a minute, 80 to 450.

  Returns:
    float32 [n] in [-1, 1], 16 kHz mono.

  Raises:
    InputError: the extra is missing; the text is empty, too long or without a word; voice or speed are unknown.
  """
  if not text.strip():
    raise InputError('the text is empty: give something to say, e.g. atvg say "Good morning" --image FACE --out VIDEO')
  if len(text) > _LONGEST:
    raise InputError(f'the text has {len(text)} characters, more than {_LONGEST}: make a video of each part')
  if not _SPEEDS[0] <= speed <= _SPEEDS[1]:
    raise InputError(f'speed {speed} cannot be spoken: use {_SPEEDS[0]} to {_SPEEDS[1]} words a minute')
  library, rate = _library()
  if library.espeak_SetVoiceByName(_identifier(voice).encode()):
    raise InputError(f'voice {voice} cannot be loaded: install the extra again by {extra_command("tts")}')
  library.espeak_SetParameter(_RATE, speed, 0)
  library.espeak_SetParameter(_VOLUME, _AMPLITUDE, 0)
  content = text.replace('\0', ' ').encode(errors='replace')
  pieces: list[bytes] = []

  def take(samples, count, _):
    if samples and count > 0:
      pieces.append(ctypes.string_at(samples, 2 * count))
    return 0

  callback = _Callback(take)  # a name, so that it lives until all is spoken
  library.espeak_SetSynthCallback(callback)
  status = library.espeak_Synth(content, len(content) + 1, 0, _CHARACTER, 0, _UTF8, None, None)
  samples = np.frombuffer(b''.join(pieces), np.int16)
  if status or not samples.any():
    raise InputError(f'the text holds nothing that the voice {voice} can pronounce: give some words')
  return _resampled(samples, rate)


def save(samples: np.ndarray, path: str) -> None:
  """Writes samples [n] at 16 kHz as 16-bit WAV."""
  with wave.open(path, 'wb') as file:
    file.setparams((1, 2, features.SAMPLE_RATE, 0, 'NONE', ''))
    file.writeframes(features.sound_to_int16(samples).astype('<i2').tobytes())


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
  frame = av.AudioFrame.from_ndarray(samples[None], format='s16', layout='mono')
  frame.sample_rate = rate
  collector = audio.SoundCollector()
  collector.add(frame)
  return collector.samples()


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
  """ESpeak NG, ready to speak, and its samples a second."""
  try:
    espeakng_loader = _loader()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path()
  except (ImportError, OSError, RuntimeError) as error:
    raise InputError(f'speech from text needs the extra tts: {extra_command("tts")}') from error
  library.espeak_Initialize.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
  library.espeak_SetVoiceByName.argtypes = (ctypes.c_char_p,)
  library.espeak_SetParameter.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
  library.espeak_SetSynthCallback.argtypes = (_Callback,)
  library.espeak_SetSynthCallback.restype = None
  library.espeak_ListVoices.argtypes = (ctypes.c_void_p,)
  library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
  library.espeak_Synth.argtypes = (
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.c_void_p,
    ctypes.c_void_p,
  )
  rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DO_NOT_EXIT)
  if rate <= 0:
    raise InputError(f'eSpeak NG finds no voices in {data}: install the extra again by {extra_command("tts")}')
  return library, rate


def _loader() -> ModuleType:
  import espeakng_loader

  return espeakng_loader


@functools.cache
def _voices() -> dict[str, str]:
  """Language → what eSpeak NG knows the voice by."""
  listed = _library()[0].espeak_ListVoices(None)
  found: dict[str, str] = {}
  for pointer in itertools.takewhile(bool, map(listed.__getitem__, itertools.count())):  # a null ends the list
    voice = pointer.contents
    language = ctypes.string_at(voice.languages + 1).decode()  # behind a byte of priority
    found.setdefault(language, voice.identifier.decode())
  return found


def _identifier(voice: str) -> str:
  """The file of a voice, of those that are there: a name is no path."""
  language, plus, variant = voice.partition('+')
  voices = _voices()
  if language.lower() not in voices:
    near = dict.fromkeys([*difflib.get_close_matches(language.lower(), voices), VOICE, 'en-us', 'de', 'es', 'fr-fr'])
    raise InputError(f'voice {voice} is unknown: it is one of {len(voices)} languages, such as {", ".join(near)}')
  variants = os.listdir(os.path.join(_loader().get_data_path(), 'voices', '!v'))
  if plus and variant not in variants:
    raise InputError(
      f'voice {voice} is unknown: behind the + stands how it is spoken, such as f1 to f5 for women and m1 to m8 for men'
    )
  return voices[language.lower()] + plus + variant
