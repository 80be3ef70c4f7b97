"""AT-net of the published size on GRID and LRW-AR together: speech → landmark coefficients.

  atvg train --config=configs/at_union.py --workdir=runs/at_union

TIME_AT
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('at')
  config.data.dirs = ('data/grid', 'data/lrw_ar')
  config.num_steps = 10_000
  config.data.window = 16
  config.model.norm = 'batch'
  return common.finish(config, arg)
