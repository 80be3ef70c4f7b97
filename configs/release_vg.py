"""The packaged VG-net: small, without a discriminator, on GRID and LRW-AR together.

  atvg train --config=configs/release_vg.py --workdir=runs/release_vg
  atvg train --config=configs/release_vg.py --workdir=runs/release_vg_again --config.init_from=runs/release_vg \
    --config.num_steps=5000

The target's mouth is sharpened, and so are the generated frames: networks trained by pixel-wise losses generate softer
images than they learn from, and so does warping. 1.5 to 2.3 steps/s on two CPU cores. The second run takes the learning
rate up and down once more; it improves scores nearly as much as the last 7000 steps of the first did
(atvg_jax/assets/WEIGHTS.md has the figures).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('vg')
  config.licence = 'research use only: learnt from LRW-AR, whose own licence is unclear, and GRID (CC BY 4.0)'
  config.data.dirs = ('data/grid', 'data/lrw_ar')
  config.data.weights = (0.3, 0.7)  # GRID here is one speaker: the faces are in LRW-AR
  config.data.batch_size = 3
  config.data.window = 6
  config.data.augment = (
    'flip',
    'color(0.15)',
    'tone(0.3)',
    'sharpness(0.5)',
    'scale(0.06)',
    'stretch(0.1)',
    'shift(4)',
  )
  config.model.update(
    encoder_features=(16, 32, 64),
    deep_features=(128, 192),
    landmark_features=(32, 64),
    landmark_attention_features=(64, 32),
    bottleneck_features=64,
    recurrent_features=144,
    residual_blocks=4,
    decoder_features=(96, 64),
    upsample_features=(48,),
    head_kernel=3,
    norm='group',
    landmark_maps=True,
    skip=True,
    warp=True,
    dropout_rate=0.0,
    init_stddev=None,
  )
  config.generation.darken = 0.55
  config.generation.sharpen = 0.45
  config.loss.gradient = 2.0
  config.loss.mouth_weight = 12.0
  config.loss.ssim = 4.0
  config.loss.sharpened_mouth = 0.4
  config.optimizer.learning_rate = 6e-4
  config.optimizer.schedule = 'cosine'
  config.optimizer.warmup_steps = 100
  config.optimizer.b1 = 0.9
  config.optimizer.clip_norm = 5.0
  config.ema_decay = 0.999
  config.num_steps = 9000
  config.eval_every = 2000
  config.picture_every = 1000
  config.checkpoint_every = 250
  config.evaluation.stride = 4
  config.evaluation.window = 8
  return common.finish(config, arg)
