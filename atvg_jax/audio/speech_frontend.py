"""The front end 'speech': features of a frozen, pretrained speech encoder (`speech_encoder`), 768 numbers a frame."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from atvg_jax.audio import front_ends, speech_encoder
from data_pipelines.media import log_mel

_PAST, _AHEAD = 38, 25  # frames: a second and a half before, a second after


def features(weights: Mapping[str, Any], samples: jax.Array) -> jax.Array:
  """The two rows of the encoder's output of every frame, side by side.

  Args:
    weights: of `speech_encoder.pretrained`.
    samples: float32 [B, 640 T] at 16 kHz, in [-1, 1], as loud as recorded: the encoder's input is not normalised.

  Returns:
    float32 [B, T, 768]. Every frame depends on the whole of `samples`.
  """
  rows = log_mel.log_mel(samples, jnp)
  encoded: Any = speech_encoder.SpeechEncoder().apply({'params': weights}, rows)
  return speech_encoder.frame_features(encoded)


FRONT_END = front_ends.FrontEnd(
  name=front_ends.SPEECH,
  shape=(speech_encoder.ROWS_PER_FRAME * speech_encoder.SpeechEncoder.features,),
  past=_PAST,
  ahead=_AHEAD,
  takes_sound=True,
  load_weights=speech_encoder.pretrained,
  features=features,
)
