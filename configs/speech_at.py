"""AT-net with a pretrained speech encoder as its front end: for voices and languages that it never heard.

  atvg train --config=configs/speech_at.py --workdir=runs/speech_at

The encoder is frozen; what is trained is a recurrent head of 0.7 M parameters on its features. Every window of training
is a composed scene (`scene`, see data_pipelines/augmentation/sound_scenes.py): pauses, noise, rooms, bands, codecs.
Time: about 0.5 s a step on two shared CPU cores. After 1,000 steps: eval_grid/opening_correlation 0.932,
eval_grid_more/opening_correlation 0.919, eval_lrw_ar/opening_correlation 0.620 (before it had `loss.speaking`). More
results: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = '') -> ConfigDict:
  """The config; `arg` may be 'smoke'."""
  config = common.base('at')
  config.licence = 'research use only: learnt from LRW-AR, whose own licence is unclear, and GRID (CC BY 4.0)'
  config.data.dirs = ('data/grid', 'data/grid_more', 'data/in_step/lrw_ar')  # with --sound-offsets, see docs/data.md
  config.data.weights = (0.22, 0.22, 0.56)
  config.data.batch_size = 32
  config.data.window = 50
  config.data.augment = ('scene(1)',)
  config.landmarks.rest_gap = -0.25 / 64  # lips that touch measure a quarter of a pixel less than nothing
  config.model.update(name='speech_head', audio='speech', dense_features=192, recurrent_features=128, speech_gate=True)
  config.loss.gap = 1.0
  config.loss.gap_velocity = 2.0
  config.loss.closure = 0.5
  config.loss.distance = 0.2
  config.loss.concordance = 5.0
  config.loss.speaking = 0.5
  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = 'cosine'
  config.optimizer.warmup_steps = 300
  config.optimizer.b1 = 0.9
  config.optimizer.clip_norm = 1.0
  config.ema_decay = 0.995
  config.num_steps = 1300
  config.evaluation.batches = None
  return common.finish(config, arg)
