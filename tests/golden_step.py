"""One training step of the published game, D then G, with the recipe's weights and inputs and dropout off.

  PYTHONPATH=.:tests python -m golden_step

writes what rounding does to its gradients to tests/golden/reference_2019_step_rounding.json.
"""

import dataclasses
import functools
import json
from typing import Any, NamedTuple

import golden_recipe as golden
import jax
import jax.numpy as jnp
import numpy as np
import optax

from atvg_jax.convert import torch_weights
from atvg_jax.models.discriminator import RegressionDiscriminator
from atvg_jax.models.layers import LayerOptions
from atvg_jax.models.vg_net import VgNet
from atvg_jax.train import losses

# By direct convolutions: Adam's signs make the small rounding of the faster ones a large one.
_LAYERS = LayerOptions(winograd=False)
_G = VgNet(recurrence='batch', dropout_rate=0.0, layers=_LAYERS)
_D = RegressionDiscriminator(layers=_LAYERS)


_NOISE = 1e-6  # of the weights: what sums of thousands of float32 products differ by between libraries
_ROUNDING = f'reference_{golden.SEED}_step_rounding.json'


class Step(NamedTuple):
  """What came of a step.

  Attributes:
    losses: by name.
    grad_norms: by 'd/' or 'g/' and the PyTorch name.
    batch_stats: the generator's after its two passes.
  """

  losses: dict[str, float]
  grad_norms: dict[str, float]
  batch_stats: Any


class Game:
  """The step, compiled once."""

  def __init__(self, dtype: Any = jnp.float32):
    self._dtype = np.dtype(dtype)
    layers = dataclasses.replace(_LAYERS, dtype=dtype)
    nets = {'g': _G.clone(layers=layers), 'd': _D.clone(layers=layers)}
    self._step = jax.jit(functools.partial(_step, nets['g'], nets['d']))
    self._variables = [
      torch_weights.convert(net, golden.state_dict(name)) for net, name in ((_G, 'vg_net'), (_D, 'discriminator'))
    ]
    self._inputs = (
      golden.channels_last(golden.inputs('step/image', (2, 3, 128, 128), 0.5)),
      golden.inputs('step/example_landmarks', (2, 136), 0.4),
      golden.channels_last(golden.inputs('step/video', (2, 16, 3, 128, 128), 0.5)),
      golden.inputs('step/landmarks', (2, 16, 136), 0.4),
    )

  def __call__(self, noise: float = 0.0, seed: int = 0) -> Step:
    """Plays it; `noise` changes each weight by up to this share of it, at random."""
    rng = np.random.default_rng(seed)

    def disturbed(x):
      return np.asarray(x * (1 + noise * rng.uniform(-1, 1, x.shape)) if noise else x, self._dtype)

    g, d = jax.tree.map(disturbed, self._variables)
    inputs = [np.asarray(x, self._dtype) for x in self._inputs]
    terms, grads, batch_stats = jax.device_get(self._step(g, d, *inputs))
    norms = {
      f'{name}/{key}': norm
      for name, net in (('d', _D), ('g', _G))
      for key, norm in _gradient_norms(net, grads[name]).items()
    }
    return Step(terms, norms, batch_stats)


def errors(norms: dict[str, float], published: dict[str, float]) -> dict[str, float]:
  """Relative differences by name; differences of less than 1e-6 count as none: noise around a true zero."""
  assert norms.keys() == published.keys()
  return {
    name: 0.0 if abs(norms[name] - norm) <= 1e-6 else abs(norms[name] - norm) / norm for name, norm in published.items()
  }


def rounding(game: Game, step: Step) -> dict[str, float]:
  """By how much gradient norms change, relatively, with weights that differ by rounding: the larger of two tries."""
  tries = [errors(game(_NOISE, seed).grad_norms, step.grad_norms) for seed in (1, 2)]
  return {name: float(max(one[name] for one in tries)) for name in step.grad_norms}


def kept_rounding() -> dict[str, float] | None:
  """What `rounding` was found to be for this seed, or None where nobody wrote it down."""
  path = golden.path(_ROUNDING)
  return json.loads(path.read_text()) if path.exists() else None


def _step(g_net, d_net, g, d, image, example_landmarks, video, landmarks):
  """Both updates' losses and gradients, and the generator's batch statistics after its two passes."""

  def generate(params, batch_stats):
    outputs, updates = g_net.apply(
      {'params': params, 'batch_stats': batch_stats},
      image,
      example_landmarks,
      landmarks,
      train=True,
      mutable=['batch_stats'],
    )
    return outputs, updates['batch_stats']

  def discriminate(params, clip):
    # The statistics that D keeps reach none of the numbers compared here.
    return d_net.apply(
      {'params': params, 'batch_stats': d['batch_stats']}, clip, example_landmarks, train=True, mutable=['batch_stats']
    )[0]

  outputs, g_batch_stats = generate(g['params'], g['batch_stats'])
  fake = jax.lax.stop_gradient(outputs['video'])

  def d_loss(params):
    real_out, fake_out = discriminate(params, video), discriminate(params, fake)
    terms = {
      'd_real': losses.bce_with_logits(real_out['logits'], 1.0),
      'd_fake': losses.bce_with_logits(fake_out['logits'], 0.0),
      'd_landmark_real': losses.landmark_loss(real_out['landmarks'], landmarks),
      'd_landmark_fake': losses.landmark_loss(fake_out['landmarks'], landmarks),
    }
    return sum(terms.values()), terms

  d_grads, d_terms = jax.grad(d_loss, has_aux=True)(d['params'])
  adam = optax.adam(2e-4, b1=0.5, b2=0.999)
  updates, _ = adam.update(d_grads, adam.init(d['params']))
  # PyTorch's LSTMs have two biases, whose sum ours is. Adam moves either by a whole step, so their sum by two.
  updates['lstm'] = {name: update * (2 if name.startswith('bias') else 1) for name, update in updates['lstm'].items()}
  d_params = optax.apply_updates(d['params'], updates)

  def g_loss(params):
    outputs, batch_stats = generate(params, g_batch_stats)
    judged = discriminate(d_params, outputs['video'])
    terms = {
      'g_pixel': losses.dynamic_pixel_loss(outputs['video'], video, outputs['attention']),
      'g_adversarial': losses.bce_with_logits(judged['logits'], 1.0),
      'g_landmark': losses.landmark_loss(judged['landmarks'], landmarks),
    }
    return 10 * terms['g_pixel'] + terms['g_adversarial'] + terms['g_landmark'], (terms, batch_stats)

  g_grads, (g_terms, batch_stats) = jax.grad(g_loss, has_aux=True)(g['params'])
  return d_terms | g_terms, {'d': d_grads, 'g': g_grads}, batch_stats


def _gradient_norms(net, grads):
  """Norms under the PyTorch names: all conversions keep them, but where two tensors make one of ours."""
  norms = {}
  for rule in torch_weights.rules(net):
    collection, *names = rule.path.split('/')
    if collection != 'params':
      continue
    grad = grads
    for name in names:
      grad = grad[name]
    # Of the heads, colour's three channels, then attention's one; else a sum of two biases gives both its gradient.
    parts = [grad[..., :3], grad[..., 3:]] if names[0] == 'heads' else [grad] * len(rule.keys)
    norms |= {key: _float32_norm(part) for key, part in zip(rule.keys, parts, strict=True)}
  return norms


def _float32_norm(x):
  """The norm as PyTorch's CPU kernel sums it, in eight float32 lanes: of 16 million numbers that loses 1e-3."""
  if x.dtype == np.float64:
    return np.linalg.norm(x)
  squares = np.square(np.ravel(x))
  squares = np.pad(squares, (0, -squares.size % 8)).reshape(-1, 8)
  return np.sqrt(np.sum(squares, axis=0, dtype=np.float32).sum())  # row after row


if __name__ == '__main__':
  played = Game()
  found = rounding(played, played())
  short = {name: float(f'{value:.3g}') for name, value in found.items()}
  golden.path(_ROUNDING).write_text(json.dumps(short, indent=0) + '\n')
