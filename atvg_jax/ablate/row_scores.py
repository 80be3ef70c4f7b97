"""The scores of one row of an ablation: what its net draws of held-out clips, scored as any video would be.

VG-net is driven by the clips' own landmarks and draws in the lanes of generation, as `evaluate` has it. AT-net, and a
VG-net whose input is sound, which generation refuses, run as they were trained. The example frame is another moment of
the clip.
"""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw

from atvg_jax import models
from atvg_jax.checkpoints import run_config, weights
from atvg_jax.evaluate import clip_scores, score_tables
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.lanes import whole_clips
from atvg_jax.generate.lanes.item_threads import spread
from atvg_jax.generate.lanes.lanes import Lanes
from atvg_jax.generate.normalisation import Normalisation
from atvg_jax.train import feed, pictures, tasks
from data_pipelines import features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.records import record_index

_SHOWN = 2  # clips of each data set that are kept as pictures

# A clip as batch of one → what is scored: video uint8 [1, T, 128, 128, 3], or landmarks [1, T, 136]. Threads call it.
Predictor = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Scored(NamedTuple):
  """The scores of the held-out clips."""

  scores: dict[str, dict[str, float]]  # data set → column of `clip_scores.COLUMNS` → mean over its clips
  by_clip: dict[str, dict[str, dict[str, float]]]  # data set → name of the clip → column → its score
  strip: np.ndarray  # uint8 [128, n 128, 3]: some moments of some of them, side by side


@contextlib.contextmanager
def net_predictor(config: Any, state: Any, basis: Any) -> Iterator[Predictor]:
  """A trained net, to be scored.

  Args:
    config: of its training.
    state: after it.
    basis: AT-net's landmark basis.
  """
  if config.task == 'vg' and models.make_net(config).condition == features.LANDMARKS:
    vg = weights.Bundle('vg', run_config.plain(config), state.inference_params, state.g_batch_stats, None, {})
    generator = Generator(weights.load_net(weights.packaged_weights('at')), jax.device_get(vg))
    with Lanes(generator, window=clip_scores.WINDOW) as lanes:
      yield functools.partial(_drawn, lanes, generator.normalisation)
    return
  sample_step = jax.jit(tasks.make_task(config, basis).sample_step)
  name = 'landmarks' if config.task == 'at' else 'video'

  def predict(clip: Mapping[str, np.ndarray]) -> np.ndarray:
    made = np.asarray(sample_step(state, clip)[name])
    return made if config.task == 'at' else features.to_bytes(made)

  yield predict


def _drawn(lanes: Lanes, normalisation: Normalisation, clip: Mapping[str, np.ndarray]) -> np.ndarray:
  conditions = normalisation.conditions(clip[features.EXAMPLE_LANDMARKS])
  landmarks = normalisation.normalise(clip[features.LANDMARKS])
  return whole_clips.from_landmarks(lanes, clip[features.EXAMPLE_IMAGE], conditions, landmarks)


def references(task: str) -> dict[str, tuple[str, Predictor]]:
  """Row → (title, predictor) of what needs no net: what every row must beat, and what no row can."""
  if task == 'at':
    return {
      'rest': (
        'mouth at rest',
        lambda clip: np.broadcast_to(clip[features.REST_LANDMARKS][:, None], clip[features.LANDMARKS].shape),
      )
    }
  return {
    'example_frame': (
      'the example frame, repeated',
      lambda clip: np.broadcast_to(clip[features.EXAMPLE_IMAGE][:, None], clip[features.VIDEO].shape),
    ),
    'real': ('real: the clip itself', lambda clip: clip[features.VIDEO]),
  }


def score(config: Any, predict: Predictor, clips: int) -> Scored:
  """Scores predictions for clips that are spread evenly over each data set's held-out split.

  Args:
    config: of the training; its data sets, and split and window of its evaluation.
    predict: what to score.
    clips: of each data set, for VG-net; AT-net, which costs next to nothing, is scored on all.

  Raises:
    InputError: a split is empty, or not to be read.
  """
  scores, by_clip, tiles = {}, {}, []
  for directory in config.data.dirs:
    name = os.path.basename(os.path.normpath(directory))
    chosen = _chosen(directory, config.evaluation.split, None if config.task == 'at' else clips)
    shown = {chosen[i * len(chosen) // _SHOWN] for i in range(min(_SHOWN, len(chosen)))}
    of_clip = functools.partial(_score_clip, config, predict, shown)
    threads = os.cpu_count() or 1
    scored = dict(spread(of_clip, _clips(config, directory, set(chosen)), threads, abort=lambda: None))
    by_clip[name] = {scored[number][0]: scored[number][1] for number in sorted(scored)}
    tiles += [tile for number in sorted(scored) for tile in scored[number][2]]
    scores[name] = _means(list(by_clip[name].values()))
  return Scored(scores, by_clip, np.concatenate(tiles, axis=1))


def _score_clip(
  config: Any, predict: Predictor, shown: Collection[str], named: tuple[str, dict[str, np.ndarray], int]
) -> tuple[str, dict[str, float], list[np.ndarray]]:
  """Name and scores of one of `_clips`, and the pictures of it if it is among those that are shown."""
  clip_id, clip, length = named
  ours, true = predict(clip)[0, :length], clip[features.LANDMARKS][0, :length]
  moments = _moments(true) if clip_id in shown else []
  if config.task == 'at':
    return clip_id, clip_scores.landmark_scores(ours, true), [_landmarks_tile(ours[t], true[t]) for t in moments]
  return clip_id, _video_scores(ours, clip, length), [ours[t] for t in moments]


def _video_scores(ours: np.ndarray, clip: Mapping[str, np.ndarray], length: int) -> dict[str, float]:
  """`clip_scores.video_scores` of frames uint8 [T, 128, 128, 3] beside a batch of one clip with so many true frames."""
  frames, true = clip[features.VIDEO][0, :length], clip[features.LANDMARKS][0, :length]
  by_frame = clip_scores.reference_scores({'ours': ours[None]}, frames[None], [true])['ours']
  return clip_scores.video_scores(
    clip_scores.landmarker(),
    ours,
    clip_scores.RealClip(frames, true, clip[features.EXAMPLE_IMAGE][0]),
    {column: values[0] for column, values in by_frame.items()},
  )


def _chosen(directory: str, split: str, clips: int | None) -> list[str]:
  """Names of clips that lie evenly in a split; all for None."""
  index = record_index.load(directory, split)
  if not len(index):
    raise InputError(f'the split {split} of {directory} holds no clip to score: convert more clips')
  number = min(clips or len(index), len(index))
  return [str(index.clip_id[i * len(index) // number]) for i in range(number)]


def _clips(config: Any, directory: str, chosen: set[str]) -> Iterator[tuple[str, dict[str, np.ndarray], int]]:
  """(name, batch of one, true frames) of the chosen clips of a data set; the frames beyond are padding."""
  settings = config.copy_and_resolve_references()
  settings.evaluation.update(batch_size=jax.device_count(), stride=1)
  settings.evaluation.batches = None
  for batch in feed.eval_batches(settings, directory):
    for place, name in enumerate(batch[features.CLIP_ID]):
      if batch[features.MASK][place] and name.decode() in chosen:
        clip = {key: value[place : place + 1] for key, value in batch.items() if key != features.CLIP_ID}
        yield name.decode(), clip, int(clip[features.FRAME_MASK].sum())


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
  """Of each column over the clips that have it."""
  means = {}
  for column in clip_scores.columns(rows):
    values = np.array([row.get(column, np.nan) for row in rows], np.float64)
    if np.isfinite(values).any():
      means[column] = float(values[np.isfinite(values)].mean())
  return means


def _moments(true: np.ndarray) -> list[int]:
  """The frames of landmarks [T, 136] in which the mouth is shut and open the most, and one half way between them."""
  opening = face_alignment.mouth_opening(true)
  shut, wide = int(opening.argmin()), int(opening.argmax())
  return [shut, int(np.abs(opening - (opening[shut] + opening[wide]) / 2).argmin()), wide]


def _landmarks_tile(landmarks: np.ndarray, true: np.ndarray) -> np.ndarray:
  """Landmarks [136] in red over the true ones in grey: uint8 [128, 128, 3]."""
  size, enlarged = features.IMAGE_SIZE, 4 * features.IMAGE_SIZE
  image = Image.new('RGB', (enlarged, enlarged), 'white')
  draw = ImageDraw.Draw(image)
  for points, colour in ((true, (170, 170, 170)), (landmarks, (200, 30, 30))):
    places = (points.reshape(-1, 2) + 1) * enlarged / 2
    for run, closed in pictures.LINES:
      line = [tuple(place) for place in places[run]]
      draw.line(line + line[:1] if closed else line, fill=colour, width=4, joint='curve')
  return np.asarray(image.resize((size, size), Image.Resampling.BOX))


RESULT_FILE, STRIP_FILE = 'result.json', 'strip.png'


def save(folder: str, result: Mapping[str, Any], scored: Scored) -> dict[str, Any]:
  """Writes a row's strip, then `result` with its scores, which it returns: when that is there, the row is finished."""
  os.makedirs(folder, exist_ok=True)
  with atomic_write(os.path.join(folder, STRIP_FILE), 'wb') as file:
    Image.fromarray(scored.strip).save(file, format='PNG')
  counts = {name: len(clips) for name, clips in scored.by_clip.items()}
  whole = {**result, 'clips': counts, 'scores': scored.scores, 'by_clip': scored.by_clip}
  score_tables.write(os.path.join(folder, RESULT_FILE), score_tables.table_json(whole))
  return whole


def load(folder: str) -> dict[str, Any] | None:
  """The result in a folder, None where there is none yet.

  Raises:
    InputError: what is there is no result.
  """
  path = os.path.join(folder, RESULT_FILE)
  if not os.path.exists(path):
    return None
  try:
    with open(path, encoding='utf-8') as file:
      result = json.load(file)
    assert isinstance(result['scores'], dict)
  except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
    raise InputError(
      f'{path} cannot be read as the result of a row ({error}): delete it, and the row is scored again'
    ) from error
  if result.get('row') == 'still':  # of version 0.1
    result |= {'row': 'example_frame', 'title': references('vg')['example_frame'][0]}
  return result
