"""The packaged VG-net's last stage: the net of release_vg.py goes on against a small discriminator that sees the mouth.

  atvg train --config=configs/release_vg_finish.py --workdir=runs/release_vg_finish

The pixel terms alone draw the mean of what lips and teeth might look like, which is soft; the discriminator, and the agreement of its
layers' features on real and drawn mouths, bring back the edges.
"""

from ml_collections import ConfigDict

from configs import common, release_vg


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = release_vg.get_config()
  config.init_from = '' if arg == 'smoke' else 'runs/release_vg'
  with config.unlocked():
    config.discriminator = ConfigDict(dict(
        features=(24, 48, 64, 96), image_head_features=96, landmark_features=(32, 64), recurrent_features=64,
        recurrent_layers=1, norm='group', init_stddev=None))
  config.discriminator_sees = 'mouth'
  config.simultaneous = True
  config.loss.adversarial = 0.03
  config.loss.landmark = 0.003
  config.loss.feature = 1.0
  config.optimizer.learning_rate = 2e-4
  config.optimizer.b1 = 0.5
  config.num_steps = 4000
  return common.finish(config, arg)
