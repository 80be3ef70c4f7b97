"""What is done to finished frames, after VG-net and without parameters: darkened mouths, an unsharp mask, lit seams.

`config.generation` holds the amounts. They can be changed for any weights, and apply to evaluation, pictures and
generation, never to the frames that a loss is computed from.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.models import mouth_sheets
from atvg_jax.models.landmark_warp import unknown_mouth

Array = jax.Array

# A fifth of attention, or of a pixel's displacement, is enough for a pixel to count as drawn.
ATTENTION_GAIN = 5.0
_RADIUS = 4  # pixels: the Gaussian's tail beyond is 1e-4
_BLACK = 0.02  # of 2: brightness is compared with no less


def finish(
  outputs: Mapping[str, Any],
  example_landmarks: Array,
  landmarks: Array,
  *,
  darken: float = 0.0,
  sharpen: float = 0.0,
  seam: float = 0.0,
) -> dict[str, Any]:
  """Finishes the frames that VG-net has composed.

  Args:
    outputs: VG-net's, see `VgNet.__call__`: 'video', 'attention' and, of nets that warp, 'displacement'
      and 'background'.
    example_landmarks: [B, 136], of the example image.
    landmarks: [B, T, 136], of the frames.
    darken: share of the brightness in [0, 1] that a mouth loses where it opens and the example image shows it shut
      (`landmark_warp.unknown_mouth`): a net that has learnt of open mouths that are half open in the example leaves
      lips there.
    sharpen: strength of an unsharp mask. It fades where the attention is below a fifth and the warp moved pixels by
      less than a fifth of one: what is learnt from pixels is softer than they were, and so is what was resampled.
    seam: the line between lips that meet (`mouth_sheets.meeting`) is not sharpened if this is above 0, and its middle
      gets up to this share of its brightness more as far as the warped image is brighter there, see `lit`. A net that
      has learnt from pixels draws that line too wide and an unsharp mask too dark: lips that touch would look apart.

  Returns:
    The outputs with another 'video', float32 [B, T, H, W, 3] in [-1, 1].
  """
  video = outputs['video']
  if darken:
    video = darkened(video, darken * unknown_mouth(example_landmarks, landmarks, video.shape[2]))
  line = mouth_sheets.meeting(landmarks, video.shape[2]) if seam else jnp.zeros(())
  if sharpen:
    drawn = jnp.maximum(outputs['attention'], outputs.get('displacement', 0.0))
    video = sharpened(video, sharpen * jnp.minimum(1, ATTENTION_GAIN * drawn) * (1 - line))
  if seam and 'background' in outputs:
    # A Gaussian's square is one of 1/√2 of its deviation: light on 1.4 pixels of the 2 that are not sharpened.
    video = lit(video, outputs['background'], seam, jnp.square(line))
  return {**outputs, 'video': video}


def darkened(video: Array, shade: Array | float) -> Array:
  """The video [..., H, W, 3] in [-1, 1] with the share `shade` [..., H, W, 1] of its brightness taken away."""
  return (video + 1) * (1 - shade) - 1


def lit(video: Array, background: Array, most: float, line: Array) -> Array:
  """The video made brighter on a line, towards the background and by the share `most` of its brightness at most.

  Args:
    video: [..., H, W, 3] in [-1, 1].
    background: likewise, what it was composed over.
    most: in [0, 1].
    line: [..., H, W, 1] in [0, 1].
  """
  ours, theirs = (jnp.mean(frames + 1, axis=-1, keepdims=True) for frames in (video, background))
  share = line * jnp.clip(theirs / jnp.maximum(ours, _BLACK) - 1, 0, most)
  return jnp.minimum(video + share * (video + 1), 1)


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
