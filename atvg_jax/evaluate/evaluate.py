"""Scores of weights on a converted split: `atvg evaluate --data DIR`.

Rows of a table:

* baseline: the example frame, repeated: what every other row must beat.
* true landmarks: VG-net driven by the clip's own landmarks.
* sound: both nets; their inputs are the example frame and the sound, and nothing else of the clip.
* real: the clip itself, put through the same detector: what finding the landmarks again alone costs.

The columns are those of `clip_scores.COLUMNS`: means over frames, then over clips.

Protocols say where the example frame comes from:

* same-clip: another moment of the clip;
* other-clip: another clip of the speaker;
* cross-speaker: another speaker, so that there are no true frames: what needs them is left out;
* published: the clip's first frame, as in the published tables, with the published formulas beside the right ones.

Videos of other systems are scored by `video_pairs`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import jax
import numpy as np
from tqdm import tqdm

from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.evaluate import clip_scores, score_files, score_rows, silence
from atvg_jax.evaluate.metric_networks import networks
from atvg_jax.evaluate.score_rows import Scored
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.lanes import whole_clips
from atvg_jax.generate.lanes.lanes import Lanes
from atvg_jax.train import feed
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.records import record_index

# Protocol → where `feed.clip_batches` takes the example frame from.
PROTOCOLS = {
  'same-clip': 'same-clip',
  'other-clip': 'other-clip',
  'cross-speaker': 'other-speaker',
  'published': 'first-frame',
}

_NEEDS_TRUE_FRAMES = (
  *clip_scores.LIKENESS,
  'lmd',
  'lmd_face',
  'velocity_error',
  'blendshapes',
  'blendshapes_face',
  'lpips',
)

_BY_FRAME = features.VIDEO, features.LANDMARKS, features.MFCC, features.FRAME_MASK

Batch = Mapping[str, np.ndarray]


class _SubmittedClip(NamedTuple):
  """A clip of a batch while threads score its rows."""

  clip_id: str
  samples: np.ndarray | None  # float32 [n] at 16 kHz, where a metric network needs them
  rows: score_rows.SubmittedRows


class Evaluation:
  """What clips are scored with; a context manager, since it has threads and compiled programs.

  Attributes:
    generator: both nets.
    protocol: one of PROTOCOLS; the batches bring its example frames.
    metric_networks: networks that score the videos as well; where they need sound, the batches have it.
    batch_size: clips that are drawn at a time.
    threads: what scores the videos of one batch while the nets draw the next.
    lanes: where the clips are drawn, on all local devices.
  """

  def __init__(
    self,
    generator: Generator,
    protocol: str = 'same-clip',
    metric_networks: networks.MetricNetworks | None = None,
    batch_size: int = 4,
  ):
    """Takes what the attributes say."""
    self.generator, self.protocol, self.batch_size = generator, protocol, batch_size
    self.metric_networks = metric_networks or networks.MetricNetworks()
    self.threads = score_rows.make_threads()
    self.lanes = Lanes(generator, -(-batch_size // jax.local_device_count()), clip_scores.WINDOW)

  def __enter__(self) -> Self:
    self.lanes.__enter__()
    return self

  def __exit__(self, kind, value, traceback) -> None:
    self.lanes.__exit__(kind, value, traceback)
    self.threads.shutdown(cancel_futures=True)

  def score(self, batches: Iterable[Batch], speakers: Mapping[str, str]) -> Iterator[Scored]:
    """Generates and scores every clip.

    Args:
      batches: of `feed.clip_batches`: whole clips, padded to a common length.
      speakers: clip id → speaker.
    """
    waiting: list[_SubmittedClip] = []
    for batch in batches:
      submitted = self._submit_scores(batch)  # the nets draw while the threads score the batch before
      yield from self._collect_scores(waiting, speakers)
      waiting = submitted
    yield from self._collect_scores(waiting, speakers)

  def warm_up(self) -> None:
    """Compiles what scoring needs, by black frames of no clip: beside the import of TensorFlow it costs no time."""
    size, length, batch_size = features.IMAGE_SIZE, clip_scores.WINDOW, self.batch_size
    face = face_alignment.normalise(
      face_alignment.TEMPLATE
    )  # the published steps cannot take points without any spread
    self._submit_scores(
      {
        features.EXAMPLE_IMAGE: np.zeros((batch_size, size, size, 3), np.uint8),
        features.EXAMPLE_LANDMARKS: np.tile(face, (batch_size, 1)),
        features.VIDEO: np.zeros((batch_size, length, size, size, 3), np.uint8),
        features.LANDMARKS: np.tile(face, (batch_size, length, 1)),
        features.MFCC: np.zeros((batch_size, length, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS), np.float32),
        features.AUDIO: np.zeros((batch_size, length * features.SAMPLES_PER_FRAME), np.int16),
        features.FRAME_MASK: np.ones((batch_size, length), np.float32),
        features.MASK: np.zeros(batch_size, np.float32),
      }
    )

  def _submit_scores(self, batch: Batch) -> list[_SubmittedClip]:
    """Draws the videos of a batch, and begins to score those of its clips whose mask is not 0."""
    videos = self._videos(batch)
    lengths = batch[features.FRAME_MASK].sum(axis=1).astype(int)
    landmarks = [clip[:length] for clip, length in zip(batch[features.LANDMARKS], lengths, strict=True)]
    baseline = {'baseline': batch[features.EXAMPLE_IMAGE][:, None]}
    by_frame = clip_scores.reference_scores(videos | baseline, batch[features.VIDEO], landmarks)
    submitted = []
    for clip in np.flatnonzero(batch[features.MASK]):
      frames = slice(lengths[clip])
      ours = {row: video[clip, frames] for row, video in videos.items()}
      rows = score_rows.submit(
        self.threads,
        clip_scores.RealClip(ours['real'], landmarks[clip], batch[features.EXAMPLE_IMAGE][clip]),
        ours,
        {
          row: {column: values[clip, frames] for column, values in columns.items()} for row, columns in by_frame.items()
        },
        published=self.protocol == 'published',
      )
      samples = None
      if self.metric_networks.needs_sound:
        samples = features.sound_to_float(batch[features.AUDIO][clip, : lengths[clip] * features.SAMPLES_PER_FRAME])
      submitted.append(_SubmittedClip(batch[features.CLIP_ID][clip].decode(), samples, rows))
    return submitted

  def _collect_scores(self, submitted: Iterable[_SubmittedClip], speakers: Mapping[str, str]) -> Iterator[Scored]:
    """Waits for what `_submit_scores` began."""
    for clip in submitted:
      rows, mouth = score_rows.collect(clip.rows, self.metric_networks, clip.samples)
      if self.protocol == 'cross-speaker':
        for row in set(rows) - {'real'}:
          rows[row] = {column: value for column, value in rows[row].items() if column not in _NEEDS_TRUE_FRAMES}
      scores = {'clip_id': clip.clip_id, 'speaker': speakers[clip.clip_id], 'mouth': mouth, 'rows': rows}
      yield Scored(scores, clip.rows.videos)

  def _videos(self, batch: Batch) -> dict[str, np.ndarray]:
    """uint8 [B, T, H, W, 3] for each row."""
    image, true, real = (batch[key] for key in (features.EXAMPLE_IMAGE, features.LANDMARKS, features.VIDEO))
    examples = batch[features.EXAMPLE_LANDMARKS]
    conditions, length = self.generator.normalisation.conditions(examples), real.shape[1]

    if self.protocol == 'cross-speaker':  # the motion on this face, not the other's face
      driving = np.stack(
        [self.generator.normalisation.transfer(landmarks, clip) for landmarks, clip in zip(examples, true, strict=True)]
      )
    else:
      driving = self.generator.normalisation.normalise(true)
    return {
      'baseline': np.broadcast_to(image[:, None], real.shape),
      'true landmarks': whole_clips.from_landmarks(self.lanes, image, conditions, driving),
      'sound': whole_clips.from_audio(self.lanes, image, conditions, batch, length),
      'real': real,
    }


def run(
  dirs: Sequence[str],
  split: str,
  *,
  weights: Sequence[str] | None = None,
  protocol: str = 'same-clip',
  batch_size: int = 4,
  max_clips: int | None = None,
  out: str | None = None,
  metric_networks: networks.MetricNetworks | None = None,
  silence_clips: int = 0,
) -> str:
  """Scores weights on the split of each folder.

  Args:
    dirs: folders that `atvg prepare` wrote.
    split: name of the split.
    weights: see `checkpoints.weights.load_nets`.
    protocol: one of PROTOCOLS.
    batch_size: clips at a time.
    max_clips: score the first so many of each folder only.
    out: folder for evaluation.json, .md, .csv, .html and videos/, or None.
    metric_networks: networks that score the videos as well.
    silence_clips: of how many clips of each folder pauses are made for `silence.scores`; 0: none.

  Returns:
    The tables, as Markdown.

  Raises:
    InputError: there is no such protocol, `out` cannot be written, or a data set or weights cannot be read.
  """
  if protocol not in PROTOCOLS:
    raise InputError(f'there is no protocol {protocol!r}: choose one of {", ".join(PROTOCOLS)}')
  score_files.make_folder(out)
  metric_networks = metric_networks or networks.MetricNetworks()
  tables, set_scores, pauses = {}, {}, ''
  with Evaluation(Generator(*load_nets(weights)), protocol, metric_networks, batch_size) as evaluation:
    warming = evaluation.threads.submit(evaluation.warm_up)
    with_audio = metric_networks.needs_sound or evaluation.generator.at.front_end.takes_sound
    for directory in dirs:
      index = record_index.load(directory, split)
      speakers = dict(zip(index.clip_id.tolist(), index.speaker.tolist(), strict=True))
      batches = feed.clip_batches(
        directory, split, batch_size=batch_size, example=PROTOCOLS[protocol], with_audio=with_audio
      )
      warming.result()
      scored = evaluation.score(first_clips(batches, max_clips), speakers)
      total = min(len(speakers), max_clips or len(speakers))
      with tqdm(scored, total=total, unit='clip', desc=f'scoring {directory}', dynamic_ncols=True) as progress:
        tables[directory] = score_files.write_videos(progress, out, os.path.basename(os.path.normpath(directory)))
      set_scores[directory] = metric_networks.set_scores()
    for directory in dirs if silence_clips else ():
      found = silence.scores(evaluation.generator, _speech(directory, split, silence_clips))
      pauses += f'\n\n{directory}, pauses between clips:\n\n{silence.table(found)}'
  settings = {'split': split, 'protocol': protocol, 'weights': list(map(os.fspath, weights or ('packaged',)))}
  return score_files.report(tables, set_scores, settings, out) + pauses


def _speech(directory: str, split: str, count: int) -> list[np.ndarray]:
  """The sound of a split's first clips, float32 [n] each."""
  sounds: list[np.ndarray] = []
  for batch in first_clips(feed.clip_batches(directory, split, batch_size=1, with_audio=True), count):
    sounds.append(features.sound_to_float(batch[features.AUDIO][0]))
  return sounds


def first_clips(batches: Iterable[dict[str, np.ndarray]], max_clips: int | None) -> Iterator[dict[str, np.ndarray]]:
  """The batches up to a number of clips, the rest of the last masked, each cut to its longest clip's length."""
  seen = 0
  for batch in batches:
    if max_clips is not None:
      if seen >= max_clips:
        return
      batch[features.MASK] = batch[features.MASK] * (seen + np.arange(len(batch[features.MASK])) < max_clips)
    seen += int(batch[features.MASK].sum())
    # They come padded for programs that take whole clips; those here take windows that do not fit the padding.
    length = int(batch[features.FRAME_MASK].sum(axis=1).max())
    sound = (
      {features.AUDIO: batch[features.AUDIO][:, : length * features.SAMPLES_PER_FRAME]}
      if features.AUDIO in batch
      else {}
    )
    yield batch | sound | {key: batch[key][:, :length] for key in _BY_FRAME}
