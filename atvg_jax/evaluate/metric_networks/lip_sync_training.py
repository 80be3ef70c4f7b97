"""Trains and validates the embedding of lips and sound, the packaged `lip_sync.npz` and `lip_sync_free.npz`.

  python -m atvg_jax.evaluate.metric_networks.lip_sync_training --data data/grid data/grid_more data/in_step/lrw_ar
    --unseen s5 s4 s26 s32 s103 s104 c05 c14 c19 c26 --out lip_sync.npz

Contrastive: of a window of a clip the lips shall be nearest to the sound at their own time, as frames and as a whole,
and nearer to their own sound than to that of the other clips of the batch. Clips of the speakers that --unseen names
are left out, and the result is validated on them, and on the clips of the validation splits.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from atvg_jax.audio import speech_encoder, speech_frontend
from atvg_jax.evaluate.metric_networks import lip_sync
from atvg_jax.train import feed
from data_pipelines import features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.conversion import sound_sync
from data_pipelines.records import record_index

_WINDOW = 60  # frames, at most: those of short clips are as long as nine in ten of them
_BATCH = 1440  # frames
_IN_STEP = 20.0  # ms: half a frame. By more the right shift is not 0 but that of a neighbour
_OTHERS = 5  # clips whose sound a clip's lips are compared with

Params = Mapping[str, Any]


class Clip(NamedTuple):
  """A real clip."""

  speaker: str
  landmarks: np.ndarray  # [T, 136]
  sound: np.ndarray  # float16 [T, 768]: what the speech encoder hears
  offset_ms: float  # by how much its sound is late, as `sound_sync` estimates it; NaN where it cannot


class Validation(NamedTuple):
  """How well an embedding tells what belongs together."""

  clips: int
  in_step: float  # share of them whose best shift is 0
  near: float  # whose best shift is at most a frame
  clips_in_step: int  # those that `sound_sync`, which knows nothing of the embedding, finds in step to half a frame
  in_step_of_those: float  # share of those whose best shift is 0
  auc: float  # area under the ROC curve of 'sync': own sound against that of other clips


def read(directory: str, split: str) -> Iterator[Clip]:
  """The clips of a converted split."""
  index = record_index.load(directory, split)
  speakers = dict(zip(index.clip_id.tolist(), index.speaker.tolist(), strict=True))
  encoder, hear = speech_encoder.pretrained(), jax.jit(speech_frontend.features)
  batches = feed.clip_batches(directory, split, batch_size=1, with_audio=True, with_video=False)
  for batch in tqdm(batches, total=len(index), unit='clip', desc=f'{directory}, {split}', dynamic_ncols=True):
    length = int(batch[features.FRAME_MASK][0].sum())
    landmarks = batch[features.LANDMARKS][0, :length]
    samples = features.sound_to_float(batch[features.AUDIO][0, : length * features.SAMPLES_PER_FRAME])
    heard = hear(encoder, lip_sync.filled_up(samples, length, features.SAMPLES_PER_FRAME)[None])
    pool = sound_sync.Pool()
    pool.add(sound_sync.row(landmarks, samples))
    offset = pool.estimate().offset_ms
    yield Clip(
      speakers[batch[features.CLIP_ID][0].decode()],
      landmarks,
      np.asarray(heard)[0, :length].astype(np.float16),
      float('nan') if offset is None else offset,
    )


def _mirrored(points: np.ndarray) -> np.ndarray:
  """Lips [T, 50] of the mirrored face."""
  order = [lip_sync.POINTS.index(features.MIRROR[point]) for point in lip_sync.POINTS]
  return (points.reshape(len(points), -1, 2)[:, order] * [-1, 1]).reshape(points.shape)


def batches(clips: Sequence[Clip], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Endless batches (lips [B, T, 50], sound [B, T, 768]) of windows of clips that are about as long as each other.

  Lips are mirrored at random, move by .6 to 1.4 of what they did, about a mean that is partly theirs, and tremble.
  """
  rng = np.random.default_rng(seed)
  pools: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
  short = int(np.percentile([len(clip.sound) for clip in clips], 10))
  for clip in clips:
    window = _WINDOW if len(clip.sound) >= _WINDOW else min(short, _WINDOW)
    if len(clip.sound) >= window:
      pools.setdefault(window, []).append((lip_sync.lips_input(clip.landmarks), clip.sound))
  while True:
    for window, pool in pools.items():
      lips, sound = [], []
      for number in rng.integers(len(pool), size=_BATCH // window):
        points, heard = pool[number]
        start = rng.integers(len(heard) - window + 1)
        points = points[start : start + window]
        points = points - rng.random() * points.mean(axis=0)
        points = _mirrored(points) if rng.random() < 0.5 else points
        lips.append(points * rng.uniform(0.6, 1.4) + rng.normal(0, 0.004, points.shape))
        sound.append(heard[start : start + window])
      yield np.stack(lips).astype(np.float32), np.stack(sound).astype(np.float32)


def loss(params: Params, lips: jax.Array, sound: jax.Array, key: jax.Array) -> jax.Array:
  """The contrastive loss of a batch, see the module.

  Args:
    params: of both towers, and three logarithms of temperatures.
    lips: [B, T, 50].
    sound: [B, T, 768].
    key: for dropout.
  """
  key_lips, key_sound = jax.random.split(key)
  seen: Any = lip_sync.LIPS.apply({'params': params['lips']}, lips, True, rngs={'dropout': key_lips})
  heard: Any = lip_sync.SOUND.apply({'params': params['sound']}, sound, True, rngs={'dropout': key_sound})
  of_frames, of_shifts, of_clips = jnp.exp(params['sharpness'])
  entropy = optax.softmax_cross_entropy_with_integer_labels
  clips, frames = seen.shape[:2]
  each = jnp.einsum('btd,bsd->bts', seen, heard)
  pairs = jnp.einsum('btd,ctd->bc', seen, heard) / frames
  in_time = entropy(of_frames * each, jnp.broadcast_to(jnp.arange(frames), (clips, frames))).mean()
  unshifted = entropy(of_shifts * lip_sync.similarities(seen, heard), jnp.full(clips, lip_sync.MAX_LAG)).mean()
  own = sum(entropy(of_clips * side, jnp.arange(clips)).mean() for side in (pairs, pairs.T)) / 2
  return 0.3 * in_time + unshifted + own


def train(clips: Sequence[Clip], steps: int, seed: int = 0) -> dict[str, Any]:
  """Parameters 'lips' and 'sound'."""
  keys = jax.random.split(jax.random.key(seed), 3)
  frames = 2 * lip_sync.REACH + 1
  params = {
    'lips': lip_sync.LIPS.init(keys[0], np.zeros((1, frames, 2 * len(lip_sync.POINTS)), np.float32))['params'],
    'sound': lip_sync.SOUND.init(keys[1], np.zeros((1, frames, clips[0].sound.shape[1]), np.float32))['params'],
    'sharpness': jnp.full(3, 2.5),
  }
  schedule = optax.warmup_cosine_decay_schedule(0, 2e-3, min(50, steps // 2), steps)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.05))

  @jax.jit
  def step(params: Any, state: Any, lips: jax.Array, sound: jax.Array, key: jax.Array) -> tuple[Any, Any, jax.Array]:
    value, gradients = jax.value_and_grad(loss)(params, lips, sound, key)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, value

  state = optimizer.init(params)
  with tqdm(zip(range(steps), batches(clips, seed)), total=steps, unit='step', dynamic_ncols=True) as progress:
    for number, (lips, sound) in progress:
      params, state, value = step(params, state, lips, sound, jax.random.fold_in(keys[2], number))
      if number % 50 == 0:
        progress.set_postfix(loss=f'{value:.3f}')
  return {name: jax.tree.map(np.asarray, params[name]) for name in ('lips', 'sound')}


def validate(params: Params, clips: Sequence[Clip]) -> Validation:
  """Scores real clips, those of `lip_sync.MIN_FRAMES` or more, with their own and with others' sound."""
  clips = [clip for clip in clips if len(clip.sound) >= lip_sync.MIN_FRAMES]
  embedding = lip_sync.LipSync(params=params)
  hear = jax.jit(lambda sound: lip_sync.SOUND.apply({'params': params['sound']}, sound[None])[0])
  seen = [embedding.see(clip.landmarks) for clip in clips]
  heard = [
    np.asarray(hear(lip_sync.filled_up(clip.sound, len(clip.sound))))[: len(clip.sound) - 2 * lip_sync.REACH]
    for clip in clips
  ]
  curves = np.stack([lip_sync.similarities(*pair) for pair in zip(seen, heard, strict=True)])
  shifts = np.abs(curves.argmax(axis=1) - lip_sync.MAX_LAG)
  others = []
  for number, lips in enumerate(seen):
    for step in range(1, _OTHERS + 1):
      sound = heard[(number + step * max(1, len(clips) // (_OTHERS + 1))) % len(clips)]
      length = min(len(lips), len(sound))
      others.append(lip_sync.similarities(lips[:length], sound[:length])[lip_sync.MAX_LAG])
  own = curves[:, lip_sync.MAX_LAG]
  in_step = np.abs([clip.offset_ms for clip in clips]) <= _IN_STEP
  return Validation(
    len(clips),
    float((shifts == 0).mean()),
    float((shifts <= 1).mean()),
    int(in_step.sum()),
    float((shifts[in_step] == 0).mean()) if in_step.any() else float('nan'),
    float((own[:, None] > np.array(others)).mean()),
  )


def save(path: str, params: Params) -> None:
  """Writes the parameters, as float16."""
  arrays: dict[str, Any] = flax.traverse_util.flatten_dict(dict(params), sep='/')
  halves: dict[str, Any] = {name: np.asarray(array, np.float16) for name, array in arrays.items()}
  with atomic_write(path, 'wb') as file:
    np.savez_compressed(file, **halves)


def main(argv: Sequence[str]) -> None:
  """The command."""
  parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
  parser.add_argument('--data', nargs='+', required=True, metavar='DIR', help='folders that prepare wrote')
  parser.add_argument('--validate', nargs='*', default=(), metavar='DIR', help='more folders to validate on, whole')
  parser.add_argument('--unseen', nargs='*', default=(), metavar='SPEAKER', help='speakers to validate on')
  parser.add_argument('--steps', type=int, default=2000)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--out', required=True, metavar='FILE', help='the .npz to write')
  options = parser.parse_args(argv)
  seen: list[Clip] = []
  held_out: dict[str, list[Clip]] = {}
  for directory in (*options.data, *options.validate):
    for split in ('train', 'validation'):
      for clip in read(directory, split):
        unseen = clip.speaker in options.unseen or directory in options.validate
        if split == 'train' and not unseen:
          seen.append(clip)
        else:
          kind = 'unseen speakers' if unseen else 'held-out clips'
          held_out.setdefault(f'{directory}, {kind}', []).append(clip)
  params = train(seen, options.steps, options.seed)
  save(options.out, params)
  rounded = speech_encoder.pretrained(options.out)
  print(f'{options.out}: learnt from {len(seen)} clips')
  for name, clips in held_out.items():
    print(name, *(f'{field} {value:.3g}' for field, value in validate(rounded, clips)._asdict().items()))


if __name__ == '__main__':
  main(sys.argv[1:])
