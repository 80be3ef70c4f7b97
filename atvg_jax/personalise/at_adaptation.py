"""AT-net and one person: how late the sound is, and how this mouth moves to it.

Few parameters are adapted, in closed form: the rest shape of the face, and the last layer, by ridge regression of what
the mouth does beyond what AT-net says. That beat training all of the network on less than a minute of speech
(docs/personalise.md), takes seconds, and has no step at which to stop.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from atvg_jax import landmarks as lm
from atvg_jax import models
from atvg_jax.audio import front_ends
from atvg_jax.checkpoints import weights
from atvg_jax.metrics import landmark_metrics
from atvg_jax.models import speech_head
from atvg_jax.train import feed
from data_pipelines import features
from data_pipelines.records import landmark_statistics

_RIDGE = 100.0  # frames' worth of belief that each weight of the last layer is right
_RIDGE_BIAS = 25.0  # likewise of its bias
_SPEAKING = 0.5  # gate from which a frame counts as speech
_RANGE, _MOST_EXAGGERATED = 0.75, 1.2  # of the true movement: less is enlarged, up to so much
_MAX_LAG = 12  # frames
_LAST = 'head'  # the name of the last layer in all AT-nets
_EXAMPLES = (1 / 7, 1 / 2, 6 / 7)  # moments of a clip whose frame is the example when it is scored
_FOLDS = 5  # of cross-validation
_PIECE = 3 * features.FPS  # frames: longer clips are cut before they are dealt to the folds


class Clip(NamedTuple):
  """A clip of T frames and what AT-net predicts for it."""

  clip_id: str
  landmarks: np.ndarray  # float32 [T, 136]
  rest: np.ndarray  # float32 [136]
  coefficients: np.ndarray  # float32 [T, K], before the gate
  gate: np.ndarray  # float32 [T] in [0, 1]
  states: np.ndarray  # float32 [T, F]: what the last layers are given, side by side


class Scores(NamedTuple):
  """Of predicted landmarks, means over clips."""

  lmd: float  # pixels: mean distance of the mouth's points
  opening_r: float  # correlation of the mouth's opening over time
  opening_range: float  # its deviation, as a share of the true one's


class Offset(NamedTuple):
  """How late sound comes."""

  seconds: float
  correlation: float  # of the predicted opening with the true one, at that lag
  elsewhere: float  # the largest at lags that are no neighbours


def predict(bundle: weights.Bundle, directory: str, split: str) -> Iterator[Clip]:
  """AT-net's answer to the whole clips of a converted split.

  Raises:
    InputError: there is no such split.
  """
  net, front_end = models.make_net(bundle.config), front_ends.of(bundle.config)
  frozen = front_end.load_weights() if front_end.takes_sound else {}
  basis, heads = bundle.basis, _heads(bundle.params)
  assert basis is not None, "AT-net's weights hold its landmark basis"

  @jax.jit
  def run(example: jax.Array, audio: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    given: dict[str, jax.Array] = {}

    def keep(function: Any, arguments: Any, keywords: Any, context: Any) -> Any:
      if context.module.name == _LAST and context.method_name == '__call__':
        given['/'.join(context.module.path)] = arguments[0]
      return function(*arguments, **keywords)

    variables = {'params': bundle.params, 'batch_stats': bundle.batch_stats}
    inputs = front_end.features(frozen, audio) if front_end.takes_sound else audio
    with nn.intercept_methods(keep):
      outputs: Any = net.apply(variables, example, inputs, train=False)
    coefficients = outputs['coefficients']
    moved = speech_head.moved(outputs, audio) if front_end.takes_sound else coefficients
    power = jnp.maximum(jnp.sum(coefficients**2, axis=-1), 1e-12)
    gate = jnp.sum(moved * coefficients, axis=-1) / power  # it is one factor for all coefficients of a frame
    states = jnp.concatenate([given[name] for name in heads], axis=-1)
    return coefficients[0], gate[0], states[0]

  past, ahead = (front_end.past, front_end.ahead) if front_end.takes_sound else (0, 0)
  for batch in feed.clip_batches(directory, split, batch_size=1, with_audio=True, with_video=False):
    length = int(batch[features.FRAME_MASK][0].sum())
    audio = batch[features.MFCC]
    if front_end.takes_sound:
      around = (past * features.SAMPLES_PER_FRAME, ahead * features.SAMPLES_PER_FRAME)
      audio = np.pad(features.sound_to_float(batch[features.AUDIO]), ((0, 0), around))
    landmarks, rest = batch[features.LANDMARKS][0, :length], batch[features.REST_LANDMARKS][0]
    example = lm.to_coefficients(batch[features.EXAMPLE_LANDMARKS], rest, basis)
    frames = slice(past, past + length)
    predicted = [np.asarray(part, np.float32)[frames] for part in run(example, audio)]
    yield Clip(batch[features.CLIP_ID][0].decode(), landmarks, rest, *predicted)


def offset(clips: Sequence[Clip], basis: lm.LandmarkBasis) -> Offset:
  """How late the sound of clips comes: the predicted opening of the mouth against the true one, over all clips."""
  sums = np.zeros(2 * _MAX_LAG + 1)
  powers = np.zeros((2, len(sums)))
  for clip in clips:
    predicted = lm.mouth_gap(clip.coefficients * clip.gate[:, None] * basis.scale @ basis.components)
    true = lm.mouth_gap(clip.landmarks)
    for place, lag in enumerate(range(-_MAX_LAG, _MAX_LAG + 1)):  # predicted `lag` frames later than true
      late, early = predicted[max(0, lag) : len(predicted) + min(0, lag)], true[max(0, -lag) : len(true) - max(0, lag)]
      if len(late) < features.FPS // 2:
        continue
      late, early = late - late.mean(), early - early.mean()
      sums[place] += late @ early
      powers[:, place] += late @ late, early @ early
  curve = sums / np.sqrt(np.maximum(powers.prod(axis=0), 1e-18))
  best = int(curve.argmax())
  far = np.abs(np.arange(len(curve)) - best) > 4
  peak = float(best)
  if 0 < best < len(curve) - 1:
    before, top, after = curve[best - 1 : best + 2]
    peak += 0.5 * (before - after) / min(before - 2 * top + after, -1e-9)
  return Offset((peak - _MAX_LAG) / features.FPS, float(curve[best]), float(curve[far].max()))


def adapt(bundle: weights.Bundle, clips: Sequence[Clip]) -> weights.Bundle:
  """AT-net for one person.

  Args:
    bundle: the weights to start from.
    clips: that person's, as `predict` with these weights gives them.
  """
  fitted, change = _fitted(bundle, clips)
  return fitted._replace(params=_with_change(bundle.params, change))


def cross_validate(bundle: weights.Bundle, clips: Sequence[Clip]) -> tuple[Scores, Scores]:
  """How well a person's clips are followed before and after `adapt`, by what it was not given.

  A fifth of the time is followed by AT-net adapted to the other four, each fifth in its turn. That uses all of the
  clips: what little is held out for the report says too little of whether adapting helps.

  Args:
    bundle: the weights to start from.
    clips: that person's, of six seconds or more, as `predict` with these weights gives them.
  """
  pieces = [piece for clip in clips for piece in _pieces(clip)]
  folds = np.array_split(np.arange(len(pieces)), min(_FOLDS, len(pieces)))
  after = []
  for fold in folds:
    first, last = fold[0], fold[-1]
    fitted, change = _fitted(bundle, pieces[:first] + pieces[last + 1 :])
    after.append(scores(fitted, [_changed(piece, change) for piece in pieces[first : last + 1]]))
  means = np.average(after, axis=0, weights=list(map(len, folds)))
  return scores(bundle, pieces), Scores(*map(float, means))


def scores(bundle: weights.Bundle, clips: Sequence[Clip]) -> Scores:
  """How near the mouth comes that AT-net predicts for clips; examples are three moments of each."""
  basis = bundle.basis
  rows: list[tuple[float, float, float]] = []
  assert basis is not None, "AT-net's weights hold its landmark basis"
  for clip in clips:
    moved = clip.coefficients * clip.gate[:, None] * bundle.config['generation']['exaggeration']
    distances = []
    for share in _EXAMPLES:
      rest = lm.rest_from_example(clip.landmarks[int(share * len(clip.landmarks))], basis)
      predicted = np.asarray(lm.from_coefficients(moved, rest, basis))
      distances.append(float(landmark_metrics.lmd(predicted, clip.landmarks).mean()))
    gap, true = lm.mouth_gap(predicted), lm.mouth_gap(clip.landmarks)
    spread = max(float(np.std(true)), 1e-9)
    r = float(np.corrcoef(gap, true)[0, 1]) if min(np.std(gap), np.std(true)) > 1e-6 else 0.0
    rows.append((float(np.mean(distances)), r, float(np.std(gap)) / spread))
  return Scores(*map(float, np.mean(rows, axis=0)))


def _fitted(bundle: weights.Bundle, clips: Sequence[Clip]) -> tuple[weights.Bundle, np.ndarray]:
  """The person's rest shape and exaggeration in place of the start's, and what the last layer lacks, see `_ridge`."""
  assert bundle.basis is not None, "AT-net's weights hold its landmark basis"
  basis = lm.of_person(bundle.basis, landmark_statistics.accumulate((clip.landmarks, clip.rest) for clip in clips))
  change = _ridge(clips, basis)
  exaggeration = _exaggeration([_changed(clip, change) for clip in clips], basis)
  config = bundle.config | {'generation': {**bundle.config['generation'], 'exaggeration': exaggeration}}
  return bundle._replace(config=config, basis=basis), change


def _pieces(clip: Clip) -> list[Clip]:
  """The clip in as few equal parts as have at most `_PIECE` frames."""
  count = -(-len(clip.landmarks) // _PIECE)
  cut = (np.array_split(array, count) for array in (clip.landmarks, clip.coefficients, clip.gate, clip.states))
  return [
    clip._replace(landmarks=landmarks, coefficients=coefficients, gate=gate, states=states)
    for landmarks, coefficients, gate, states in zip(*cut, strict=True)
  ]


def _heads(params: Any) -> list[str]:
  """Paths of the last layers, of an ensemble one for each network."""
  flat = traverse_util.flatten_dict(params, sep='/')
  return sorted(name.removesuffix('/kernel') for name in flat if f'/{name}'.endswith(f'/{_LAST}/kernel'))


def _targets(clip: Clip, basis: lm.LandmarkBasis) -> np.ndarray:
  """[T, K]: the true coefficients, from the clip's rest with its lips closed."""
  return np.asarray(lm.to_coefficients(clip.landmarks, lm.closed(clip.rest, basis), basis))


def _ridge(clips: Sequence[Clip], basis: lm.LandmarkBasis) -> np.ndarray:
  """[F + 1, K]: what to add to the last layer's weights and, in the last row, to its bias."""
  inputs = np.concatenate([np.pad(clip.states, ((0, 0), (0, 1)), constant_values=1) for clip in clips])
  missing = np.concatenate([_targets(clip, basis) - clip.coefficients for clip in clips]).astype(np.float64)
  weighed = inputs.astype(np.float64) * np.concatenate([clip.gate for clip in clips])[:, None]
  belief = np.full(inputs.shape[1], _RIDGE)
  belief[-1] = _RIDGE_BIAS
  return np.linalg.solve(weighed.T @ inputs + np.diag(belief), weighed.T @ missing)


def _changed(clip: Clip, change: np.ndarray) -> Clip:
  """The clip, its coefficients as the changed last layer gives them."""
  added = clip.states @ change[:-1] + change[-1]
  return clip._replace(coefficients=(clip.coefficients + added).astype(np.float32))


def _with_change(params: Any, change: np.ndarray) -> Any:
  """Parameters with the change in the last layers; those of an ensemble, whose outputs are averaged, share it."""
  flat = dict(traverse_util.flatten_dict(params, sep='/'))
  heads, begin = _heads(params), 0
  for head in heads:
    kernel, bias = f'{head}/kernel', f'{head}/bias'
    end = begin + len(flat[kernel])
    flat[kernel] = np.asarray(flat[kernel] + len(heads) * change[begin:end], np.float32)
    flat[bias] = np.asarray(flat[bias] + change[-1], np.float32)
    begin = end
  return traverse_util.unflatten_dict(flat, sep='/')


def _exaggeration(clips: Sequence[Clip], basis: lm.LandmarkBasis) -> float:
  """The factor with which the mouth moves far enough, of the smallest error unless that moves it too little."""
  ours, true = [], []
  for clip in clips:
    speaking = clip.gate > _SPEAKING
    if speaking.sum() < features.FPS // 2:
      continue
    ours.append(np.var(lm.mouth_gap(clip.coefficients[speaking] * basis.scale @ basis.components)))
    true.append(np.var(lm.mouth_gap(clip.landmarks[speaking])))
  if not ours:
    return 1.0
  share = float(np.sqrt(np.sum(ours) / max(np.sum(true), 1e-12)))
  return round(float(np.clip(_RANGE / max(share, 1e-6), 1.0, _MOST_EXAGGERATED)), 3)
