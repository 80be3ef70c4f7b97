"""VG-net: an example image and landmarks to video.

Widths are the published ones (Chen et al., CVPR 2019, arXiv 1905.03820) unless told otherwise.
"""

import functools
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn

from atvg_jax.models.at_net import AudioEncoder, net_parts
from atvg_jax.models.landmark_maps import landmark_maps
from atvg_jax.models.landmark_warp import unknown_mouth, warped
from atvg_jax.models.layers import (
  Array,
  ConvBlock,
  Dtype,
  NormKind,
  ResidualBlock,
  UpBlock,
  depth_to_space,
  make_norm,
  space_to_depth,
  weight_init,
)
from atvg_jax.models.recurrent import ConvGru, Recurrence
from atvg_jax.models.unsharp import sharpened
from data_pipelines.errors import InputError

_SCALE = 16  # from the image to the recurrent state
_DRAWN = 5.0  # a fifth of attention, or of a pixel's way, is enough for what is seen to count as drawn


class VgNet(nn.Module):
  """Frames that show the example image's person with the given landmarks.

  The picture's two coarser stages are 1/4 ("middle") and 1/16 ("deep") of its size.

  Attributes:
    encoder_features: channels of the stem (full size) and of two stride-2 convolutions, to the middle.
    deep_features: channels of two more stride-2 convolutions, to the deep stage.
    stem_kernel: side of the stem's kernel.
    landmark_features: channels of the landmark map and of the landmark feature.
    landmark_attention_features: channels of the two transposed convolutions of the landmark attention.
    bottleneck_features: channels into the recurrence.
    recurrent_features, recurrent_kernel, recurrent_dilation, recurrence: see `recurrent.ConvGru`.
    residual_blocks, dropout_rate: of the deep decoder.
    decoder_features: channels of its two transposed convolutions, back to the middle; the last must be the
      encoder's last where `attention` is on.
    upsample_features: channels of the transposed convolutions from the middle up. Two reach full size; with
      fewer, the heads give what is missing as sub-pixels (2x2 or 4x4 a cell), which is much faster.
    head_kernel: side of the kernel of the colour and attention heads.
    attention: whether the landmark attention mixes encoder and decoder at the middle stage; without it the
      decoder stands alone and 'landmark_attention' is all ones.
    composition: whether a frame is the colour laid over the example image by the attention; without it the colour
      is the frame, and 'attention' is all ones.
    landmark_maps: draw frame and example landmarks (see `landmark_maps`) as more channels at 1/4 and at half
      size: precise places of lips and jaw, for faces never seen too.
    skip: add the encoder's half-size features as more channels at half size.
    warp: bend the example image to each frame's landmarks (see `landmark_warp`), lay the colour over that, and show it to
      the upsampling blocks and heads: a face's own skin and lips, for faces never seen too.
    darken: how much of the brightness a mouth loses where it opens and the example image shows it shut
      (`landmark_warp.unknown_mouth`), in evaluation and generation: what a net has learnt of open mouths that are half open
      in the example leaves lips there.
    sharpen: how much the frames are sharpened where they are drawn, in evaluation and generation: an unsharp mask
      (`unsharp.sharpened`) that fades where the attention is below a fifth, and `warp` moved less than a fifth of a pixel.
      What is learnt from pixels is softer than they were, and so is what was moved.
    remat: keep only the inputs of the deep decoder's and the upsampling blocks for the gradient, and compute what is
      inside again.
    norm: of all convolutions but the heads. `norm_over`, `axis_name`: see `layers.BatchNorm`.
    init_stddev: see `layers.weight_init`.
  """

  encoder_features: tuple[int, int, int] = (64, 64, 128)
  deep_features: tuple[int, int] = (256, 512)
  stem_kernel: int = 7
  landmark_features: tuple[int, int] = (256, 512)
  landmark_attention_features: tuple[int, int] = (256, 128)
  bottleneck_features: int = 128
  recurrent_features: int = 512
  recurrent_kernel: int = 3
  recurrent_dilation: int = 2
  recurrence: Recurrence = 'time'
  residual_blocks: int = 9
  dropout_rate: float = 0.5
  decoder_features: tuple[int, int] = (256, 128)
  upsample_features: tuple[int, ...] = (64, 32)
  head_kernel: int = 7
  attention: bool = True
  composition: bool = True
  landmark_maps: bool = False
  skip: bool = False
  warp: bool = False
  darken: float = 0.0
  sharpen: float = 0.0
  remat: bool = False
  norm: NormKind = 'batch'
  norm_over: Literal['frame', 'clip'] = 'frame'
  axis_name: str | None = None
  init_stddev: float | None = 0.02
  dtype: Dtype = jnp.float32
  param_dtype: Dtype = jnp.float32

  @nn.compact
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
      example_image: [B, H, W, 3] in [-1, 1], sides divisible by 16.
      example_landmarks: [B, 136], of the example image.
      landmarks: [B, T, 136].
      train: dropout on (needs a 'dropout' key), batch norm by the batch's statistics.
      carry: recurrent state [B, H/16, W/16, recurrent_features] after the frames before; None for zeros.

    Returns:
      All float32 but the carry: 'video' [B, T, H, W, 3] = attention * color + (1 - attention) * example
      image (warped by `warp`), sharpened by `sharpen`; 'attention' [B, T, H, W, 1]; 'color' [B, T, H, W, 3]; 'landmark_attention'
      [B, T, H/4, W/4, 1]; 'carry'.
    """
    dtypes = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
    init = weight_init(self.init_stddev)
    norm = make_norm(self.norm, over=self.norm_over, axis_name=self.axis_name, **dtypes)
    plain = functools.partial(ConvBlock, kernel_init=init, **dtypes)
    conv = functools.partial(plain, norm=norm)
    up = functools.partial(UpBlock, norm=norm, kernel_init=init, **dtypes)
    dense = nn.Dense(
      example_image.shape[1] * example_image.shape[2] // _SCALE**2,
      kernel_init=init,
      **dtypes,
      name='landmark_dense',
    )

    # The example image: [B, H/4, W/4, C] and [B, H/16, W/16, C].
    x = conv(self.encoder_features[0], self.stem_kernel, padding='reflect', name='stem')(example_image, train=train)
    half = conv(self.encoder_features[1], stride=2, name='encoder0')(x, train=train)
    middle = conv(self.encoder_features[2], stride=2, name='encoder1')(half, train=train)
    deep = conv(self.deep_features[0], stride=2, name='deep0')(middle, train=train)
    deep = conv(self.deep_features[1], stride=2, name='deep1')(deep, train=train)

    # Landmarks, the example's first: as published, also in the order of running statistics.
    landmark_conv = conv(self.landmark_features[0], name='landmark_conv')
    feature_conv = conv(self.landmark_features[1], name='landmark_feature')

    def landmark_map(points: Array) -> Array:
      cells = nn.relu(dense(points)).reshape(*points.shape[:-1], *deep.shape[1:3], 1)
      return landmark_conv(cells, train=train)

    example_map, frame_maps = landmark_map(example_landmarks), landmark_map(landmarks)
    example_feature = feature_conv(example_map, train=train)
    feature = feature_conv(frame_maps, train=train) - example_feature[:, None]

    def run(block: nn.Module, *inputs: Array | None) -> Array:
      def call(block: nn.Module, *inputs: Array | None) -> Array:
        return block(*inputs, train=train)

      return (nn.remat(call) if self.remat and train else call)(block, *inputs)

    # The recurrence, [B, T, H/16, W/16, C], and back up to [B, T, H/4, W/4, C].
    x = conv(self.bottleneck_features, name='bottleneck')(feature, deep, train=train)
    x, carry = ConvGru(
      self.recurrent_features,
      self.recurrent_kernel,
      self.recurrent_dilation,
      self.recurrence,
      kernel_init=init,
      **dtypes,
      name='gru',
    )(x, carry, train=train)
    for index in range(self.residual_blocks):
      x = run(ResidualBlock(self.recurrent_features, conv, self.dropout_rate, name=f'residual{index}'), x)
    for index, features in enumerate(self.decoder_features):
      x = run(up(features, name=f'decoder{index}'), x)

    # The mix of encoder and decoder.
    if self.attention:
      a = up(self.landmark_attention_features[0], use_bias=True, name='landmark_attention0')(
        frame_maps, example_map, train=train
      )
      a = up(self.landmark_attention_features[1], use_bias=True, name='landmark_attention1')(a, train=train)
      mix = nn.sigmoid(plain(1, activation=None, name='landmark_attention2')(a, train=train))
      x = middle[:, None] * (1 - mix) + x * mix
    else:
      mix = jnp.ones((*x.shape[:-1], 1), x.dtype)

    base, moved = example_image[:, None], 0.0
    if self.warp:
      base, moved = warped(example_image, example_landmarks, landmarks)

    # Up to the heads' size. What every frame shares rides along as `still`.
    def with_details(x: Array) -> tuple[Array, Array | None]:
      size, still = x.shape[-2], []
      if self.skip and size == half.shape[-2]:
        still.append(half)
      if self.landmark_maps:
        x = jnp.concatenate([x, landmark_maps(landmarks, size).astype(x.dtype)], axis=-1)
        still.append(landmark_maps(example_landmarks, size).astype(x.dtype))
      if self.warp:
        x = jnp.concatenate([x, space_to_depth(base, base.shape[-2] // size).astype(x.dtype)], axis=-1)
      return x, jnp.concatenate(still, axis=-1) if still else None

    for index, features in enumerate(self.upsample_features):
      x = run(up(features, name=f'upsample{index}'), *with_details(x))
    if len(self.upsample_features) < 2:
      x, still = with_details(x)
    else:
      still = None
    factor = example_image.shape[1] // x.shape[-3]
    channels = 4 if self.composition else 3
    heads = plain(channels * factor**2, self.head_kernel, activation=None, name='heads')(x, still, train=train)
    heads = depth_to_space(heads, factor).astype(jnp.float32)
    shade = 0.0
    if self.darken and not train:
      shade = self.darken * unknown_mouth(example_landmarks, landmarks, example_image.shape[1])
    return {
      **compose(heads, base.astype(jnp.float32), moved, shade, 0.0 if train else self.sharpen),
      'landmark_attention': mix.astype(jnp.float32),
      'carry': carry,
    }


def compose(heads: Array, base: Array, moved: Array | float, shade: Array | float, sharpen: float) -> dict[str, Array]:
  """The heads' sums as frames: 'video', 'attention', 'color' of `VgNet`.

  Args:
    heads: float32 [B, T, H, W, 4], colour and attention; of 3 channels, the colour alone, which is the frame then.
    base: float32 [B, 1 or T, H, W, 3]: what the colour is laid over, the example image or what `warp` made of it.
    moved: float32 [B, T, H, W, 1]: by how many pixels `warp` moved what is in `base`; 0 if not at all.
    shade: float32 [B, T, H, W, 1]: what share of the brightness is taken away; 0 for none.
    sharpen: see `VgNet`; 0 for not at all.
  """
  color = jnp.tanh(heads[..., :3])
  if heads.shape[-1] == 3:
    video, attention = color, jnp.ones((*color.shape[:-1], 1), color.dtype)
  else:
    attention = nn.sigmoid(heads[..., 3:])
    video = attention * color + (1 - attention) * base
  video = (video + 1) * (1 - shade) - 1
  if sharpen:
    video = sharpened(video, sharpen * jnp.minimum(1, _DRAWN * jnp.maximum(attention, moved)))
  return {'video': video, 'attention': attention, 'color': color}


class SoundVgNet(VgNet):
  """VG-net that hears each frame's sound in the place of its landmarks: audio → video directly.

  Attributes: those of `VgNet`, without landmark maps, warp and darken, and those of the audio encoder (see `at_net.AtNet`), whose
  features go where the landmarks went. The example frame has no sound: zeros.
  """

  audio_features: tuple[tuple[int, ...], tuple[int, ...]] = ((64, 128), (256, 256, 512))
  audio_head_features: tuple[int, ...] = (2048, 256)

  @nn.compact
  def __call__(self, example_image: Array, mfcc: Array, *, train: bool, carry: Array | None = None) -> dict[str, Any]:
    """As `VgNet`, of mfcc [B, T, 28, 12]."""
    if self.landmark_maps or self.warp or self.darken:
      raise InputError(
        'model.landmark_maps, model.warp, model.darken: a net that hears sound in the place of landmarks has none'
      )
    conv, dense = net_parts(self)
    heard = AudioEncoder(self.audio_features, self.audio_head_features, conv, dense, name='audio_encoder')(
      mfcc, train=train
    )
    nothing = jnp.zeros((len(heard), heard.shape[-1]), heard.dtype)
    return super().__call__(example_image, nothing, heard, train=train, carry=carry)
