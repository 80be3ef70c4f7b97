"""A talking face from what is packaged: a portrait, a recording and weights."""

import importlib.resources

from atvg_jax.generate import video_maker


def portrait() -> str:
  """Path of a portrait of Rear Admiral Grace Hopper in the public domain, see assets/demo_portrait.md."""
  return _asset('demo_portrait.jpg')


def speech() -> str:
  """Path of nine seconds of synthetic speech; assets/demo_speech.md says how it was made."""
  return _asset('demo_speech.wav')


def _asset(name: str) -> str:
  return str(importlib.resources.files('atvg_jax') / 'assets' / name)


def run(out: str = 'demo.mp4') -> video_maker.Result:
  """Writes the video and says where it is; raises InputError where it cannot be written."""
  return video_maker.generate_video(portrait(), out, audio=speech())
