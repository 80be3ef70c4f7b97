"""What is done to finished frames, after VG-net and without parameters: darkened mouths and an unsharp mask.

`config.generation` holds the amounts. They can be changed for any weights, and apply to evaluation, pictures and
generation, never to the frames that a loss is computed from.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.models.landmark_warp import unknown_mouth

Array = jax.Array

# A fifth of attention, or of a pixel's displacement, is enough for a pixel to count as drawn.
ATTENTION_GAIN = 5.0
_RADIUS = 4  # pixels: the Gaussian's tail beyond is 1e-4


def finish(
  outputs: Mapping[str, Any],
  example_landmarks: Array,
  landmarks: Array,
  *,
  darken: float = 0.0,
  sharpen: float = 0.0,
) -> dict[str, Any]:
  """Finishes the frames that VG-net has composed.

  Args:
    outputs: VG-net's, see `VgNet.__call__`: 'video', 'attention' and, of nets that warp, 'displacement'.
    example_landmarks: [B, 136], of the example image.
    landmarks: [B, T, 136], of the frames.
    darken: share of the brightness in [0, 1] that a mouth loses where it opens and the example image shows it shut
      (`landmark_warp.unknown_mouth`): a net that has learnt of open mouths that are half open in the example leaves
      lips there.
    sharpen: strength of an unsharp mask. It fades where the attention is below a fifth and the warp moved pixels by
      less than a fifth of one: what is learnt from pixels is softer than they were, and so is what was resampled.

  Returns:
    The outputs with another 'video', float32 [B, T, H, W, 3] in [-1, 1].
  """
  video = outputs['video']
  if darken:
    video = darkened(video, darken * unknown_mouth(example_landmarks, landmarks, video.shape[2]))
  if sharpen:
    drawn = jnp.maximum(outputs['attention'], outputs.get('displacement', 0.0))
    video = sharpened(video, sharpen * jnp.minimum(1, ATTENTION_GAIN * drawn))
  return {**outputs, 'video': video}


def darkened(video: Array, shade: Array | float) -> Array:
  """The video [..., H, W, 3] in [-1, 1] with the share `shade` [..., H, W, 1] of its brightness taken away."""
  return (video + 1) * (1 - shade) - 1


def sharpened(video: Array, amount: Array | float) -> Array:
  """An unsharp mask: the video, plus `amount` times what a Gaussian of one pixel's deviation takes from it.

  Args:
    video: [..., H, W, C] in [-1, 1].
    amount: 0 for none; a number, or a map [..., H, W, 1].
  """
  soft = jnp.einsum('ph,...hwc->...pwc', _blur(video.shape[-3]), video)
  soft = jnp.einsum('qw,...pwc->...pqc', _blur(video.shape[-2]), soft)
  return jnp.clip(video + amount * (video - soft), -1, 1)


def _blur(size: int) -> np.ndarray:
  """[size, size]: a Gaussian of deviation 1 around every place, cut at the border and normalised."""
  distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
  rows = np.exp(-0.5 * np.square(distance)) * (distance <= _RADIUS)
  return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
