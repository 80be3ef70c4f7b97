"""The packaged VG-net on one person: what `atvg personalise` trains.

  atvg prepare clips --source ME.mp4 --out data/me
  atvg train --config=configs/personal_vg.py --workdir=runs/me --config.data.dirs=data/me

All of its parameters learn, from the packaged ones on. The rate is a third of that of `release_vg_mouths`, and pictures
are changed less: there is one face, in the light that it will be drawn in. docs/personalise.md has what was measured.
"""

from ml_collections import ConfigDict

from configs import common, release_vg_mouths


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = release_vg_mouths.get_config()
  config.data.dirs = ('data/me',)
  config.data.weights = ()
  config.data.augment = ('flip', 'color(0.05)', 'scale(0.03)', 'shift(2)')
  config.init_from = 'packaged'
  config.optimizer.learning_rate = 2e-4
  config.optimizer.warmup_steps = 20
  config.ema_decay = 0.99
  config.num_steps = 900
  config.eval_every = config.checkpoint_every = 100
  config.picture_every = 900
  config.evaluation.batches = None
  config.evaluation.batch_size = 2
  config.evaluation.stride = 1
  config.evaluation.window = 48
  return common.finish(config, arg)
