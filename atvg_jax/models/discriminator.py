"""The regression-based discriminator (Chen et al., CVPR 2019, arXiv 1905.03820), and its simpler forms.

Of frames v_t and the example's landmarks p_p, with the LSTM's states o_t:

  o_t, c_t = LSTM(f_img(v_t), f_lmark(p_p), c_{t-1})
  p̂_t      = p_p + tanh(W_p o_t)                    the landmarks that a frame shows, regressed
  s        = σ(mean over t of W_s o_t)              whether the clip is real
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.layers import Array, LayerOptions
from atvg_jax.models.recurrent import Lstm


class RegressionDiscriminator(nn.Module):
  """Frames and example landmarks through an LSTM to landmarks of every frame and one score a clip.

  Attributes:
    features: channels of f_img's stride-2 convolutions; the first has no norm.
    image_head_features: width of the dense layer after them.
    landmark_features: f_lmark's dense layers on the example landmarks, a ReLU after each.
    recurrent_features, recurrent_layers: the LSTM's.
    sequence: whether the LSTM runs over the frames, and a clip is scored as a whole; without it every frame is scored
      by itself.
    regression: whether the example landmarks are input and those of the frames regressed; without it only pictures
      are, and scored.
    layers: what all layers have in common.
  """

  features: tuple[int, ...] = (64, 128, 256, 512)
  image_head_features: int = 512
  landmark_features: tuple[int, ...] = (256, 512)
  recurrent_features: int = 256
  recurrent_layers: int = 3
  sequence: bool = True
  regression: bool = True
  layers: LayerOptions = LayerOptions()

  @nn.compact
  def __call__(self, video: Array, example_landmarks: Array, *, train: bool) -> dict[str, Array]:
    """Scores clips.

    Args:
      video: [B, T, H, W, 3] in [-1, 1].
      example_landmarks: [B, 136].
      train: batch norm by the batch's statistics.

    Returns:
      'logits' [B]: s, the frames' scores averaged, before the sigmoid ([B, T], each frame's own, without `sequence`);
      with `regression` 'landmarks' p̂_t [B, T, 136]: an offset in (-1, 1) from the example's; both float32.
    """
    layers, dense = self.layers, self.layers.dense
    x = video
    for index, features in enumerate(self.features):
      options: dict[str, Any] = {} if index else {'norm': None}
      x = layers.conv(features, stride=2, name=f'conv{index}', **options)(x, train=train)
    x = nn.relu(dense(self.image_head_features, name='image_dense')(x.reshape(*x.shape[:2], -1)))
    if self.regression:
      example = example_landmarks
      for index, features in enumerate(self.landmark_features):
        example = nn.relu(dense(features, name=f'landmark_dense{index}')(example))
      example = jnp.broadcast_to(example[:, None], (*x.shape[:2], example.shape[-1]))
      x = jnp.concatenate([example, x], axis=-1)
    if self.sequence:
      x, _ = Lstm(self.recurrent_features, self.recurrent_layers, **layers.dtypes, name='lstm')(x)
    scores = dense(1, name='score')(x)[..., 0].astype(jnp.float32)  # [B, T]
    outputs = {'logits': jnp.mean(scores, axis=1) if self.sequence else scores}
    if not self.regression:
      return outputs
    offsets = jnp.tanh(dense(example_landmarks.shape[-1], name='landmarks')(x)).astype(jnp.float32)
    return outputs | {'landmarks': example_landmarks[:, None] + offsets}
