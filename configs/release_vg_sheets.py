"""pilot"""

from configs import common, release_vg


def get_config(arg: str = ''):
  config = release_vg.get_config()
  config.data.dirs = ('data/grid', 'data/grid_more_train', 'data/lrw_ar')
  config.data.weights = (0.15, 0.2, 0.65)
  config.data.contrast = 0.5
  config.loss.inside = 1.5
  config.generation.darken = 0.0
  config.init_from = 'atvg_jax/assets/vg_small.npz'
  config.optimizer.learning_rate = 4e-4
  config.num_steps = 2600
  return common.finish(config, arg)
