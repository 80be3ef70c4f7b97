"""AT-net of the published size on GRID: speech → landmark coefficients.

  atvg train --config=configs/at_grid.py --workdir=runs/at_grid

TIME_AT
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('at')
  config.data.dirs = ('data/grid',)
  config.num_steps = 10_000
  config.data.window = 16
  config.model.norm = 'batch'
  return common.finish(config, arg)
