"""The regression-based discriminator: is a clip real, and which landmarks does it show? And its simpler forms."""

import functools
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.layers import Array, ConvBlock, Dtype, NormKind, make_norm, weight_init
from atvg_jax.models.recurrent import Lstm


class RegressionDiscriminator(nn.Module):
  """Frames and example landmarks through an LSTM to landmarks of every frame and one score a clip.

  Attributes:
    features: channels of the stride-2 convolutions; the first has no norm.
    image_head_features: width of the dense layer after them.
    landmark_features: dense layers on the example landmarks, a ReLU after each.
    recurrent_features, recurrent_layers: the LSTM's.
    sequence: whether the LSTM runs over the frames, and a clip is judged as a whole; without it every frame is judged
      by itself.
    regression: whether the example landmarks are seen and those of the frames regressed; without it only pictures
      are, and judged.
    norm, norm_over, axis_name, init_stddev: see `layers`.
  """

  features: tuple[int, ...] = (64, 128, 256, 512)
  image_head_features: int = 512
  landmark_features: tuple[int, ...] = (256, 512)
  recurrent_features: int = 256
  recurrent_layers: int = 3
  sequence: bool = True
  regression: bool = True
  norm: NormKind = 'batch'
  norm_over: Literal['frame', 'clip'] = 'frame'
  axis_name: str | None = None
  init_stddev: float | None = 0.02
  dtype: Dtype = jnp.float32
  param_dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, video: Array, example_landmarks: Array, *, train: bool) -> dict[str, Array]:
    """Judges clips.

    Args:
      video: [B, T, H, W, 3] in [-1, 1].
      example_landmarks: [B, 136].
      train: batch norm by the batch's statistics.

    Returns:
      'logits' [B]: the frames' scores averaged, before the sigmoid ([B, T], each frame's own, without `sequence`);
      with `regression` 'landmarks' [B, T, 136]: an offset in (-1, 1) from the example's; both float32.
    """
    dtypes = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
    init = weight_init(self.init_stddev)
    norm = make_norm(self.norm, over=self.norm_over, axis_name=self.axis_name, **dtypes)
    conv = functools.partial(ConvBlock, stride=2, kernel_init=init, **dtypes)
    dense = functools.partial(nn.Dense, kernel_init=init, **dtypes)
    x = video
    for index, features in enumerate(self.features):
      x = conv(features, norm=norm if index else None, name=f'conv{index}')(x, train=train)
    x = nn.relu(dense(self.image_head_features, name='image_dense')(x.reshape(*x.shape[:2], -1)))
    if self.regression:
      example = example_landmarks
      for index, features in enumerate(self.landmark_features):
        example = nn.relu(dense(features, name=f'landmark_dense{index}')(example))
      example = jnp.broadcast_to(example[:, None], (*x.shape[:2], example.shape[-1]))
      x = jnp.concatenate([example, x], axis=-1)
    if self.sequence:
      x, _ = Lstm(self.recurrent_features, self.recurrent_layers, **dtypes, name='lstm')(x)
    scores = dense(1, name='score')(x)[..., 0].astype(jnp.float32)  # [B, T]
    outputs = {'logits': jnp.mean(scores, axis=1) if self.sequence else scores}
    if not self.regression:
      return outputs
    offsets = jnp.tanh(dense(example_landmarks.shape[-1], name='landmarks')(x)).astype(jnp.float32)
    return outputs | {'landmarks': example_landmarks[:, None] + offsets}
