"""VG-net that takes sound instead of landmarks: the ablation "direct", audio to video without landmarks between."""

from typing import ClassVar

import jax.numpy as jnp

from atvg_jax.models.at_net import AudioEncoder
from atvg_jax.models.layers import Array
from atvg_jax.models.release_vg_net import ReleaseVgNet
from atvg_jax.models.vg_net import Shared
from data_pipelines import features
from data_pipelines.errors import InputError


class SoundVgNet(ReleaseVgNet):
  """VG-net that takes each frame's sound as input in the place of its landmarks.

  The call is `VgNet`'s, with MFCC windows [B, T, 28, 12] as third argument; the example landmarks are ignored. The
  audio encoder's features go where the landmarks went; the example image has no sound: zeros.

  Attributes (beside those of `VgNet` and `skip`):
    audio_features, audio_head_features: see `at_net.AtNet`.
  """

  audio_features: tuple[tuple[int, ...], tuple[int, ...]] = ((64, 128), (256, 256, 512))
  audio_head_features: tuple[int, ...] = (2048, 256)

  condition: ClassVar[str] = features.MFCC

  def setup(self) -> None:
    """Makes the parts.

    Raises:
      InputError: it is to draw or warp by landmarks.
    """
    if self.landmark_maps or self.warp:
      raise InputError('model.landmark_maps, model.warp: a net that takes sound in the place of landmarks has none')
    super().setup()
    self.audio_encoder = AudioEncoder(self.audio_features, self.audio_head_features, self.layers)

  def encode(self, example_image: Array, example_landmarks: Array, *, train: bool) -> Shared:
    """As `VgNet.encode`, by zeros in the place of the example landmarks."""
    nothing = jnp.zeros((len(example_landmarks), self.audio_head_features[-1]), self.layers.dtype)
    return super().encode(example_image, nothing, train=train)

  def prepare(
    self, shared: Shared, landmarks: Array, carry: Array | None, *, train: bool, chained: bool = False
  ) -> dict[str, Array]:
    """As `VgNet.prepare`, of MFCC windows [B, T, 28, 12]."""
    return super().prepare(shared, self.audio_encoder(landmarks, train=train), carry, train=train, chained=chained)
