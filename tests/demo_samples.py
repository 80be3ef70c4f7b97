"""The packaged sentence as samples, for tests of what takes sound."""

import importlib.resources
import wave

import numpy as np


def demo_speech() -> np.ndarray:
  """float32 [32000]: two seconds of the packaged sentence, those that the golden numbers are of."""
  with wave.open(str(importlib.resources.files('atvg_jax') / 'assets' / 'demo_speech.wav')) as file:
    return np.frombuffer(file.readframes(48_000), '<i2')[16_000:].astype(np.float32) / 32768
