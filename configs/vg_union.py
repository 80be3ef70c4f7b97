"""VG-net of the published size against its discriminator on GRID and LRW-AR together: landmarks → video.

  atvg train --config=configs/vg_union.py --workdir=runs/vg_union

Time: meant for an accelerator. On two busy CPU cores a step with both updates took 12 s for every clip of 16 frames;
`:smoke`, tiny nets for 8 steps, takes about a minute.
Numbers to expect: not trained to the end at this size yet. What to beat: `eval_.../..._still`, the example image
repeated, and the small net of release_vg.py.
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
