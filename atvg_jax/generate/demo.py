"""A talking face from what is installed anyway: matplotlib's portrait, the packaged recording and weights."""

import importlib.resources

from atvg_jax.generate import video_maker


def portrait() -> str:
  """Path of a portrait of Rear Admiral Grace Hopper, a picture in the public domain that matplotlib installs."""
  import matplotlib

  return matplotlib.get_data_path() + '/sample_data/grace_hopper.jpg'


def speech() -> str:
  """Path of nine seconds of synthetic speech; assets/demo_speech.md says how it was made."""
  return str(importlib.resources.files('atvg_jax') / 'assets' / 'demo_speech.wav')


def run(out: str = 'demo.mp4') -> video_maker.Result:
  """Writes the video and says where it is; raises InputError where it cannot be written."""
  return video_maker.generate_video(portrait(), out, audio=speech())
