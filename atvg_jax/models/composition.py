"""VG-net's two compositions: of features by the landmark attention, and of motion map and example image to a frame."""

import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.layers import Array


def mix(decoded: Array, middle: Array, mask: Array) -> Array:
  """v'_t: the decoded [B, T, H, W, C] where the mask [B, T, H, W, 1] is 1, i'_p [B, H, W, C] where it is 0."""
  return middle[:, None] * (1 - mask) + decoded * mask


def compose(heads: Array, background: Array) -> dict[str, Array]:
  """v̂_t: attention map and motion map as frames.

  Args:
    heads: float32 [B, T, H, W, 4], motion map and attention before tanh and sigmoid; of 3 channels, the motion map
      alone, which is the frame then.
    background: float32 [B, 1 or T, H, W, 3], the example image.

  Returns:
    'video', 'attention', 'color' of `VgNet`.
  """
  color = jnp.tanh(heads[..., :3])
  if heads.shape[-1] == 3:
    return {'video': color, 'attention': jnp.ones((*color.shape[:-1], 1), color.dtype), 'color': color}
  attention = nn.sigmoid(heads[..., 3:])
  return {'video': attention * color + (1 - attention) * background, 'attention': attention, 'color': color}
