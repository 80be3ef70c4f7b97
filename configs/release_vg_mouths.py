"""The packaged VG-net once more, on mouths that shut and open: the last stage of its training.

  atvg train --config=configs/release_vg_mouths.py --workdir=runs/release_vg_mouths

goes on from the VG-net of `release_vg`, which had learnt with a warp of one smooth field, and also takes GRID's s2, s3,
s23, s101 and s102. In half of the windows the example is the clip's frame whose mouth is open by the most different
amount, and pixels between the lips weigh two and a half times as much as the others of the mouth. 1.3 steps/s on two
shared CPU cores. The packaged VG-net is what comes out (`assets/WEIGHTS.md`).
"""

from ml_collections import ConfigDict

from configs import common, release_vg


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = release_vg.get_config()
  config.data.dirs = ('data/grid', 'data/grid_more', 'data/lrw_ar')
  config.data.weights = (0.15, 0.2, 0.65)
  config.data.contrast = 0.5
  config.loss.inside = 1.5
  config.generation.darken = 0.4
  config.generation.seam = 0.3
  config.init_from = 'runs/release_vg_again'
  config.optimizer.learning_rate = 4e-4
  config.num_steps = 2600
  return common.finish(config, arg)
