"""What the packaged VG-net has beyond the paper's: landmark maps, a skip connection, and a warped example image."""

import jax.numpy as jnp

from atvg_jax.models.convolutions import space_to_depth
from atvg_jax.models.landmark_maps import landmark_maps
from atvg_jax.models.landmark_warp import warped
from atvg_jax.models.layers import Array
from atvg_jax.models.vg_net import Shared, VgNet


class ReleaseVgNet(VgNet):
  """VG-net whose upsampling layers and heads take more details as input, at 1/4 and at half of the image's size.

  Attributes (beside those of `VgNet`):
    landmark_maps: draw frame and example landmarks (see `landmark_maps`) as more channels: precise places of lips and
      jaw, for faces never seen too.
    skip: add the encoder's half-size features as more channels at half size.
    warp: warp the example image to each frame's landmarks (see `landmark_warp`), compose the motion map over that, and
      add it as more channels: a face's own skin and lips, for faces never seen too. The outputs then have
      'background', the warped image, and 'displacement', float32 [B, T, H, W, 1]: by how many pixels.
    sheets: of that warp: 2 that part at the mouth, or 1.
  """

  landmark_maps: bool = False
  skip: bool = False
  warp: bool = False
  sheets: int = 2

  def shared_details(self, half: Array, example_landmarks: Array, size: int) -> Array | None:
    """The encoder's half-size features and the example's landmark maps."""
    details = [half] if self.skip and size == half.shape[2] else []
    if self.landmark_maps:
      details.append(self.draw_landmarks(example_landmarks, size).astype(half.dtype))
    return jnp.concatenate(details, axis=-1) if details else None

  def frame_details(self, landmarks: Array, background: Array, size: int) -> Array | None:
    """The frames' landmark maps and the warped example image."""
    width = background.shape[-2]
    if size > width // 2:
      return None
    details = [self.draw_landmarks(landmarks, size)] if self.landmark_maps else []
    if self.warp:
      details.append(space_to_depth(background, width // size))
    return jnp.concatenate(details, axis=-1) if details else None

  def background(self, shared: Shared, landmarks: Array) -> tuple[Array, Array | None]:
    """The example image, warped if asked for."""
    if not self.warp:
      return super().background(shared, landmarks)
    return self.warp_image(shared['image'], shared['landmarks'], landmarks)

  # Without parameters: `folded_layers.fold_net` need not trace them.

  def draw_landmarks(self, landmarks: Array, size: int) -> Array:
    """`landmark_maps.landmark_maps`."""
    return landmark_maps(landmarks, size)

  def warp_image(self, image: Array, example_landmarks: Array, landmarks: Array) -> tuple[Array, Array]:
    """`landmark_warp.warped`."""
    return warped(image, example_landmarks, landmarks, self.sheets)
