"""VG-net and one person: all of its parameters learn from that person's frames, by the training loop as it is."""

import os

from ml_collections import ConfigDict

from atvg_jax.checkpoints import weights
from atvg_jax.train import loop, metric_writers
from configs import personal_vg
from data_pipelines import features

STEPS_A_MINUTE = 45  # of all the time that may pass, on two cores; conversion and scores take their share
_STEPS_A_SECOND = 20  # of the person's video: after that it learns these frames, not this face
_EVALUATIONS = 8
_SCORE = 'ssim_mouth'


def num_steps(minutes: float, frames: int) -> int:
  """Steps of a training that takes its share of `minutes`, on so many frames of training data."""
  steps = min(STEPS_A_MINUTE * minutes, _STEPS_A_SECOND * frames / features.FPS)
  return max(_EVALUATIONS, round(steps))


def adapt(start: str, directory: str, workdir: str, steps: int) -> tuple[weights.Bundle, dict[str, float]]:
  """VG-net for one person: the best step by the held-out part's score, of which the start is one.

  Args:
    start: file of the weights to start from.
    directory: the person's converted data.
    workdir: of the training, which goes on there where it was interrupted.
    steps: see `num_steps`.

  Returns:
    The weights, and 'step' (0: those it started from), 'score' and 'start_score'.

  Raises:
    InputError: what `loop.train` raises.
    KeyboardInterrupt: it was asked to stop, and has saved.
  """
  bundle = weights.load(start)
  config = personal_vg.get_config()
  config.data.dirs = (directory,)
  config.data.batch_size, config.data.window = (bundle.config['data'][name] for name in ('batch_size', 'window'))
  config.model = ConfigDict(bundle.config['model'])
  config.generation.update(bundle.config['generation'])
  config.licence = bundle.config.get('licence', '')
  config.init_from = start
  config.num_steps = config.picture_every = steps
  config.eval_every = -(-steps // _EVALUATIONS)
  name = f'eval_{os.path.basename(directory)}/{_SCORE}'
  config.best_metric = name
  _, summary = loop.train(config.lock(), workdir)
  if summary['interrupted']:
    raise KeyboardInterrupt
  best = weights.load(os.path.join(workdir, 'best'))
  score = {'step': summary['best_step'], 'score': summary[f'best_{name}'], 'start_score': _at_start(workdir, name)}
  return (best if summary['best_step'] else bundle), score


def _at_start(workdir: str, name: str) -> float:
  return next(row[name] for row in metric_writers.rows(workdir) if row['step'] == 0 and name in row)
