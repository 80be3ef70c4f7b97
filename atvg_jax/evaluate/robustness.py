"""How scores fall when what the nets are given gets worse: `atvg robustness`.

Experiments, each on every clip of a split; levels of one experiment use the same noise, scaled:

* landmark noise: normal noise on the landmarks that drive VG-net, anew for every point and frame; the level is its standard
  deviation in half crops (64 pixels).
* white noise, babble: added to the sound before it is heard; the level is by how many dB the speech is louder. Babble is three
  clips of other speakers of the same data set (of all data sets, where it has one speaker only), each as loud as the others.
* crop shift: the example picture, its landmarks and the true frames moved by so many pixels, as if the face had been
  cut out there; each clip in one of four directions.

Without any of it are 'landmark noise 0' (VG-net driven by the true landmarks) and 'sound'; 'still' and 'real' are as in
`evaluate`. Finished videos are kept in `points/` as they come, so that a run that was stopped goes on where it was.
"""

import concurrent.futures
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.evaluate import clip_scores, evaluate, robustness_report, score_tables
from atvg_jax.generate import streaming
from atvg_jax.generate.generator import Generator
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import audio

_VERSION = 1  # of the experiments: points of another are not mixed with these

Batch = Mapping[str, np.ndarray]


class Point(NamedTuple):
  """One level of an experiment."""

  experiment: str
  level: float | None = None

  @property
  def name(self) -> str:
    return self.experiment if self.level is None else f'{self.experiment} {self.level:g}'


STILL, REAL, SOUND = Point('still'), Point('real'), Point('sound')
_SNRS = (20, 15, 10, 5, 0, -5)  # dB
EXPERIMENTS: Mapping[str, tuple[Point, ...]] = {
  'landmark noise': tuple(Point('landmark noise', round(0.02 * i, 2)) for i in range(8)),
  'white noise': tuple(Point('white noise', snr) for snr in _SNRS),
  'babble': tuple(Point('babble', snr) for snr in _SNRS),
  'crop shift': tuple(Point('crop shift', pixels) for pixels in (2, 4, 6, 8)),
}
_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))


class Posed(NamedTuple):
  """What the nets are given of a batch, and what should come out."""

  image: np.ndarray  # uint8 [B, H, W, 3]
  image_landmarks: np.ndarray  # [B, 136]
  video: np.ndarray  # uint8 [B, T, H, W, 3]
  landmarks: np.ndarray  # [B, T, 136]


def run(
  dirs: Sequence[str],
  split: str,
  *,
  out: str,
  nets: Sequence[str] | None = None,
  batch_size: int = 4,
  max_clips: int | None = None,
) -> str:
  """Runs all experiments on the split of each folder, and writes tables and curves.

  Args:
    dirs: folders that `atvg prepare` wrote; they are told apart by their last names.
    split: name of the split.
    out: folder for robustness.json, .md, .csv, the curves (PNG) and points/.
    nets: see `generator.load_nets`.
    batch_size: clips at a time.
    max_clips: only the first so many of each folder.

  Returns:
    The tables, as Markdown.

  Raises:
    InputError: a folder is no converted data set, two have one name, `out` cannot be written, or holds points of other weights or
      other data.
  """
  from data_pipelines import input_pipeline  # import TensorFlow, which takes seconds
  from data_pipelines.records import record_index

  if max_clips is not None and max_clips < 1:
    raise InputError(f'--max-clips={max_clips}: give 1 or more')
  names = [os.path.basename(os.path.normpath(directory)) for directory in dirs]
  if len(set(names)) < len(names):
    raise InputError(f'two of {", ".join(dirs)} have one name: rename one, for tables tell them apart by it')
  generator = Generator(*load_nets(nets))
  if generator.published:
    batch_size = 1  # their recurrence runs over the batch: clips would leak into each other
  indices = [record_index.load(directory, split) for directory in dirs]
  lenders = [_lenders(dirs, indices, number) for number in range(len(dirs))]
  points = [
    STILL,
    REAL,
    SOUND,
    *(
      point for experiment, levels in EXPERIMENTS.items() for point in levels if experiment != 'babble' or all(lenders)
    ),
  ]
  sums = {
    directory: f'{zlib.crc32(index.checksum.tobytes()):08x}' for directory, index in zip(dirs, indices, strict=True)
  }
  stores = []
  for directory, name, voices in zip(dirs, names, lenders, strict=True):
    head = {
      'version': _VERSION,
      'split': split,
      'weights': _fingerprint(generator),
      'data': sums[directory],
      'voices': [sums[lender] for lender in voices],
    }
    stores.append(Store(os.path.join(out, 'points', f'{name}.jsonl'), head))
  wanted = [min(len(index), max_clips or len(index)) for index in indices]
  tables = {}
  with tqdm(total=sum(wanted) * len(points), unit='video', dynamic_ncols=True) as progress:
    for directory, name, index, voices, store, count in zip(dirs, names, indices, lenders, stores, wanted, strict=True):
      progress.set_description(name)
      batches = input_pipeline.iterate(
        input_pipeline.eval_batches(
          (directory,), split=split, batch_size=batch_size, with_audio=True, voices_from=voices
        )
      )
      speakers = dict(zip(index.clip_id.tolist(), index.speaker.tolist(), strict=True))
      clips = []
      for batch in evaluate.first(batches, count):
        _score_batch(generator, batch, points, store, progress)
        clips += [clip.decode() for clip in batch[features.CLIP_ID][batch[features.MASK] > 0]]
      tables[name] = [
        {
          'clip_id': clip,
          'speaker': speakers[clip],
          **store.facts(clip),
          'rows': {point.name: store.scores(clip, point) for point in points},
        }
        for clip in clips
      ]
  head = {'split': split, 'weights': list(map(os.fspath, nets or ('packaged',))), 'data': list(map(os.fspath, dirs))}
  return robustness_report.write(out, head, tables, EXPERIMENTS)


def _lenders(dirs: Sequence[str], indices: Sequence[Any], number: int) -> tuple[str, ...]:
  """The data sets whose other speakers babble in the clips of one: itself, if it has any, else all. Of one speaker in all: none."""
  if len(set(indices[number].speaker)) > 1:
    return (dirs[number],)
  return tuple(dirs) if len(dirs) > 1 else ()


class Store:
  """What was scored, one line a video, in a file that is only added to."""

  def __init__(self, path: str, head: Mapping[str, Any]):
    """Opens or begins the file.

    Args:
      path: the file.
      head: what its points depend on.

    Raises:
      InputError: the file is of another `head`, or cannot be written.
    """
    self._points: dict[tuple[str, str], dict[str, Any]] = {}
    self._path = path
    try:
      os.makedirs(os.path.dirname(path), exist_ok=True)
      if not os.path.exists(path):
        score_tables.write(path, json.dumps(head) + '\n')
        return
      with open(path, encoding='utf-8') as file:
        lines = file.read().split('\n')
      if lines[-1]:  # a kill tore it: the line goes, and so does what is left of it in the file
        score_tables.write(path, '\n'.join([*lines[:-1], '']))
    except OSError as error:
      raise InputError(f'{path} cannot be written ({error.strerror}): choose another --out') from error
    try:
      found, *rest = [json.loads(line) for line in lines[:-1]]
      self._points = {(entry['clip_id'], entry['point']): entry for entry in rest}
    except (ValueError, KeyError, TypeError) as error:
      raise InputError(f'{path} is damaged: remove it, and its videos will be scored anew') from error
    if found != dict(head):
      raise InputError(f'{path} holds scores of other weights or other data: choose another --out, or remove the file')

  def has(self, clip_id: str, point: Point) -> bool:
    return (clip_id, point.name) in self._points

  def scores(self, clip_id: str, point: Point) -> dict[str, float]:
    """NaN for what there is not."""
    scores = self._points[clip_id, point.name]['scores']
    return {name: float('nan') if value is None else value for name, value in scores.items()}

  def facts(self, clip_id: str) -> dict[str, Any]:
    """What is known of the clip itself."""
    return self._points[clip_id, REAL.name]['facts']

  def add(self, entries: Sequence[dict[str, Any]]) -> None:
    """Adds videos: dicts of 'clip_id', 'point', 'scores' and 'facts'."""
    lines = ''.join(json.dumps(score_tables.without_nan(entry)) + '\n' for entry in entries)
    with open(self._path, 'a', encoding='utf-8') as file:
      file.write(lines)
    self._points |= {(entry['clip_id'], entry['point']): score_tables.without_nan(entry) for entry in entries}


def _fingerprint(generator: Generator) -> str:
  """Of all numbers that the nets are made of."""
  digest = hashlib.sha256()
  for bundle in generator.bundles.values():
    digest.update(json.dumps(bundle.config, sort_keys=True, default=str).encode())
    for leaf in jax.tree.leaves((bundle.params, bundle.batch_stats)):
      digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()[:16]


_pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def _score_batch(generator: Generator, batch: Batch, points: Sequence[Point], store: Store, progress: tqdm) -> None:
  """Scores what is missing of a batch's clips, point by point."""
  clips = np.flatnonzero(batch[features.MASK])
  ids = [batch[features.CLIP_ID][clip].decode() for clip in clips]
  for point in points:
    if all(store.has(clip_id, point) for clip_id in ids):
      progress.initial += len(clips)  # they took no time: the time left is told by the others
    else:
      store.add(score_point(generator, batch, point))
    progress.update(len(clips))


def score_point(generator: Generator, batch: Batch, point: Point) -> list[dict[str, Any]]:
  """Draws and scores the clips of a batch.

  Args:
    generator: the nets.
    batch: of `input_pipeline.eval_batches` with `audio` and, for babble, `voices`.
    point: what is done to them.

  Returns:
    What `Store.add` takes, of every clip whose mask is not zero.
  """
  posed = _posed(batch, point)
  lengths = batch[features.FRAME_MASK].sum(axis=1).astype(int)
  video = _video(generator, batch, posed, point, lengths)
  landmarks = [clip[:length] for clip, length in zip(posed.landmarks, lengths, strict=True)]
  plain = posed.image[:, None] if point == STILL else video
  likeness = clip_scores.likeness({point.name: plain}, posed.video, landmarks)[point.name]

  def score(clip: int) -> dict[str, Any]:
    length = lengths[clip]
    ours, true = video[clip, :length], landmarks[clip]
    track = clip_scores.follow(clip_scores.landmarker(), ours[:1] if point == STILL else ours)
    found = None if track is None else np.broadcast_to(face_alignment.normalise(track.landmarks), true.shape)
    scores = clip_scores.of_clip(
      clip_scores.landmarker(),
      ours,
      posed.video[clip, :length],
      true,
      posed.image[clip],
      {name: values[clip, :length] for name, values in likeness.items()},
      found=found,
    )
    facts = _facts(batch[features.REST_LANDMARKS][clip], track) if point == REAL else {}
    return {'clip_id': batch[features.CLIP_ID][clip].decode(), 'point': point.name, 'scores': scores, 'facts': facts}

  return list(_pool.map(score, np.flatnonzero(batch[features.MASK])))


def _posed(batch: Batch, point: Point) -> Posed:
  """The batch, moved where the crop is."""
  parts = Posed(
    *(batch[key] for key in (features.EXAMPLE_IMAGE, features.EXAMPLE_LANDMARKS, features.VIDEO, features.LANDMARKS))
  )
  if point.experiment != 'crop shift':
    return parts
  directions = np.array([_DIRECTIONS[zlib.crc32(name) % 4] for name in batch[features.CLIP_ID]])  # [B, 2]
  shift = np.tile(point.level * directions / (features.IMAGE_SIZE / 2), features.NUM_LANDMARKS).astype(np.float32)

  def move(frames: np.ndarray) -> np.ndarray:
    return np.stack([_moved(clip, point.level, *way) for clip, way in zip(frames, directions, strict=True)])

  return Posed(move(parts.image), parts.image_landmarks + shift, move(parts.video), parts.landmarks + shift[:, None])


def _moved(frames: np.ndarray, pixels: int, right: int, down: int) -> np.ndarray:
  """Frames [..., H, W, 3] moved by so many pixels, their edge repeated."""
  rows, columns = (
    np.clip(np.arange(size) - pixels * way, 0, size - 1)
    for size, way in zip(frames.shape[-3:-1], (down, right), strict=True)
  )
  return frames[..., rows[:, None], columns, :]


def _video(generator: Generator, batch: Batch, posed: Posed, point: Point, lengths: np.ndarray) -> np.ndarray:
  """uint8 [B, T, H, W, 3]: what the nets make at this point."""
  if point == REAL:
    return posed.video
  if point == STILL:
    return np.broadcast_to(posed.image[:, None], posed.video.shape)
  conditions = generator.conditions(posed.image_landmarks)
  if point.experiment == 'landmark noise':
    driving = generator.normalise(posed.landmarks)
    noise = np.stack([_rng(name, point).normal(size=driving.shape[1:]) for name in batch[features.CLIP_ID]])
    windows = streaming.split((driving + point.level * noise).astype(np.float32), clip_scores.WINDOW)
  else:
    windows = generator.spoken(conditions, streaming.split(_heard(batch, point, lengths), clip_scores.WINDOW))
  drawn = generator.vg(posed.image, conditions.example_landmarks, windows)
  return np.concatenate(list(drawn), axis=1)[:, : posed.video.shape[1]]


def _heard(batch: Batch, point: Point, lengths: np.ndarray) -> np.ndarray:
  """MFCC windows [B, T, 28, 12] of the sound at this point."""
  if point.experiment not in ('white noise', 'babble'):
    return batch[features.MFCC]
  windows = np.empty_like(batch[features.MFCC])
  for clip, length in enumerate(lengths):
    speech = batch[features.AUDIO][clip, : length * features.SAMPLES_PER_FRAME] / np.float32(32767)
    if point.experiment == 'babble':
      noise = babble(batch[features.VOICES][clip, :, : len(speech)])
    else:
      noise = _rng(batch[features.CLIP_ID][clip], point).normal(size=len(speech))
    rows = audio.frame_rows(with_noise(speech, noise, point.level), length)
    windows[clip, :length], windows[clip, length:] = audio.windows(rows), audio.windows(rows)[-1]
  return windows


def babble(voices: np.ndarray) -> np.ndarray:
  """Voices [V, n] → [n]: their sum, each as loud as the others."""
  voices = voices.astype(np.float32)
  loudness = np.sqrt(np.mean(voices**2, axis=1, keepdims=True))
  return (voices / np.maximum(loudness, 1)).sum(axis=0)


def with_noise(speech: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
  """float32 [n]: speech [n] and noise [n] that is so many dB quieter, by their powers; silent noise is left out."""
  power, noise_power = (np.mean(np.square(sound, dtype=np.float64)) for sound in (speech, noise))
  gain = np.sqrt(power / noise_power * 10 ** (-snr / 10)) if noise_power > 0 else 0
  return (speech + gain * noise).astype(np.float32)


def _rng(clip_id: bytes, point: Point) -> np.random.Generator:
  """The same for all levels of an experiment."""
  return np.random.default_rng((zlib.crc32(clip_id), zlib.crc32(point.experiment.encode())))


def _facts(rest: np.ndarray, track: face_landmarker.Track | None) -> dict[str, float]:
  """What a clip is like: 'yaw' in degrees, the median as the detector measures it in the crops; 'face_shape', the width of the
  jaw over the height from brows to chin; 'mouth_width' in distances of the eyes.
  """
  points = face_alignment.denormalise(rest)
  jaw = np.linalg.norm(points[16] - points[0])
  height = np.linalg.norm(points[8] - points[features.BROWS].mean(axis=0))
  mouth = np.linalg.norm(points[54] - points[48])
  return {
    'yaw': float('nan') if track is None else float(np.median(track.yaw)),
    'face_shape': float(jaw / height),
    'mouth_width': float(mouth / face_alignment.eye_distance(points)),
  }
