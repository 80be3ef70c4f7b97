"""The packaged AT-net: small, on GRID and LRW-AR together.

  atvg train --config=configs/release_at.py --workdir=runs/release_at

An ensemble of two networks; 2.1 steps/s on two CPU cores beside other work, 16 minutes in all. At the end, on held-out
clips of GRID s1 and on held-out speakers of LRW-AR: eval_grid/opening_correlation 0.91,
eval_lrw_ar/opening_correlation 0.54, eval_grid/lmd 0.58 (mouth at rest: 1.35), eval_lrw_ar/lmd 1.076 (1.437).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('at')
  config.licence = 'research use only: learnt from LRW-AR, whose own licence is unclear, and GRID (CC BY 4.0)'
  config.seed = 7  # the packaged file's
  config.data.dirs = ('data/grid', 'data/in_step/lrw_ar')  # converted with --sound-offsets, see docs/data.md
  config.data.weights = (0.15, 0.85)
  config.data.batch_size = 32
  config.data.window = 24
  config.data.augment = ('mfcc_noise(0.1)', 'mfcc_shift(0.3)', 'mfcc_band_mask(2)')
  config.model.update(
    audio_features=((96, 96), (192,)),
    audio_head_features=(512,),
    audio_sequence=True,
    landmark_features=(64, 64),
    recurrent_features=192,
    recurrent_layers=1,
    ensemble_size=2,
    dropout_rate=0.55,
    norm='group',
    init_stddev=None,
  )
  config.loss.velocity = 0.5
  config.loss.distance = 0.5
  # So that the openings drawn vary about as much as the true ones do on held-out clips.
  config.generation.exaggeration = 1.2
  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = 'cosine'
  config.optimizer.warmup_steps = 200
  config.optimizer.b1 = 0.9
  config.optimizer.clip_norm = 1.0
  config.ema_decay = 0.999
  config.num_steps = 2000
  config.eval_every = 1000
  config.evaluation.batches = None
  return common.finish(config, arg)
