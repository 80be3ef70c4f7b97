"""The packaged VG-net's last stage: as sharp as real frames.

  atvg train --config=configs/release_vg_sharpen.py --workdir=runs/release_vg_sharpen

Goes on from configs/release_vg_finish.py, without the discriminator. The target's mouth is sharpened, and so are the frames that are drawn at the
end: what is learnt from pixels is softer than they are, and so is an image that was bent. 1.3 to 2 steps/s on two CPU cores. The packaged
file took 6,400 steps of this stage without `warp` and 4,500 with it (atvg_jax/assets/WEIGHTS.md). Its
scores are there.
"""

from ml_collections import ConfigDict

from configs import common, release_vg


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = release_vg.get_config()
  config.init_from = '' if arg == 'smoke' else 'runs/release_vg_finish'
  config.data.weights = (0.3, 0.7)
  config.data.augment = ('flip', 'color(0.15)', 'tone(0.3)', 'sharpness(0.5)', 'scale(0.06)', 'stretch(0.1)', 'shift(4)')
  config.model.sharpen = 0.6
  config.loss.ssim = 4.0
  config.loss.sharpened_mouth = 0.4
  config.optimizer.learning_rate = 6e-4
  config.optimizer.clip_norm = 5.0
  config.num_steps = 6400
  return common.finish(config, arg)
