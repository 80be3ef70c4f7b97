"""VG-net: an example image and landmarks to video (Chen et al., CVPR 2019, arXiv 1905.03820, right half of figure 2).

In the paper's symbols, of an example image i_p with landmarks p_p, and the landmarks p_t of every frame:

  v''_t  = f_img(i_p) ⊕ (f_lmark(p_t) - f_lmark(p_p))          `ImageEncoder`, `LandmarkEncoder`
  att_pt = σ(f_lmark(p_t) ⊕ f_lmark(p_p))                      `LandmarkAttention`
  v'_t   = CRNN(v''_t) ⊙ att_pt + i'_p ⊙ (1 - att_pt)          `Mmcrnn`, `composition.mix`
  v̂_t   = α_t ⊙ m_t + (1 - α_t) ⊙ i_p                         `MotionHeads`, `composition.compose`

i'_p is the image encoder's feature at 1/4 of the image's size, α_t the attention map and m_t the motion map ("colour"
in the published code); ⊕ concatenates channels. Widths are the published ones by default.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.composition import compose, mix
from atvg_jax.models.convolutions import depth_to_space
from atvg_jax.models.layers import Array, LayerOptions, ResidualBlock, weight_init
from atvg_jax.models.recurrent import ConvGru, Recurrence
from data_pipelines import features

SCALE = 16  # from the image's size to the recurrent state's

Shared = dict[str, Any]
Details = Callable[[int], Array | None]


class ImageEncoder(nn.Module):
  """f_img: features of the example image at 1/2, 1/4 (i'_p) and 1/16 of its size."""

  encoder_features: tuple[int, int, int]
  deep_features: tuple[int, int]
  stem_kernel: int
  layers: LayerOptions

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, Array, Array]:
    """[B, H, W, 3] -> [B, H/2, W/2, C], [B, H/4, W/4, C'], [B, H/16, W/16, C'']."""
    conv = self.layers.conv
    x = conv(self.encoder_features[0], self.stem_kernel, padding='reflect', name='stem')(image, train=train)
    half = conv(self.encoder_features[1], stride=2, name='encoder0')(x, train=train)
    middle = conv(self.encoder_features[2], stride=2, name='encoder1')(half, train=train)
    deep = conv(self.deep_features[0], stride=2, name='deep0')(middle, train=train)
    deep = conv(self.deep_features[1], stride=2, name='deep1')(deep, train=train)
    return half, middle, deep


class LandmarkEncoder(nn.Module):
  """f_lmark: landmarks as a map of the size of the deepest image feature, and the feature that is compared."""

  features: tuple[int, int]
  layers: LayerOptions

  @nn.compact
  def __call__(self, landmarks: Array, size: tuple[int, int], *, train: bool) -> tuple[Array, Array]:
    """[B, (T,) 136] -> the map [B, (T,) *size, C] and the feature [B, (T,) *size, C']."""
    cells = nn.relu(self.layers.dense(size[0] * size[1], name='landmark_dense')(landmarks))
    cells = cells.reshape(*landmarks.shape[:-1], *size, 1)
    landmark_map = self.layers.conv(self.features[0], name='landmark_conv')(cells, train=train)
    return landmark_map, self.layers.conv(self.features[1], name='landmark_feature')(landmark_map, train=train)


class LandmarkAttention(nn.Module):
  """att_pt: where the frame's feature replaces the example image's."""

  features: tuple[int, int]
  layers: LayerOptions

  @nn.compact
  def __call__(self, frame_maps: Array, example_map: Array, *, train: bool) -> Array:
    """Maps [B, T, H/16, W/16, C] and [B, H/16, W/16, C] -> [B, T, H/4, W/4, 1] in (0, 1)."""
    layers = self.layers
    x = layers.up(self.features[0], use_bias=True, name='landmark_attention0')(frame_maps, example_map, train=train)
    x = layers.up(self.features[1], use_bias=True, name='landmark_attention1')(x, train=train)
    return nn.sigmoid(layers.conv(1, norm=None, activation=None, name='landmark_attention2')(x, train=train))


class Mmcrnn(nn.Module):
  """CRNN: the multi-modal convolutional recurrent network, a bottleneck before its recurrence."""

  bottleneck_features: int
  recurrent_features: int
  recurrence: Recurrence
  layers: LayerOptions

  @nn.compact
  def __call__(
    self, difference: Array, deep: Array, carry: Array | None, *, train: bool, chained: bool = False
  ) -> tuple[Array, Array]:
    """Runs over a window.

    Args:
      difference: [B, T, H/16, W/16, C], the landmark features less the example's.
      deep: [B, H/16, W/16, C'], the image feature.
      carry: see `VgNet.draw`.
      train: see `VgNet`.
      chained: see `VgNet.draw`.

    Returns:
      The states [B, T, H/16, W/16, recurrent_features] and the carry.
    """
    layers = self.layers
    x = layers.conv(self.bottleneck_features, name='bottleneck')(difference, deep, train=train)
    gru = ConvGru(
      self.recurrent_features,
      recurrence=self.recurrence,
      winograd=layers.winograd,
      kernel_init=weight_init(layers.init_stddev),
      **layers.dtypes,
      name='gru',
    )
    if chained:
      assert carry is not None, 'it says how many clips there are'
      x = x.reshape(len(carry), -1, *x.shape[2:])
    x, carry = gru(x, carry, train=train)
    return x.reshape(-1, 1, *x.shape[2:]) if chained else x, carry


class ResidualDecoder(nn.Module):
  """The CRNN's decoder: residual blocks, the only layers with dropout, and transposed convolutions."""

  residual_blocks: int
  dropout_rate: float
  decoder_features: tuple[int, ...]
  layers: LayerOptions

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """States [B, T, H/16, W/16, C] -> [B, T, H/4, W/4, decoder_features[-1]]."""
    layers = self.layers
    for index in range(self.residual_blocks):
      block = ResidualBlock(x.shape[-1], layers, self.dropout_rate, name=f'residual{index}')
      x = layers.run(block, x, train=train)
    for index, width in enumerate(self.decoder_features):
      x = layers.run(layers.up(width, name=f'decoder{index}'), x, train=train)
    return x


class MotionHeads(nn.Module):
  """From the mixed feature v'_t up to the image's size, and the heads of motion map m_t and attention map α_t."""

  upsample_features: tuple[int, ...]
  head_kernel: int
  channels: int
  layers: LayerOptions

  @nn.compact
  def __call__(self, x: Array, details: Details, shared: Mapping[str, Array], *, size: int, train: bool) -> Array:
    """Runs over a window.

    Args:
      x: [B, T, H/4, W/4, C].
      details: W of a layer's input -> more channels [B, T, H, W, C] of it, or None. The paper's net has none.
      shared: name of a layer -> channels that its input has in all frames of a clip, see `VgNet.encode`.
      size: W of the example image.
      train: see `VgNet`.

    Returns:
      [B, T, H, W, channels], before tanh and sigmoid.
    """

    def detailed(x: Array) -> Array:
      more = details(x.shape[-2])
      return x if more is None else jnp.concatenate([x, more.astype(x.dtype)], axis=-1)

    for index, width in enumerate(self.upsample_features):
      name = f'upsample{index}'
      x = self.layers.run(self.layers.up(width, name=name), detailed(x), shared.get(name), train=train)
    factor = size // x.shape[-2]  # 1 in the paper's net; with fewer transposed convolutions the heads give sub-pixels
    head = self.layers.conv(self.channels * factor**2, self.head_kernel, norm=None, activation=None, name='heads')
    return depth_to_space(head(detailed(x), shared.get('heads'), train=train), factor).astype(jnp.float32)


class VgNet(nn.Module):
  """The paper's VG-net: frames that show the example image's person with the given landmarks.

  Attributes:
    encoder_features: f_img's channels: of the stem (full size) and of two stride-2 convolutions, to i'_p.
    deep_features: f_img's channels of two more stride-2 convolutions.
    stem_kernel: side of the stem's kernel.
    landmark_features: f_lmark's channels: of the landmark map and of the landmark feature.
    landmark_attention_features: channels of the two transposed convolutions of att_pt.
    bottleneck_features: channels into the recurrence.
    recurrent_features, recurrence: see `recurrent.ConvGru`.
    residual_blocks, dropout_rate: of the decoder after the recurrence.
    decoder_features: channels of its two transposed convolutions, to i'_p's size; the last must be the encoder's last
      where `attention` is on.
    upsample_features: channels of the transposed convolutions from i'_p's size up. Two reach full size; with fewer, the
      heads give what is missing as sub-pixels (2x2 or 4x4 a cell), which is much faster.
    head_kernel: side of the heads' kernel.
    attention: whether att_pt mixes CRNN and i'_p; without it v'_t is the CRNN's, and 'landmark_attention' is all ones.
    composition: whether α_t composes a frame of motion map and example image; without it the frame is the motion map,
      and 'attention' is all ones.
    layers: what all layers have in common.
    condition: the feature of a batch that every frame is drawn from, the third argument.
  """

  encoder_features: tuple[int, int, int] = (64, 64, 128)
  deep_features: tuple[int, int] = (256, 512)
  stem_kernel: int = 7
  landmark_features: tuple[int, int] = (256, 512)
  landmark_attention_features: tuple[int, int] = (256, 128)
  bottleneck_features: int = 128
  recurrent_features: int = 512
  recurrence: Recurrence = 'time'
  residual_blocks: int = 9
  dropout_rate: float = 0.5
  decoder_features: tuple[int, int] = (256, 128)
  upsample_features: tuple[int, ...] = (64, 32)
  head_kernel: int = 7
  attention: bool = True
  composition: bool = True
  layers: LayerOptions = LayerOptions()

  condition: ClassVar[str] = features.LANDMARKS

  def setup(self) -> None:
    """Makes the parts; all of them keep their parameters in the net's own scope, as `params/<layer>`."""
    layers = self.layers
    self.image_encoder = ImageEncoder(self.encoder_features, self.deep_features, self.stem_kernel, layers)
    self.landmark_encoder = LandmarkEncoder(self.landmark_features, layers)
    self.mmcrnn = Mmcrnn(self.bottleneck_features, self.recurrent_features, self.recurrence, layers)
    self.decoder = ResidualDecoder(self.residual_blocks, self.dropout_rate, self.decoder_features, layers)
    self.landmark_attention = LandmarkAttention(self.landmark_attention_features, layers)
    self.motion_heads = MotionHeads(self.upsample_features, self.head_kernel, 4 if self.composition else 3, layers)
    for part in (
      self.image_encoder,
      self.landmark_encoder,
      self.mmcrnn,
      self.decoder,
      self.landmark_attention,
      self.motion_heads,
    ):
      nn.share_scope(self, part)

  def __call__(
    self,
    example_image: Array,
    example_landmarks: Array,
    landmarks: Array,
    *,
    train: bool,
    carry: Array | None = None,
  ) -> dict[str, Any]:
    """Draws a window of frames.

    Args:
      example_image: i_p, [B, H, W, 3] in [-1, 1], sides divisible by 16.
      example_landmarks: p_p, [B, 136], of the example image.
      landmarks: p_t, [B, T, 136]; of other nets whatever `condition` names.
      train: dropout on (needs a 'dropout' key), batch norm by the batch's statistics.
      carry: recurrent state [B, H/16, W/16, recurrent_features] after the frames before; None for zeros.

    Returns:
      All float32 but the carry: 'video' v̂_t [B, T, H, W, 3] = attention * color + (1 - attention) * example image;
      'attention' α_t [B, T, H, W, 1]; 'color' m_t [B, T, H, W, 3]; 'landmark_attention' att_pt [B, T, H/4, W/4, 1];
      'carry'.
    """
    return self.draw(self.encode(example_image, example_landmarks, train=train), landmarks, carry, train=train)

  def encode(self, example_image: Array, example_landmarks: Array, *, train: bool) -> Shared:
    """The features that all frames of a clip share.

    Args:
      example_image: see `__call__`.
      example_landmarks: see `__call__`.
      train: see `__call__`.

    Returns:
      'image' and 'landmarks' as they are; 'middle' i'_p; 'landmark_feature' f_lmark(p_p); 'inputs': name of a layer ->
      channels [B, H', W', C'] that its input has in all frames after the frames' own.
    """
    half, middle, deep = self.image_encoder(example_image, train=train)
    _, height, width, _ = deep.shape
    example_map, example_feature = self.landmark_encoder(example_landmarks, (height, width), train=train)
    inputs = {'bottleneck': deep}
    if self.attention:
      inputs['landmark_attention0'] = example_map
    for name, size in self.detailed_layers(example_image.shape[2]):
      details = self.shared_details(half, example_landmarks, size)
      if details is not None:
        inputs[name] = details
    return {
      'image': example_image.astype(jnp.float32),
      'landmarks': example_landmarks,
      'middle': middle,
      'landmark_feature': example_feature,
      'inputs': inputs,
    }

  def draw(
    self, shared: Shared, landmarks: Array, carry: Array | None, *, train: bool, chained: bool = False
  ) -> dict[str, Any]:
    """The frames of a window.

    Args:
      shared: of `encode`.
      landmarks: see `__call__`.
      carry: see `__call__`.
      train: see `__call__`.
      chained: every example image has one frame, T is 1, and the examples are those of the carry's clips one after the
        other, equally many of each: the state goes from frame to frame of a clip.

    Returns:
      As `__call__`.
    """
    return self.finish(shared, self.prepare(shared, landmarks, carry, train=train, chained=chained), train=train)

  def prepare(
    self, shared: Shared, landmarks: Array, carry: Array | None, *, train: bool, chained: bool = False
  ) -> dict[str, Array]:
    """The layers of a window before the first dropout: arguments are those of `draw`.

    Returns:
      'landmarks' as they are; 'states' [B, T, H/16, W/16, recurrent_features]; with `attention` 'mask' att_pt; 'carry'.
    """
    inputs = shared['inputs']
    _, height, width, _ = shared['landmark_feature'].shape
    frame_maps, frame_features = self.landmark_encoder(landmarks, (height, width), train=train)
    difference = frame_features - shared['landmark_feature'][:, None]
    states, carry = self.mmcrnn(difference, inputs['bottleneck'], carry, train=train, chained=chained)
    prepared = {'landmarks': landmarks, 'states': states, 'carry': carry}
    if self.attention:
      prepared['mask'] = self.landmark_attention(frame_maps, inputs['landmark_attention0'], train=train)
    return prepared

  def finish(self, shared: Shared, prepared: Mapping[str, Array], *, train: bool) -> dict[str, Any]:
    """The layers of a window from the first dropout on: `draw`'s results, from those of `encode` and `prepare`."""
    x = self.decoder(prepared['states'], train=train)
    if self.attention:
      mask = prepared['mask']
      x = mix(x, shared['middle'], mask)
    else:
      mask = jnp.ones((*x.shape[:-1], 1), x.dtype)
    landmarks = prepared['landmarks']
    background, displacement = self.background(shared, landmarks)
    heads = self.motion_heads(
      x,
      lambda size: self.frame_details(landmarks, background, size),
      shared['inputs'],
      size=shared['image'].shape[2],
      train=train,
    )
    outputs = {
      **compose(heads, background),
      'landmark_attention': mask.astype(jnp.float32),
      'carry': prepared['carry'],
    }
    if displacement is None:
      return outputs
    return {**outputs, 'displacement': displacement, 'background': background}

  def before_dropout(
    self, example_image: Array, example_landmarks: Array, landmarks: Array, *, train: bool
  ) -> tuple[Shared, dict[str, Array]]:
    """What several passes with one input and other dropout have in common: the arguments of `finish`."""
    shared = self.encode(example_image, example_landmarks, train=train)
    return shared, self.prepare(shared, landmarks, None, train=train)

  # What the paper's net does without, for `ReleaseVgNet`.

  def detailed_layers(self, size: int) -> list[tuple[str, int]]:
    """Layers above i'_p's size that can take details as input, with W of their input; `size` is the image's W."""
    names = [*(f'upsample{index}' for index in range(len(self.upsample_features))), 'heads']
    return [(name, size // 4 * 2**index) for index, name in enumerate(names) if index < 2]

  def shared_details(self, half: Array, example_landmarks: Array, size: int) -> Array | None:
    """More channels that a layer's input of W = `size` has in all frames of a clip, [B, H, W, C]."""
    del half, example_landmarks, size
    return None

  def frame_details(self, landmarks: Array, background: Array, size: int) -> Array | None:
    """More channels of every frame that a layer's input of W = `size` has, [B, T, H, W, C]."""
    del landmarks, background, size
    return None

  def background(self, shared: Shared, landmarks: Array) -> tuple[Array, Array | None]:
    """What frames are composed over, float32 [B, 1 or T, H, W, 3], and by how many pixels a warp moved it, if any."""
    del landmarks
    return shared['image'][:, None], None


def zero_carry(net: VgNet, batch_size: int, height: int, width: int) -> Array:
  """The recurrent state before the first frame of a picture of this size."""
  return jnp.zeros((batch_size, height // SCALE, width // SCALE, net.recurrent_features), net.layers.dtype)
