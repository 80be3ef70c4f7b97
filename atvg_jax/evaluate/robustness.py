"""How scores fall when the input of the nets gets worse: `atvg robustness`.

Experiments, each on every clip of a split; levels of one experiment use the same noise, scaled:

* landmark noise: normal noise on the landmarks that drive VG-net, anew for every point and frame; the level is its
  standard deviation in half crops (64 pixels).
* white noise, babble, music: added to the sound; the level is by how many dB the speech is louder. Babble is
  three clips of other speakers of the same data set (of all data sets, where it has one speaker only), each as loud as
  the others. Music is made up.
* room tone: noise of a random soft spectrum under the clip; the level is its power in dB of full scale.
* sampling rate, mp3: the sound through another rate and back (Hz), or through MP3 (kbit/s).
* crop shift: the example picture, its landmarks and the true frames moved by so many pixels, as if the face had been
  cut out there; each clip in one of four directions.
* turned head: example picture and true frames as from the side, each clip to the left or to the right, from the sound;
  'turned head landmarks' is the same, driven by the true landmarks.

Without any of it are 'landmark noise 0' (VG-net driven by the true landmarks) and 'sound'; 'baseline' and 'real' are as
in `evaluate`. Finished videos are kept in `points/`, so that a run that was stopped goes on where it was.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.evaluate import clip_scores, evaluate, head_turn, robustness_report, sound_changes
from atvg_jax.evaluate.robustness_points import BASELINE, EXPERIMENTS, REAL, SOUND, TRUE_LANDMARKS, TURNS, Point, Store
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.lanes import whole_clips
from atvg_jax.train import feed
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import audio
from data_pipelines.records import record_index

_VERSION = 2  # of the experiments: points of another are not mixed with these

Batch = Mapping[str, np.ndarray]


_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # of crop shifts: right, down


class _DataSet(NamedTuple):
  """A split whose clips are scored."""

  directory: str
  name: str  # in tables
  records: record_index.RecordIndex
  voices_from: tuple[str, ...]  # the data sets whose speakers babble
  num_clips: int
  store: Store


class Inputs(NamedTuple):
  """The input of the nets at a point, and what should come out."""

  image: np.ndarray  # uint8 [B, H, W, 3]
  image_landmarks: np.ndarray  # [B, 136]
  video: np.ndarray  # uint8 [B, T, H, W, 3]
  landmarks: np.ndarray  # [B, T, 136]
  lost: frozenset[int] = frozenset()  # clips in which no face is found, so that no video can be made


def run(
  dirs: Sequence[str],
  split: str,
  *,
  out: str,
  weights: Sequence[str] | None = None,
  batch_size: int = 4,
  max_clips: int | None = None,
  experiments: Sequence[str] | None = None,
) -> str:
  """Runs experiments on the split of each folder, and writes tables and curves.

  Args:
    dirs: folders that `atvg prepare` wrote; their last names, which differ, name them in the tables.
    split: name of the split.
    out: folder for robustness.json, .md, .csv, the curves (PNG) and points/.
    weights: see `checkpoints.weights.load_nets`.
    batch_size: clips at a time.
    max_clips: only the first so many of each folder.
    experiments: names of EXPERIMENTS; None for all.

  Returns:
    The tables, as Markdown.

  Raises:
    InputError: there is no such experiment, a folder is no converted data set, two have one name, `out` cannot be
      written, or holds points of other weights or other data.
  """
  if max_clips is not None and max_clips < 1:
    raise InputError(f'--max-clips={max_clips}: give 1 or more')
  for name in experiments or ():
    if name not in EXPERIMENTS:
      raise InputError(f'--experiments: there is no {name!r}, choose of {", ".join(map(repr, EXPERIMENTS))}')
  chosen = {name: points for name, points in EXPERIMENTS.items() if name in (experiments or EXPERIMENTS)}
  names = [os.path.basename(os.path.normpath(directory)) for directory in dirs]
  if len(set(names)) < len(names):
    raise InputError(f'two of {", ".join(dirs)} have one name, by which the tables name them: rename one')
  with evaluate.Evaluation(Generator(*load_nets(weights)), batch_size=batch_size) as evaluation:
    data_sets = _open(dirs, names, split, out, _fingerprint(evaluation.generator), max_clips)
    babble = all(data_set.voices_from for data_set in data_sets)
    levels = [point for name, points in chosen.items() for point in points if name != 'babble' or babble]
    points = list(dict.fromkeys([BASELINE, REAL, SOUND, TRUE_LANDMARKS, *levels]))
    total = sum(data_set.num_clips for data_set in data_sets) * len(points)
    with tqdm(total=total, unit='video', smoothing=0, dynamic_ncols=True) as progress:
      tables = {
        data_set.name: _score_data_set(evaluation, data_set, split, batch_size, points, progress)
        for data_set in data_sets
      }
  settings = {
    'split': split,
    'weights': list(map(os.fspath, weights or ('packaged',))),
    'data': list(map(os.fspath, dirs)),
  }
  return robustness_report.write(out, settings, tables, chosen)


def _open(
  dirs: Sequence[str], names: Sequence[str], split: str, out: str, fingerprint: str, max_clips: int | None
) -> list[_DataSet]:
  """The data sets with the files of their finished points, begun where there are none."""
  indices = [record_index.load(directory, split) for directory in dirs]
  sums = {
    directory: f'{zlib.crc32(index.checksum.tobytes()):08x}' for directory, index in zip(dirs, indices, strict=True)
  }
  data_sets = []
  for directory, name, index in zip(dirs, names, indices, strict=True):
    # Where there is one speaker only, the voices come from all data sets; of one speaker in all, from none.
    lenders = (directory,) if len(set(index.speaker)) > 1 else tuple(dirs) if len(dirs) > 1 else ()
    head = {
      'version': _VERSION,
      'split': split,
      'weights': fingerprint,
      'data': sums[directory],
      'voices': [sums[lender] for lender in lenders],
    }
    store = Store(os.path.join(out, 'points', f'{name}.jsonl'), head)
    data_sets.append(_DataSet(directory, name, index, lenders, min(len(index), max_clips or len(index)), store))
  return data_sets


def _fingerprint(generator: Generator) -> str:
  """A hash of all parameters and configs of the nets."""
  digest = hashlib.sha256()
  for bundle in generator.bundles.values():
    digest.update(json.dumps(bundle.config, sort_keys=True, default=str).encode())
    for leaf in jax.tree.leaves((bundle.params, bundle.batch_stats)):
      digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()[:16]


def _score_data_set(
  evaluation: evaluate.Evaluation,
  data_set: _DataSet,
  split: str,
  batch_size: int,
  points: Sequence[Point],
  progress: tqdm,
) -> list[dict[str, Any]]:
  """Scores what is not in the store yet → the clips as `robustness_report.Tables` has them."""
  progress.set_description(data_set.name)
  records, store = data_set.records, data_set.store
  batches = feed.clip_batches(
    data_set.directory, split, batch_size=batch_size, with_audio=True, voices_from=data_set.voices_from
  )
  speakers = dict(zip(records.clip_id.tolist(), records.speaker.tolist(), strict=True))
  clips: list[str] = []
  waiting: list[concurrent.futures.Future] = []

  def keep(scored: list[concurrent.futures.Future]) -> None:
    if scored:
      store.add([future.result() for future in scored])
      progress.update(len(scored))

  for batch in evaluate.first_clips(batches, data_set.num_clips):
    ids = [clip.decode() for clip in batch[features.CLIP_ID][batch[features.MASK] > 0]]
    inputs = inputs_of(evaluation, batch)
    for point in points:
      if all(store.has(clip_id, point) for clip_id in ids):
        progress.initial += len(ids)  # they took no time: the others tell how much is left
        progress.update(len(ids))
        continue
      submitted = submit_point(evaluation, batch, inputs(point), point)
      keep(waiting)  # the nets drew while the threads scored the point before
      waiting = submitted
    clips += ids
  keep(waiting)
  return [
    {
      'clip_id': clip,
      'speaker': speakers[clip],
      **store.facts(clip),
      'rows': {point.name: store.scores(clip, point) for point in points},
    }
    for clip in clips
  ]


def inputs_of(evaluation: evaluate.Evaluation, batch: Batch) -> Callable[[Point], Inputs]:
  """Point → the input of the nets; heads that two experiments want turned alike are turned once."""
  turned = functools.cache(functools.partial(_turned, evaluation, batch))
  return lambda point: turned(point.amount) if point.experiment in TURNS else _inputs(batch, point)


def submit_point(
  evaluation: evaluate.Evaluation, batch: Batch, inputs: Inputs, point: Point
) -> list[concurrent.futures.Future]:
  """Draws the clips of a batch, and begins to score them.

  Args:
    evaluation: the nets, and the threads that score.
    batch: of `feed.clip_batches` with `audio` and, for babble, `voices`.
    inputs: what `inputs_of` the batch gives at this point.
    point: what is done to the clips.

  Returns:
    Of every clip whose mask is not zero, what `Store.add` takes; at the point REAL with 'facts' as `_facts` has them.
  """
  lengths = _lengths(batch)
  video = _video(evaluation, batch, inputs, point, lengths)
  landmarks = [clip[:length] for clip, length in zip(inputs.landmarks, lengths, strict=True)]
  scored = inputs.image[:, None] if point == BASELINE else video
  by_frame = clip_scores.reference_scores({point.name: scored}, inputs.video, landmarks)[point.name]

  def score(clip: int) -> dict[str, Any]:
    length = lengths[clip]
    ours, true = video[clip, :length], landmarks[clip]
    track = clip_scores.track(clip_scores.landmarker(), ours[:1] if point == BASELINE else ours)
    found = None if track is None else np.broadcast_to(face_alignment.normalise(track.landmarks), true.shape)
    scores = clip_scores.video_scores(
      clip_scores.landmarker(),
      ours,
      clip_scores.RealClip(inputs.video[clip, :length], true, inputs.image[clip]),
      {name: values[clip, :length] for name, values in by_frame.items()},
      found=found,
    )
    if clip in inputs.lost:  # as where the drawn frames show no face
      scores = dict.fromkeys(scores, float('nan')) | clip_scores.landmark_scores(None, true)
    facts = _facts(batch[features.REST_LANDMARKS][clip], track) if point == REAL else {}
    return {'clip_id': batch[features.CLIP_ID][clip].decode(), 'point': point.name, 'scores': scores, 'facts': facts}

  return [evaluation.threads.submit(score, clip) for clip in np.flatnonzero(batch[features.MASK]).tolist()]


def _lengths(batch: Batch) -> np.ndarray:
  """Of each clip, how many frames are its own: int [B]."""
  return batch[features.FRAME_MASK].sum(axis=1).astype(int)


def _inputs(batch: Batch, point: Point) -> Inputs:
  """The batch, moved where the crop is."""
  plain = Inputs(
    batch[features.EXAMPLE_IMAGE],
    batch[features.EXAMPLE_LANDMARKS],
    batch[features.VIDEO],
    batch[features.LANDMARKS],
  )
  if point.experiment != 'crop shift':
    return plain
  directions = np.array([_DIRECTIONS[zlib.crc32(name) % 4] for name in batch[features.CLIP_ID]])  # [B, 2]
  shift = np.tile(point.amount * directions / (features.IMAGE_SIZE / 2), features.NUM_LANDMARKS).astype(np.float32)

  def move(frames: np.ndarray) -> np.ndarray:
    return np.stack([_moved(clip, int(point.amount), *way) for clip, way in zip(frames, directions, strict=True)])

  return Inputs(move(plain.image), plain.image_landmarks + shift, move(plain.video), plain.landmarks + shift[:, None])


def _turned(evaluation: evaluate.Evaluation, batch: Batch, angle: float) -> Inputs:
  """The batch, its heads turned by so many degrees."""
  plain, lengths = _inputs(batch, SOUND), _lengths(batch)
  turned = Inputs(plain.image.copy(), plain.image_landmarks.copy(), plain.video.copy(), plain.landmarks.copy())

  def turn(clip: int) -> bool:
    length, landmarker = lengths[clip], clip_scores.landmarker()
    degrees = angle * (1 - 2 * (zlib.crc32(batch[features.CLIP_ID][clip]) % 2))
    try:
      (image,), (points,) = head_turn.turn_crops(landmarker, plain.image[clip : clip + 1], degrees)
      frames, landmarks = head_turn.turn_crops(landmarker, plain.video[clip, :length], degrees)
    except InputError:
      return False
    turned.image[clip], turned.image_landmarks[clip] = image, points
    turned.video[clip, :length], turned.landmarks[clip, :length] = frames, landmarks
    return True

  clips = np.flatnonzero(batch[features.MASK]).tolist()
  found = evaluation.threads.map(turn, clips)
  return turned._replace(lost=frozenset(clip for clip, seen in zip(clips, found, strict=True) if not seen))


def _moved(frames: np.ndarray, pixels: int, right: int, down: int) -> np.ndarray:
  """Frames [..., H, W, 3] moved by so many pixels, their edge repeated."""
  rows, columns = (
    np.clip(np.arange(size) - pixels * way, 0, size - 1)
    for size, way in zip(frames.shape[-3:-1], (down, right), strict=True)
  )
  return frames[..., rows[:, None], columns, :]


def _video(
  evaluation: evaluate.Evaluation, batch: Batch, inputs: Inputs, point: Point, lengths: np.ndarray
) -> np.ndarray:
  """uint8 [B, T, H, W, 3]: the video that is scored at this point."""
  if point == REAL:
    return inputs.video
  if point == BASELINE:
    return np.broadcast_to(inputs.image[:, None], inputs.video.shape)
  generator, lanes = evaluation.generator, evaluation.lanes
  conditions = generator.normalisation.conditions(inputs.image_landmarks)
  if point.experiment in ('landmark noise', 'turned head landmarks'):
    driving = generator.normalisation.normalise(inputs.landmarks)
    if point.experiment == 'landmark noise':
      shape = driving.shape[1:]
      noise = np.stack([sound_changes.rng(name, point).normal(size=shape) for name in batch[features.CLIP_ID]])
      driving = (driving + point.amount * noise).astype(np.float32)
    return whole_clips.from_landmarks(lanes, inputs.image, conditions, driving)
  of_sound: Batch = {features.MFCC: _mfcc_windows(batch, point, lengths)}
  if generator.at.front_end.takes_sound:
    of_sound = {features.AUDIO: _sound(batch, point, lengths)}
  return whole_clips.from_audio(lanes, inputs.image, conditions, of_sound, inputs.video.shape[1])


def _mfcc_windows(batch: Batch, point: Point, lengths: np.ndarray) -> np.ndarray:
  """MFCC windows [B, T, 28, 12] of the sound at this point."""
  if point.experiment not in sound_changes.EXPERIMENTS:
    return batch[features.MFCC]
  windows = np.empty_like(batch[features.MFCC])
  for clip, length in enumerate(lengths):
    rows = audio.frame_rows(sound_changes.samples(batch, clip, point, length), length)
    windows[clip, :length], windows[clip, length:] = audio.windows(rows), audio.windows(rows)[-1]
  return windows


def _sound(batch: Batch, point: Point, lengths: np.ndarray) -> np.ndarray:
  """int16 [B, 640 T], the sound at this point; louder than full scale is clipped."""
  if point.experiment not in sound_changes.EXPERIMENTS:
    return batch[features.AUDIO]
  sounds = np.zeros_like(batch[features.AUDIO])
  for clip, length in enumerate(lengths):
    noisy = sound_changes.samples(batch, clip, point, length)
    sounds[clip, : len(noisy)] = features.sound_to_int16(noisy)
  return sounds


def _facts(rest: np.ndarray, track: face_landmarker.Track | None) -> dict[str, float]:
  """A clip's own measures.

  Args:
    rest: [136], its landmarks with the mouth at rest.
    track: the face in its crops.

  Returns:
    'yaw': in degrees, the median as the detector measures it in the crops, NaN where it finds no face.
    'face_shape': the width of the jaw over the height from brows to chin.
    'mouth_width': in distances of the eyes.
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
