"""VG-net of the published size against its discriminator on GRID and LRW-AR together: landmarks → video.

  atvg train --config=configs/vg_union.py --workdir=runs/vg_union

TIME_VG
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('vg')
  config.data.dirs = ('data/grid', 'data/lrw_ar')
  config.discriminator = ConfigDict()
  config.num_steps = 20_000
  return common.finish(config, arg)
