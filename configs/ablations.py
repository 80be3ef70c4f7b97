"""The rows of the ablation table: each is a training that differs in what it is named after from the full model.

  atvg ablate --config=configs/ablations.py --workdir=runs/ablations
  atvg train --config=configs/ablations.py:mmcrnn --workdir=runs/mmcrnn

The first trains and scores all rows, the second trains one. `:smoke` (`:mmcrnn,smoke`) makes tiny nets for a few steps,
`:published` (`:mmcrnn,published`) nets of the published sizes; without either they are small enough for two cores.
docs/ablations.md tells what each row answers.
"""

from ml_collections import ConfigDict

from configs import common
from data_pipelines.errors import InputError

_FULL = 'full'
_NO_DISCRIMINATOR = {'discriminator': None}
_PLAIN_L1 = {**_NO_DISCRIMINATOR, 'loss.dynamic': False}
_NO_ATTENTION = {**_PLAIN_L1, 'model.attention': False, 'model.composition': False}


_ONLY_AT_NET = {'audio_features', 'audio_head_features', 'landmark_features', 'recurrent_features', 'recurrent_layers'}


def sweep(add) -> None:
  """Calls `add(row, title, task, fields, against)` for every row, in the table's order.

  `fields` are set in the full model. `against`, which may be left out, is the row that it differs from in one thing.
  """
  add(
    'direct',
    'direct: sound → video',
    'vg',
    {**_NO_DISCRIMINATOR, 'model.name': 'sound_vg', 'model.landmark_maps': False},
    against='dynamic_loss',
  )
  add('baseline', 'baseline: frame-wise, plain L1', 'vg', {**_NO_ATTENTION, 'model.recurrence': 'none'})
  add('mmcrnn', '+ MMCRNN', 'vg', _NO_ATTENTION, against='baseline')
  add('attention', '+ attention', 'vg', _PLAIN_L1, against='mmcrnn')
  add('dynamic_loss', '+ dynamic pixel-wise loss', 'vg', _NO_DISCRIMINATOR, against='attention')
  add(
    'frame_discriminator',
    '+ frame-wise discriminator',
    'vg',
    {'discriminator.sequence': False, 'discriminator.regression': False},
    against='dynamic_loss',
  )
  add(
    'sequence_discriminator',
    '+ sequence discriminator',
    'vg',
    {'discriminator.regression': False},
    against='frame_discriminator',
  )
  add(_FULL, '+ regression: the full model', 'vg', {}, against='sequence_discriminator')
  add('recurrence_batch', 'full, recurrence over the batch', 'vg', {'model.recurrence': 'batch'}, against=_FULL)
  add('simultaneous', 'full, simultaneous updates', 'vg', {'simultaneous': True}, against=_FULL)
  one, two = ({'model.warp': True, 'model.sheets': sheets} for sheets in (1, 2))
  add('one_sheet', 'full over the warped example, one sheet', 'vg', one, against=_FULL)
  add('two_sheets', 'full over the warped example, two sheets', 'vg', two, against='one_sheet')
  add('at_single', 'AT-single: frame-wise', 'at', {'model.name': 'at_single'})
  add('at_net', 'AT-net', 'at', {}, against='at_single')
  for front_end in ('mfcc', 'speech'):
    add(
      f'head_{front_end}',
      f'recurrent head on {front_end}',
      'at',
      {'model.name': 'speech_head', 'model.audio': front_end},
      against='head_mfcc' if front_end == 'speech' else '',
    )
  add('components_2', 'AT-net, 2 PCA components', 'at', _components(2), against='at_net')
  add('components_12', 'AT-net, 12 PCA components', 'at', _components(12), against='at_net')
  add('asymmetric', 'AT-net, sides apart', 'at', {'landmarks.symmetric': False}, against='at_net')
  all_points = {'landmarks.points': 'all', 'landmarks.symmetric': False}
  add('all_points', 'AT-net, all 68 points', 'at', all_points, against='asymmetric')


def _components(number: int) -> dict:
  return {'landmarks.num_components': number, 'model.num_coefficients': number}


def get_config(arg: str = '') -> ConfigDict:
  """The config of a row; `arg` is 'ROW', 'ROW,smoke' or 'ROW,published', by default the full model."""
  rows = {}
  sweep(lambda row, title, task, fields, against='': rows.update({row: (task, fields)}))
  row, _, size = arg.partition(',')
  if row in ('smoke', 'published'):
    row, size = _FULL, row
  row = row or _FULL
  if row not in rows:
    raise InputError(f'there is no row {row!r} in the ablation table: use one of {", ".join(rows)}')
  task, fields = rows[row]
  config = common.base(task)
  config.licence = 'research use only: learnt from LRW-AR, whose own licence is unclear, and GRID (CC BY 4.0)'
  config.data.dirs = ('data/grid', 'data/grid_more', 'data/lrw_ar')
  {'at': _at, 'vg': _vg}[task](config, published=size == 'published')
  config.update_from_flattened_dict(fields)
  if config.model.get('name') == 'at_single':
    for name in ('landmark_features', 'recurrent_features', 'recurrent_layers'):
      if name in config.model:
        del config.model[name]
  if config.model.get('name') == 'speech_head':
    for name in _ONLY_AT_NET & set(config.model):
      del config.model[name]
  if config.model.get('name') == 'sound_vg' and size != 'published':
    config.model.update(audio_features=((16, 32), (48, 64)), audio_head_features=(128, 64))
  return common.finish(config, '' if size == 'published' else size)


def _vg(config: ConfigDict, published: bool) -> None:
  """VG-net against its discriminator, by the published losses; the small one with two aids of release_vg."""
  config.discriminator = ConfigDict()
  # Held-out clips one by one: a recurrence over the batch then sees no other clip.
  config.evaluation.batch_size = 1
  config.evaluation.batches = 6
  config.evaluation.stride = 8
  config.evaluation.window = 24
  if published:
    config.num_steps = 20_000
    config.eval_every = config.picture_every = config.checkpoint_every = 1000
    return
  config.data.weights = (0.15, 0.2, 0.65)
  config.data.batch_size = 2
  config.data.window = 6
  config.data.augment = ('flip', 'color(0.1)')
  config.model.update(
    encoder_features=(8, 16, 32),
    deep_features=(48, 64),
    landmark_features=(32, 64),
    landmark_attention_features=(32, 32),
    bottleneck_features=48,
    recurrent_features=64,
    residual_blocks=3,
    decoder_features=(48, 32),
    upsample_features=(24,),
    head_kernel=3,
    norm='group',
    landmark_maps=True,
    dropout_rate=0.0,
    init_stddev=None,
  )
  config.discriminator.update(
    features=(16, 24, 32, 48),
    image_head_features=64,
    landmark_features=(64, 64),
    recurrent_features=64,
    recurrent_layers=1,
    norm='group',
    init_stddev=None,
  )
  config.loss.mouth_weight = 12.0
  config.optimizer.learning_rate = 2e-3
  config.optimizer.b1 = 0.9
  config.optimizer.schedule = 'cosine'
  config.optimizer.warmup_steps = 50
  config.optimizer.clip_norm = 3.0
  config.ema_decay = 0.99
  config.num_steps = 2000
  config.eval_every = 250
  config.picture_every = 1000
  config.checkpoint_every = 250


def _at(config: ConfigDict, published: bool) -> None:
  """AT-net, or its frame-wise form."""
  config.evaluation.batches = None
  if published:
    config.model.norm = 'batch'
    config.num_steps = 10_000
    config.eval_every = config.picture_every = config.checkpoint_every = 1000
    return
  config.data.weights = (0.15, 0.2, 0.65)
  config.data.batch_size = 16
  config.data.window = 16
  config.model.update(
    audio_features=((16, 32), (48, 64)),
    audio_head_features=(128, 64),
    landmark_features=(64, 64),
    recurrent_features=64,
    recurrent_layers=2,
    dropout_rate=0.3,
    norm='group',
    init_stddev=None,
  )
  config.loss.velocity = 0.5
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule = 'cosine'
  config.optimizer.warmup_steps = 50
  config.optimizer.b1 = 0.9
  config.optimizer.clip_norm = 1.0
  config.ema_decay = 0.99
  config.num_steps = 2000
  config.eval_every = 200
  config.picture_every = 1000
  config.checkpoint_every = 250
