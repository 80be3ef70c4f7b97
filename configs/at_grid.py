"""AT-net of the published size on GRID: speech → landmark coefficients.

  atvg train --config=configs/at_grid.py --workdir=runs/at_grid

Time: meant for an accelerator. On two busy CPU cores a step of 16 clips of 16 frames took 23 s; `:smoke`, a tiny
net for 8 steps, takes half a minute.
Numbers to expect: not trained to the end at this size yet. What to beat: `eval_.../lmd_still`, the mouth at rest
(about 1.4 pixels on GRID), and the small net of release_at.py.
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
