"""AT-net of the published size on LRW, for the published ten epochs: speech → landmark coefficients.

  atvg train --config=configs/at_lrw.py --workdir=runs/at_lrw

Time: meant for an accelerator, see docs/training.md for TPU slices; `:smoke`,
a tiny net for 8 steps, takes half a minute.
Numbers to expect: not trained here, where there is no LRW. What to beat: `eval_lrw/lmd_still`, the mouth at rest,
and the small net of release_at.py.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('at')
  config.licence = 'learnt from Lip Reading in the Wild: academic research only'
  config.data.dirs = ('data/lrw',)
  config.num_steps = 305_000  # ten epochs of 488,766 clips
  config.data.window = 16
  config.model.norm = 'batch'
  config.eval_every = config.picture_every = config.checkpoint_every = 2000
  config.best_metric = 'eval_lrw/opening_correlation'
  return common.finish(config, arg)
