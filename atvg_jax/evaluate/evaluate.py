"""Scores: of weights on a converted split, or of a folder of videos beside a folder of real ones.

Rows of a table:

* still: the example frame, repeated: what every other row must beat.
* true landmarks: VG-net driven by the clip's own landmarks.
* sound: both nets; they see the example frame and the sound, and nothing else of the clip.
* generated: the videos of a folder.
* real: the clip itself, put through the same detector: what finding the landmarks again alone costs.

The columns are those of `clip_scores.COLUMNS`: means over frames, then over clips.

Protocols say where the example frame comes from:

* same-clip: another moment of the clip;
* other-clip: another clip of the speaker;
* cross-speaker: another speaker, so that there are no true frames: what needs them is left out;
* published: the clip's first frame, as in the published tables, with the published formulas beside the right ones.
"""

import concurrent.futures
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.evaluate import clip_scores, score_page, score_tables
from atvg_jax.evaluate.metric_networks import panel
from atvg_jax.generate import streaming
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.portrait import Portrait
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import video_reader

# Protocol → where `input_pipeline.eval_batches` takes the example frame from.
PROTOCOLS = {
  'same-clip': 'same-clip',
  'other-clip': 'other-clip',
  'cross-speaker': 'other-speaker',
  'published': 'first-frame',
}

_NEEDS_TRUE_FRAMES = (
  'psnr',
  'ssim',
  'psnr_mouth',
  'ssim_mouth',
  'psnr_lips',
  'ssim_lips',
  'lmd',
  'lmd_face',
  'velocity_error',
  'lpips',
)

_BY_FRAME = features.VIDEO, features.LANDMARKS, features.MFCC, features.FRAME_MASK


class Scored(NamedTuple):
  """A clip with the videos that were scored."""

  scores: dict[str, Any]  # 'clip_id', 'speaker', 'rows': {row: {column: number}}
  videos: dict[str, np.ndarray]  # row → uint8 [T, 128, 128, 3]


def run(
  dirs: Sequence[str],
  split: str,
  *,
  nets: Sequence[str] | None = None,
  protocol: str = 'same-clip',
  batch_size: int = 4,
  max_clips: int | None = None,
  out: str | None = None,
  judges: panel.Panel | None = None,
) -> str:
  """Scores weights on the split of each folder.

  Args:
    dirs: folders that `atvg prepare` wrote.
    split: name of the split.
    nets: see `generator.load_nets`.
    protocol: one of PROTOCOLS.
    batch_size: clips at a time.
    max_clips: score the first so many of each folder only.
    out: folder for evaluation.json, .md, .csv, .html and videos/, or None.
    judges: networks of others to ask as well.

  Returns:
    The tables, as Markdown.
  """
  if protocol not in PROTOCOLS:
    raise InputError(f'there is no protocol {protocol!r}: choose one of {", ".join(PROTOCOLS)}')
  _check_out(out)
  generator = Generator(*load_nets(nets))
  if generator.published:
    batch_size = 1  # their recurrence runs over the batch: clips would leak into each other
  warming = _pool.submit(_warm_up, generator, batch_size)
  from data_pipelines import input_pipeline  # import TensorFlow, which takes seconds
  from data_pipelines.records import record_index

  judges = judges or panel.Panel()
  tables, sets = {}, {}
  for directory in dirs:
    index = record_index.load(directory, split)
    speakers = dict(zip(index.clip_id.tolist(), index.speaker.tolist(), strict=True))
    batches = input_pipeline.iterate(
      input_pipeline.eval_batches(
        (directory,), split=split, batch_size=batch_size, example=PROTOCOLS[protocol], with_audio=judges.needs_sound
      )
    )
    warming.result()
    scored = evaluate(generator, first(batches, max_clips), speakers, protocol, judges)
    total = min(len(speakers), max_clips or len(speakers))
    with tqdm(scored, total=total, unit='clip', desc=f'scoring {directory}', dynamic_ncols=True) as progress:
      tables[directory] = _collect(progress, out, os.path.basename(os.path.normpath(directory)))
    sets[directory] = judges.of_set()
  head = {'split': split, 'protocol': protocol, 'weights': list(map(os.fspath, nets or ('packaged',)))}
  return _report(tables, sets, head, out)


def run_folders(real: str, generated: str, *, out: str | None = None, judges: panel.Panel | None = None) -> str:
  """Scores videos beside the real ones of the same names.

  Args:
    real, generated: folders; files belong together if their names without suffix are equal.
    out, judges: as in `run`.

  Returns:
    The table, as Markdown.

  Raises:
    InputError: a folder is missing, no names agree, or a video cannot be read or shows no face.
  """
  _check_out(out)
  pairs = _pairs(real, generated)
  judges = judges or panel.Panel()
  with tqdm(pairs, unit='clip', desc=f'scoring {generated}', dynamic_ncols=True) as progress:
    tables = {generated: _collect((score_pair(*pair, judges) for pair in progress), out, 'videos')}
  return _report(tables, {generated: judges.of_set()}, {'real': real}, out)


def evaluate(
  generator: Generator,
  batches: Iterator[Mapping[str, np.ndarray]],
  speakers: Mapping[str, str],
  protocol: str = 'same-clip',
  judges: panel.Panel | None = None,
) -> Iterator[Scored]:
  """Generates and scores every clip.

  Args:
    generator: the nets.
    batches: as `input_pipeline.eval_batches` gives them, whole clips padded to a common length.
    speakers: clip id → speaker.
    protocol: one of PROTOCOLS; the batches bring its example frames.
    judges: networks of others; where they need sound, the batches have it.
  """
  judges = judges or panel.Panel()
  waiting = None
  for batch in batches:
    drawn = _drawn(generator, batch, protocol)  # while the pool looks at the batch before
    if waiting is not None:
      yield from _finished(*waiting, speakers, protocol, judges)
    waiting = drawn
  if waiting is not None:
    yield from _finished(*waiting, speakers, protocol, judges)


def _warm_up(generator: Generator, batch_size: int) -> None:
  """Compiles what scoring needs, by black frames of no clip: beside the import of TensorFlow it costs no time."""
  size, length = features.IMAGE_SIZE, clip_scores.WINDOW
  face = face_alignment.normalise(face_alignment.TEMPLATE)  # the published steps cannot take points without any spread
  _drawn(
    generator,
    {
      features.EXAMPLE_IMAGE: np.zeros((batch_size, size, size, 3), np.uint8),
      features.EXAMPLE_LANDMARKS: np.tile(face, (batch_size, 1)),
      features.VIDEO: np.zeros((batch_size, length, size, size, 3), np.uint8),
      features.LANDMARKS: np.tile(face, (batch_size, length, 1)),
      features.MFCC: np.zeros((batch_size, length, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS), np.float32),
      features.FRAME_MASK: np.ones((batch_size, length), np.float32),
      features.MASK: np.zeros(batch_size, np.float32),
    },
    'same-clip',
  )


def _drawn(generator: Generator, batch: Mapping[str, np.ndarray], protocol: str) -> tuple[Any, ...]:
  """The batch, and for each of its clips its number, its videos and its rows in the making."""
  videos = _videos(generator, batch, protocol)
  lengths = batch[features.FRAME_MASK].sum(axis=1).astype(int)
  landmarks = [clip[:length] for clip, length in zip(batch[features.LANDMARKS], lengths, strict=True)]
  still = {'still': batch[features.EXAMPLE_IMAGE][:, None]}
  likeness = clip_scores.likeness(videos | still, batch[features.VIDEO], landmarks)
  clips = []
  for clip in np.flatnonzero(batch[features.MASK]):
    frames = slice(lengths[clip])
    ours = {name: video[clip, frames] for name, video in videos.items()}
    rows = _score_rows(
      ours,
      landmarks[clip],
      batch[features.EXAMPLE_IMAGE][clip],
      {
        name: {column: values[clip, frames] for column, values in columns.items()} for name, columns in likeness.items()
      },
      published=protocol == 'published',
    )
    clips.append((clip, ours, rows))
  return batch, clips


def _finished(
  batch: Mapping[str, np.ndarray],
  clips: Sequence[tuple[Any, ...]],
  speakers: Mapping[str, str],
  protocol: str,
  judges: panel.Panel,
) -> Iterator[Scored]:
  """What `_drawn` began."""
  for clip, ours, making in clips:
    rows = {name: row.result() for name, row in making.items()}
    sound = None
    if judges.needs_sound:
      length = len(ours['real']) * features.SAMPLES_PER_FRAME
      sound = batch[features.AUDIO][clip, :length] / np.float32(32767)
    for name, scores in judges.of_clip(ours, batch[features.EXAMPLE_IMAGE][clip], sound).items():
      rows[name] |= scores
    if protocol == 'cross-speaker':
      for name in set(rows) - {'real'}:
        rows[name] = {column: value for column, value in rows[name].items() if column not in _NEEDS_TRUE_FRAMES}
    clip_id = batch[features.CLIP_ID][clip].decode()
    yield Scored({'clip_id': clip_id, 'speaker': speakers[clip_id], 'rows': rows}, ours)


def score_pair(real: str, generated: str, judges: panel.Panel | None = None) -> Scored:
  """Scores one video file beside the real one, whose sound it is judged by.

  Both are cut to the face: by the real face's place if the pictures are of one size, else each by its own.

  Raises:
    InputError: a video cannot be read, or shows no face.
  """
  judges = judges or panel.Panel()
  clip, ours = video_reader.read_video(real), video_reader.read_video(generated)
  true_frames, true, matrices = _crops(real, clip.frames)
  same_size = clip.frames[0].shape == ours.frames[0].shape
  frames, _, _ = _crops(generated, ours.frames, matrices if same_size else None)
  length = min(len(frames), len(true_frames))
  frames, true_frames, true = frames[:length], true_frames[:length], true[:length]
  example = true_frames[length // 2]
  videos = {'still': np.broadcast_to(example, true_frames.shape), 'generated': frames, 'real': true_frames}
  whole = true_frames[None]
  likeness = clip_scores.likeness(
    {'still': example[None, None], 'generated': frames[None], 'real': whole}, whole, true[None]
  )
  likeness = {name: {column: values[0] for column, values in columns.items()} for name, columns in likeness.items()}
  rows = {name: row.result() for name, row in _score_rows(videos, true, example, likeness).items()}
  for name, scores in judges.of_clip(videos, example, clip.samples if clip.has_audio else None).items():
    rows[name] |= scores
  name = os.path.splitext(os.path.basename(generated))[0]
  return Scored({'clip_id': name, 'speaker': '', 'rows': rows}, videos)


_pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def _score_rows(
  videos: Mapping[str, np.ndarray],
  true: np.ndarray,
  example: np.ndarray,
  likeness: Mapping[str, Mapping[str, np.ndarray]],
  published: bool = False,
) -> dict[str, concurrent.futures.Future]:
  """The scores of a clip's rows, each in the making in a thread: the detector leaves the interpreter free."""

  def score(name):
    found = None
    if name == 'still':  # one picture: looked at once
      found = clip_scores.redetect(clip_scores.landmarker(), videos[name][:1])
      found = None if found is None else np.repeat(found, len(true), axis=0)
    return clip_scores.of_clip(
      clip_scores.landmarker(),
      videos[name],
      videos['real'],
      true,
      example,
      likeness[name],
      published=published,
      found=found,
    )

  return {name: _pool.submit(score, name) for name in videos}


def _videos(generator: Generator, batch: Mapping[str, np.ndarray], protocol: str) -> dict[str, np.ndarray]:
  """uint8 [B, T, H, W, 3] for each row."""
  image, true, real = (batch[key] for key in (features.EXAMPLE_IMAGE, features.LANDMARKS, features.VIDEO))
  examples = batch[features.EXAMPLE_LANDMARKS]
  conditions, length = generator.conditions(examples), real.shape[1]

  def draw(landmarks):
    return np.concatenate(list(generator.vg(image, conditions.example_landmarks, landmarks)), axis=1)[:, :length]

  def split(values):
    return streaming.split(values, clip_scores.WINDOW)

  if protocol == 'cross-speaker':  # the movement on this face, not the other's face
    driving = np.stack(
      [
        generator.transferred_landmarks(Portrait(picture, landmarks, np.eye(2, 3), 1), clip)
        for picture, landmarks, clip in zip(image, examples, true, strict=True)
      ]
    )
  else:
    driving = generator.normalise(true)
  return {
    'still': np.broadcast_to(image[:, None], real.shape),
    'true landmarks': draw(split(driving)),
    'sound': draw(generator.spoken(conditions, split(batch[features.MFCC]))),
    'real': real,
  }


def first(batches: Iterator[dict[str, np.ndarray]], max_clips: int | None) -> Iterator[dict[str, np.ndarray]]:
  """The batches up to a number of clips, the rest of the last masked, each cut to its longest clip's length."""
  seen = 0
  for batch in batches:
    if max_clips is not None:
      if seen >= max_clips:
        return
      batch[features.MASK] = batch[features.MASK] * (seen + np.arange(len(batch[features.MASK])) < max_clips)
    seen += int(batch[features.MASK].sum())
    # They come filled up for programs that take whole clips; those here take windows that do not fit the filling.
    length = int(batch[features.FRAME_MASK].sum(axis=1).max())
    yield batch | {key: batch[key][:, :length] for key in _BY_FRAME}


def _collect(scored: Iterator[Scored], out: str | None, name: str) -> list[dict[str, Any]]:
  """The scores, and the videos into `out`/videos/`name`."""
  scores = []
  for clip in scored:
    if out is not None:
      score_page.write_video(os.path.join(out, 'videos', name), clip.scores['clip_id'], clip.videos)
      clip.scores['video'] = f'videos/{name}/{clip.scores["clip_id"]}.mp4'
    scores.append(clip.scores)
  if not scores:
    raise InputError('the split holds no clip: choose another --split or convert more clips')
  return scores


def _report(
  tables: Mapping[str, list[dict[str, Any]]],
  sets: Mapping[str, Mapping[str, float]],
  head: Mapping[str, Any],
  out: str | None,
) -> str:
  """Writes the files, if any, and returns the Markdown; `sets` has the FID of each table's rows."""
  summaries = {name: score_tables.summary(clips) for name, clips in tables.items()}
  for name, rows in sets.items():
    for row, distance in rows.items():  # of the set as a whole: there is no interval over clips
      summaries[name]['rows'][row]['fid'] = {'mean': distance, 'low': None, 'high': None, 'clips': len(tables[name])}
  about = ', '.join(f'{name} {value}' for name, value in head.items() if name in ('split', 'protocol', 'real'))
  text = ''.join(score_tables.markdown(f'{name}, {about}', summary) for name, summary in summaries.items())
  if out is not None:
    results = {**head, 'data': {name: summaries[name] | {'per_clip': clips} for name, clips in tables.items()}}
    score_tables.write(os.path.join(out, 'evaluation.json'), score_tables.table_json(results))
    score_tables.write(os.path.join(out, 'evaluation.md'), text)
    all_clips = [clip for clips in tables.values() for clip in clips]
    score_tables.write(os.path.join(out, 'evaluation.csv'), score_tables.table_csv(all_clips))
    score_tables.write(os.path.join(out, 'evaluation.html'), score_page.page(summaries, tables, about))
  return text


def _check_out(out: str | None) -> None:
  if out is None:
    return
  if os.path.exists(out) and not os.path.isdir(out):
    raise InputError(f'--out {out} is a file: name a folder')
  try:
    os.makedirs(out, exist_ok=True)
  except OSError as error:
    raise InputError(f'--out {out} cannot be made ({error.strerror}): choose another folder') from error


def _pairs(real: str, generated: str) -> list[tuple[str, str]]:
  """The files of two folders whose names agree."""
  files = []
  for folder in (real, generated):
    if not os.path.isdir(folder):
      raise InputError(f'{folder} is no folder of videos')
    files.append(
      {
        os.path.splitext(name)[0]: os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if not name.startswith('.') and os.path.isfile(os.path.join(folder, name))
      }
    )
  names = sorted(files[0].keys() & files[1].keys())
  if not names:
    raise InputError(
      f'no file in {generated} has the name of a file in {real} (suffixes aside): there is nothing to compare'
    )
  return [(files[0][name], files[1][name]) for name in names]


def _crops(
  path: str, frames: Sequence[np.ndarray], matrices: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A video's aligned crops uint8 [T, 128, 128, 3], landmarks in them [T, 136], and matrices [T, 2, 3].

  Args:
    path: the video, for what is said of it.
    frames: its frames, each uint8 [H, W, 3].
    matrices: of each frame, where they are known; landmarks are not looked for then, and an empty array is returned.
  """
  if matrices is not None:
    crops = [face_alignment.warp(frame, matrix) for frame, matrix in zip(frames, matrices, strict=False)]
    return np.stack(crops), np.empty((0, features.LANDMARK_SIZE)), matrices
  # A picture that ends where the face does, as ours do, gets a margin: the detector wants one.
  margin = max(frames[0].shape[:2]) // 2 if max(frames[0].shape[:2]) <= 2 * features.IMAGE_SIZE else 0
  padding = [(margin, margin), (margin, margin), (0, 0)]
  try:
    track = clip_scores.landmarker().track(np.pad(frame, padding, mode='edge') for frame in frames)
  except InputError as error:
    raise InputError(f'{path}: no face was found in it, so that it cannot be scored') from error
  points = track.landmarks - margin
  matrices = face_alignment.align_track(points)
  crops = np.stack([face_alignment.warp(frame, matrix) for frame, matrix in zip(frames, matrices, strict=True)])
  return crops, face_alignment.normalise(face_alignment.apply(matrices, points)), matrices
