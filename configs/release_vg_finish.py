"""The packaged VG-net's second stage: the net of release_vg.py goes on against a small discriminator that sees the mouth.

  atvg train --config=configs/release_vg_finish.py --workdir=runs/release_vg_finish

The pixel terms alone draw the mean of what lips and teeth might look like, which is soft; the discriminator judges every frame, and the
agreement of its layers' features on real and drawn mouths keeps their grain alike. About 1.7 steps/s on two CPU cores, 47 minutes in all
beside other work. At the end, of a net without `warp`, eval_lrw_ar/ssim_mouth 0.876 (still picture 0.786) and psnr_mouth 27.6 (24.5) on
speakers never seen, eval_grid/ssim_mouth 0.888 (0.729) and psnr_mouth 31.1 (26.5) on held-out clips of GRID s1.
"""

from ml_collections import ConfigDict

from configs import common, release_vg


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = release_vg.get_config()
  config.init_from = '' if arg == 'smoke' else 'runs/release_vg'
  with config.unlocked():
    config.discriminator = ConfigDict(dict(
        features=(24, 48, 64, 96), image_head_features=96, sequence=False, regression=False, norm='group',
        init_stddev=None))
  config.discriminator_sees = 'mouth'
  config.data.weights = (0.3, 0.7)
  config.simultaneous = True
  config.loss.adversarial = 0.1
  config.loss.feature = 5.0
  config.optimizer.learning_rate = 4e-4
  config.optimizer.b1 = 0.5
  config.num_steps = 4500
  return common.finish(config, arg)
