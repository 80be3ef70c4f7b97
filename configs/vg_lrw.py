"""VG-net of the published size against its discriminator on LRW, for the published five epochs: landmarks → video.

  atvg train --config=configs/vg_lrw.py --workdir=runs/vg_lrw

Time: meant for an accelerator, see docs/training.md for TPU slices; `:smoke`,
tiny nets for 8 steps, takes about a minute.
Numbers to expect: not trained here, where there is no LRW. What to beat: `eval_lrw/..._still`, the example image
repeated, and the small net of release_vg.py.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('vg')
  config.licence = 'learnt from Lip Reading in the Wild: academic research only'
  config.data.dirs = ('data/lrw',)
  config.discriminator = ConfigDict()
  config.num_steps = 244_000  # five epochs of 488,766 clips
  config.eval_every = config.picture_every = config.checkpoint_every = 2000
  config.best_metric = 'eval_lrw/ssim_mouth'
  return common.finish(config, arg)
