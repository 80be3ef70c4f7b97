"""What all configs share: every field with its default and its meaning, and what `:smoke` makes of them.

A config file calls `base(task)`, changes fields, and ends with `finish(config, arg)`. Fields that do not
exist here cannot be set: a typing error ends the run before it begins. On the command line a field is set
by `--config.optimizer.learning_rate=1e-4`.
"""

from ml_collections import ConfigDict, config_dict

from data_pipelines.errors import InputError


def base(task: str) -> ConfigDict:
  """The published training of a task, 'at' (audio → landmarks) or 'vg' (landmarks → video), without data."""
  config = ConfigDict()
  config.task = task
  config.seed = 2019

  config.data = ConfigDict()
  config.data.dirs = ()  # folders that `atvg prepare` wrote; clips of all of them are mixed
  config.data.weights = ()  # how often to draw from each of them; () draws by their number of clips
  config.data.split = 'train'
  config.data.batch_size = 16 if task == 'at' else 10  # clips, over all devices
  config.data.window = 16  # frames of a clip
  config.data.image_size = 128  # side of the crops
  # Share of windows whose example is the clip's frame whose mouth is open by the most different amount.
  config.data.contrast = 0.0
  config.data.augment = ()  # see data_pipelines/augmentation/ops.py

  config.landmarks = ConfigDict()  # the linear model of how faces move, see atvg_jax/landmarks.py
  config.landmarks.num_components = 6
  config.landmarks.points = 'mouth_jaw'
  config.landmarks.symmetric = True
  # Gap of the lips of a mouth at rest, in half crops, that coefficients refer to: wider rests are closed to it.
  # None: the mean of the clips' rests, and coefficients refer to each clip's own.
  config.landmarks.rest_gap = config_dict.placeholder(float)

  config.model = ConfigDict()  # keywords of AtNet or VgNet; an empty one means published sizes
  if task == 'at':
    config.model.audio = 'mfcc'  # the front end, or 'speech': see atvg_jax/audio/front_ends.py
  config.discriminator = None  # keywords of RegressionDiscriminator (an empty ConfigDict: published sizes), or None
  # Weights that a new run starts from: a training workdir or an .npz file of the same net, or 'packaged'.
  config.init_from = ''
  config.published = False  # generate with the published code's quirks, see docs/fidelity.md
  config.licence = ''  # of weights trained on this data; goes into released files
  config.dtype = 'float32'  # of the computation; parameters and statistics are float32
  config.sync_batch_norm = False  # batch statistics over all devices instead of each device's
  config.accumulate = 1  # gradient accumulation: parts of a device's batch, whose gradients are averaged
  config.skip_nonfinite = False  # leave out steps whose loss or gradient is not finite, instead of stopping

  if task == 'vg':
    config.remat = False  # rematerialise the decoder's activations for the gradient: less memory, more time
    config.d_steps = 1  # updates of the discriminator before one of the generator, on the same clips
    config.simultaneous = False  # one generated video for both updates; the published order generates twice

  config.generation = _generation(task)
  config.loss = _loss(task)

  config.optimizer = ConfigDict()  # Adam, for each net
  config.optimizer.learning_rate = 2e-4
  config.optimizer.schedule = 'constant'  # or 'cosine'
  config.optimizer.warmup_steps = 0
  config.optimizer.b1 = 0.5
  config.optimizer.b2 = 0.999
  config.optimizer.clip_norm = config_dict.placeholder(float)  # None: gradients are not clipped
  config.ema_decay = 0.0  # of the moving average of the parameters; 0: none

  config.num_steps = 1000
  config.log_every = 20
  config.eval_every = 500
  config.picture_every = 500
  config.checkpoint_every = 500
  config.keep_checkpoints = 3
  # A score of the evaluation, such as 'eval_grid/ssim_mouth' or, where lower is better, '-eval_grid/lmd': the step with
  # the best score is kept as WORKDIR/best, which can be generated with and released.
  config.best_metric = ''

  config.evaluation = ConfigDict()  # during training, on each data set's held-out split
  config.evaluation.split = 'validation'
  config.evaluation.batch_size = 8
  config.evaluation.batches = config_dict.FieldReference(4, field_type=int)  # of each process; None: the whole split
  config.evaluation.stride = 1  # every how many batches one is taken, so that few cover a split's speakers
  # Frames of a clip; None: all.
  config.evaluation.window = config_dict.FieldReference(16 if task == 'vg' else None, field_type=int)
  return config


def _generation(task: str) -> ConfigDict:
  """What is done to finished coefficients and frames, in evaluation and generation. It can change during a run."""
  generation = ConfigDict()
  if task == 'at':
    # The coefficients are multiplied by this: a mean over what a mouth might do moves less than a mouth.
    generation.exaggeration = 1.0
  else:
    generation.darken = 0.0  # mouths that open where the example image shows them shut, see models/postprocessing.py
    generation.sharpen = 0.0  # strength of an unsharp mask where frames were drawn or warped
    generation.seam = 0.0  # light on the line between lips that meet
  return generation


def _loss(task: str) -> ConfigDict:
  """Weights of the loss's terms."""
  loss = ConfigDict()
  if task == 'at':
    loss.velocity = 0.0  # of the coefficients' frame-to-frame change; their value has weight 1
    loss.gap = 0.0  # of the lips' gap, in units of the first coefficient
    loss.gap_velocity = 0.0  # of its frame-to-frame change
    loss.closure = 0.0  # how much more the gap counts where the true lips touch
    loss.concordance = 0.0  # 1 - the gap's concordance with the truth, which keeps the range of the movement
    loss.speaking = 0.0  # whether somebody speaks, for a head with `speech_gate` on scenes
    loss.distance = 0.0  # how far off the mouth's points are, in pixels: what LMD measures
  else:
    loss.pixel = 10.0  # the paper's λ, of the dynamic pixel-wise loss
    loss.dynamic = True  # whether that is weighed by the attention; without, a plain L1
    loss.adversarial = 1.0  # with a discriminator: real or fake
    loss.landmark = 1.0  # with a discriminator that regresses: its landmarks
    loss.gradient = 0.0  # differences of neighbouring pixels
    loss.ssim = 0.0  # 1 - SSIM of the mouth's part of the frames
    loss.sharpened_mouth = 0.0  # how much the target's mouth is sharpened: generated mouths are softer than it
    loss.inside = 0.0  # how much more a pixel between the inner lips weighs there, in multiples of `mouth_weight`
    loss.mouth_weight = 1.0  # of a pixel of the mouth in the pixel and gradient terms
  return loss


def finish(config: ConfigDict, arg: str) -> ConfigDict:
  """Applies a config's colon argument: '' or 'smoke'."""
  if arg not in ('', 'smoke'):
    raise InputError(f"a config's argument is 'smoke' or nothing, not {arg!r}: --config=configs/....py:smoke")
  return _smoke(config) if arg else config


def _smoke(config: ConfigDict) -> ConfigDict:
  """The same code with tiny nets for a few steps: about a minute on two cores."""
  config.num_steps = 8
  config.log_every = 2
  config.eval_every = config.picture_every = config.checkpoint_every = 4
  config.data.batch_size = config.evaluation.batch_size = 2
  config.data.window = 5
  config.evaluation.batches = 1
  config.evaluation.window = 5
  config.optimizer.warmup_steps = min(config.optimizer.warmup_steps, 2)
  upsample_features = (8,) * len(config.model.get('upsample_features', (8, 8)))
  config.model.update(_TINY.get(config.model.get('name'), _TINY[config.task]))
  if config.task == 'vg':
    config.model.upsample_features = upsample_features
  if config.model.get('name') == 'at_single':
    for name in ('landmark_features', 'recurrent_features'):
      del config.model[name]
  if config.discriminator is not None:
    config.discriminator.update(
      features=(4, 8), image_head_features=8, landmark_features=(8, 8), recurrent_features=8, recurrent_layers=1
    )
  return config


_TINY = {
  'speech_head': {'dense_features': 8, 'recurrent_features': 8, 'recurrent_layers': 1},
  'at': {
    'audio_features': ((4, 8), (8, 8, 8)),
    'audio_head_features': (16, 8),
    'landmark_features': (8, 8),
    'recurrent_features': 8,
  },
  'vg': {
    'encoder_features': (4, 4, 8),
    'deep_features': (8, 8),
    'stem_kernel': 3,
    'landmark_features': (8, 8),
    'landmark_attention_features': (8, 8),
    'bottleneck_features': 8,
    'recurrent_features': 8,
    'residual_blocks': 1,
    'decoder_features': (8, 8),
    'head_kernel': 3,
  },
}
