"""Converted data sets → batches. The only file with the training and evaluation streams; knows no JAX.

Records are read by their place in the files (`record_index`), in an order that is a pure function of the seed and
the element's number (`sample_plan`): a stream can be started at any step, and every process reads its own share.
Only the frames of the window are decoded.

A damaged record ends a stream with TensorFlow's `UnknownError`; `iterate` turns it into the `InputError` that
names the file.
"""

import functools
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_pipelines.augmentation import image_ops, sound_ops
from data_pipelines.errors import InputError
from data_pipelines.features import (
  AUDIO,
  CLIP_ID,
  EXAMPLE_IMAGE,
  EXAMPLE_LANDMARKS,
  FRAME_MASK,
  IMAGE_SIZE,
  LANDMARK_SIZE,
  LANDMARKS,
  MASK,
  MFCC,
  MFCC_COEFFICIENTS,
  MFCC_CONTEXT,
  MFCC_ROWS,
  MFCC_ROWS_PER_FRAME,
  MFCC_WINDOW,
  REST_LANDMARKS,
  SAMPLES_PER_FRAME,
  VIDEO,
  VOICES,
)
from data_pipelines.records import landmark_statistics as statistics
from data_pipelines.records import record_index, sample_plan

_BUCKET = 16  # frames: whole clips are padded to a multiple of it
_MARK = 'InputError: '  # how TensorFlow quotes an exception of ours

Paths = Sequence[str | os.PathLike]

# Where the example frame of a clip under evaluation comes from.
EXAMPLES = ('same-clip', 'first-frame', 'other-clip', 'other-speaker')


def train_batches(
  dirs: Paths,
  *,
  split: str = 'train',
  window: int = 16,
  batch_size: int,
  seed: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  start_step: int = 0,
  weights: Sequence[float] | None = None,
  augment: Sequence[str] = (),
  with_video: bool = True,
) -> tf.data.Dataset:
  """Endless shuffled batches of windows. Step s is the same whether or not the stream began there.

  Args:
    dirs: converted data sets.
    split: which of their splits.
    window: frames T of a window; shorter clips are skipped, which is logged.
    batch_size: windows B of a batch of this process.
    seed: of the order, the windows, the example frames and the augmentations.
    process_index, process_count: each process gets other elements of the same stream.
    start_step: the step whose batch comes first.
    weights: share of each data set; None: in proportion to their clips.
    augment: names of `preprocess_ops`, applied in this order, those of `sound_ops` before all others.
    with_video: False leaves `video` and `example_image` out, without decoding them.

  Returns:
    Dicts of `example_image` uint8 [B, H, W, 3], `example_landmarks` [B, 136], `rest_landmarks` [B, 136],
    `landmarks` [B, T, 136], `mfcc` [B, T, 28, 12], `video` uint8 [B, T, H, W, 3], `mask` [B] (ones),
    `clip_id` [B]. The example is a frame of the same clip from outside the window, if the clip has any.

  Raises:
    InputError: a data set is missing, not converted or torn, no clip is long enough, or a bad option.
  """
  _keep_to_cpu()
  if window < 1 or batch_size < 1:
    raise InputError(f'A window of {window} frames and a batch of {batch_size}: both must be 1 or more.')
  hearing, seeing = image_ops.split(image_ops.parse(augment))
  num_voices = sound_ops.NUM_VOICES if sound_ops.needs_babble([op for _, op in hearing]) else 0
  record_index.refuse_leaks(_folders(dirs))
  readers = [_Reader(record_index.load(folder, split), window) for folder in _folders(dirs)]
  plan = sample_plan.SamplePlan([len(reader) for reader in readers], weights, seed)

  def fetch(element: np.int64) -> tuple[bytes, np.int32, np.int32, np.int32, np.ndarray, np.ndarray]:
    step, place = divmod(int(element), batch_size)
    n = (step * process_count + process_index) * batch_size + place  # its number in the stream of all processes
    source, record = plan.locate(n)
    reader = readers[source]
    rng = np.random.default_rng((seed, 3, n))
    start = int(rng.integers(reader.num_frames[record] - window + 1))
    example = _outside(rng.integers(1 << 62), int(reader.num_frames[record]), start, window)
    op_seed = rng.integers(1 << 31, size=2, dtype=np.int32)
    others = (plan.locate(int(rng.integers(plan.period))) for _ in range(num_voices))
    voices = np.array([readers[other].read(i) for other, i in others], np.object_)
    return reader.read(record), np.int32(start), np.int32(window), np.int32(example), op_seed, voices

  def finish(content, start, valid, example, op_seed, voices):
    fields = _cut(content, start, valid, example, window, with_video, unroll=True)
    if hearing:
      heard = [_samples(voice) for voice in tf.unstack(voices, num=num_voices)]
      fields[MFCC_ROWS] = sound_ops.apply(hearing, _samples(content), start, window, heard, op_seed)
    fields = image_ops.apply(seeing, fields, op_seed)
    return _frames(fields, window) | {MASK: tf.ones([])}

  elements = tf.data.Dataset.range(start_step * batch_size, np.iinfo(np.int64).max)
  signature = (tf.string, tf.int32, tf.int32, tf.int32, tf.int32, tf.string)
  shapes = [(), (), (), (), (2,), (num_voices,)]
  dataset = elements.map(_python(fetch, signature, shapes), num_parallel_calls=2)
  dataset = dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
  return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def eval_batches(
  dirs: Paths,
  *,
  split: str = 'validation',
  batch_size: int,
  window: int | None = None,
  with_video: bool = True,
  process_index: int = 0,
  process_count: int = 1,
  example: str = 'same-clip',
  with_audio: bool = False,
  voices_from: Paths = (),
) -> tf.data.Dataset:
  """One pass over a split, each clip once, in the order of the files.

  Args:
    dirs, split, batch_size, with_video, process_index, process_count: as in `train_batches`.
    window: frames T of the window cut out of each clip's middle; None: the whole clip.
    example: one of `EXAMPLES`. 'same-clip': a frame of the same clip, from outside the window if the clip has any;
      'first-frame': the clip's first; 'other-clip': of the speaker's next clip; 'other-speaker': of a clip of the next
      speaker. Frames and clips are chosen once for all, by the clip's name.
    with_audio: whether `audio` [B, 640 T] int16 is added, the sound of the window, silent where a clip is filled up.
    voices_from: data sets whose same split lends `voices` [B, V, 640 T] int16, the sound of `sound_ops.NUM_VOICES` clips of other
      speakers, repeated to that length, chosen once for all by the clip's name; empty: none are added.

  Returns:
    The dicts of `train_batches` with `frame_mask` [B, T] added. `mask` is 0 for the repeated clips that fill
    up a last batch, `frame_mask` for the repeated frames that fill up a clip to the window or, for whole
    clips, to a multiple of 16 frames (so T differs between batches, but not within one). All processes get
    equally many batches of equal shapes.

  Raises:
    InputError: a data set is missing, not converted or torn, has no other clip or speaker where one is asked for, or
      a bad option; nobody else speaks in `voices_from`.
  """
  _keep_to_cpu()
  if batch_size < 1 or (window is not None and window < 1):
    raise InputError(f'A window of {window} frames and a batch of {batch_size}: both must be 1 or more.')
  if example not in EXAMPLES:
    raise InputError(f'There is no example frame {example!r}: choose one of {", ".join(EXAMPLES)}.')
  record_index.refuse_leaks(_folders(dirs))
  readers = [_Reader(record_index.load(folder, split)) for folder in _folders(dirs)]
  examples = [_example_records(reader, example) for reader in readers]
  lenders = [_Reader(record_index.load(folder, split)) for folder in _folders(voices_from)] if voices_from else []
  buckets: dict[int, list[tuple[int, int]]] = {}
  for source, reader in enumerate(readers):
    for record in range(len(reader)):
      length = window or -(-int(reader.num_frames[record]) // _BUCKET) * _BUCKET
      buckets.setdefault(length, []).append((source, record))
  datasets = [
    _bucket(
      readers,
      clips,
      examples,
      example,
      length,
      batch_size,
      with_video,
      process_index,
      process_count,
      with_audio,
      lenders,
    )
    for length, clips in sorted(buckets.items())
  ]
  options = tf.data.Options()
  options.autotune.enabled = False  # it would keep batches that are given up half way from being closed for seconds
  return functools.reduce(tf.data.Dataset.concatenate, datasets).prefetch(2).with_options(options)


def iterate(dataset: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
  """The batches as NumPy arrays; what is wrong with the files is told by an `InputError` that names them."""
  batches = dataset.as_numpy_iterator()
  while True:
    try:
      batch = next(batches)
    except StopIteration:
      return
    except tf.errors.OpError as error:
      if _MARK in error.message:
        raise InputError(error.message.split(_MARK, 1)[1].split('\n', 1)[0].strip()) from error
      reason = error.message.split('\n', 1)[0]
      raise InputError(f'A record could not be decoded, convert the data again ({reason}).') from error
    yield batch


def landmark_statistics(dirs: Paths) -> dict[str, np.ndarray]:
  """The sums of `landmark_statistics.SHAPES` over the training splits of all `dirs`."""
  return statistics.load(_folders(dirs))


class _Reader:
  """The records of a split that are long enough."""

  def __init__(self, index: record_index.RecordIndex, min_frames: int = 1):
    kept = np.flatnonzero(index.num_frames >= min_frames)
    skipped = len(index) - len(kept)
    if not len(kept):
      raise InputError(
        f'No clip of {index.folder} has {min_frames} frames (the longest has '
        f'{index.num_frames.max(initial=0)}): choose a shorter window.'
      )
    if skipped:
      logging.getLogger(__name__).warning(
        '%s: %d of %d clips are shorter than %d frames and are skipped', index.folder, skipped, len(index), min_frames
      )
    self._index = index
    self._records = kept
    self._checked = np.zeros(len(index), bool)
    self.num_frames = index.num_frames[kept]
    self.clip_id = index.clip_id[kept]
    self.speaker = index.speaker[kept]
    self.folder = index.folder

  def __len__(self) -> int:
    return len(self._records)

  def read(self, i: int) -> bytes:
    """The bytes of record `i`; the first time, they are checked."""
    record = self._records[i]
    content = self._index.read(record, check=not self._checked[record])
    self._checked[record] = True
    return content


def _example_records(reader: _Reader, example: str) -> np.ndarray:
  """For every record the one whose frame is its example, [N]."""
  if example in ('same-clip', 'first-frame'):
    return np.arange(len(reader))
  speakers = np.unique(reader.speaker)
  clips = {speaker: np.flatnonzero(reader.speaker == speaker) for speaker in speakers}
  chosen = np.empty(len(reader), np.int64)
  for number, speaker in enumerate(speakers):
    theirs = clips[speaker]
    if example == 'other-clip':
      if len(theirs) == 1:
        raise InputError(
          f'{reader.folder} has one clip only of speaker {speaker}: there is no other to take the example '
          'frame from; choose another protocol or split.'
        )
      chosen[theirs] = np.roll(theirs, -1)
      continue
    if len(speakers) == 1:
      raise InputError(
        f'{reader.folder} has one speaker only in this split, {speaker}: there is no other to take the '
        'example frame from; choose another protocol or split.'
      )
    others = clips[speakers[(number + 1) % len(speakers)]]
    chosen[theirs] = [others[zlib.crc32(reader.clip_id[record].encode()) % len(others)] for record in theirs]
  return chosen


def _bucket(
  readers: list[_Reader],
  clips: list[tuple[int, int]],
  examples: list[np.ndarray],
  example_of: str,
  length: int,
  batch_size: int,
  with_video: bool,
  process_index: int,
  process_count: int,
  with_audio: bool,
  lenders: list[_Reader],
) -> tf.data.Dataset:
  """Evaluation batches of the clips (source, record) that are padded or cut to `length` frames."""
  batches = -(-len(clips) // (batch_size * process_count))
  num_voices = sound_ops.NUM_VOICES if lenders else 0

  def fetch(element: np.int64) -> tuple[bytes, bytes, np.int32, np.int32, np.int32, np.float32, np.ndarray]:
    step, place = divmod(int(element), batch_size)
    n = (step * process_count + process_index) * batch_size + place
    source, record = clips[min(n, len(clips) - 1)]
    reader = readers[source]
    total = int(reader.num_frames[record])
    start, valid = max(0, (total - length) // 2), min(total, length)
    content = example_content = reader.read(record)
    draw = zlib.crc32(reader.clip_id[record].encode())
    other = int(examples[source][record])
    if other != record:
      example_content = reader.read(other)
      example = draw % int(reader.num_frames[other])
    else:
      example = 0 if example_of == 'first-frame' else _outside(draw, total, start, valid)
    voices = np.array(_voices(lenders, reader, record, num_voices), np.object_)
    return (
      content,
      example_content,
      np.int32(start),
      np.int32(valid),
      np.int32(example),
      np.float32(n < len(clips)),
      voices,
    )

  def finish(content, example_content, start, valid, example, mask, voices):
    fields = _cut(content, start, valid, example, length, with_video, unroll=False, example_content=example_content)
    fields = _frames(fields, length) | {MASK: mask, FRAME_MASK: tf.cast(tf.range(length) < valid, tf.float32)}
    places = tf.range(length * SAMPLES_PER_FRAME)
    if with_audio:
      sound = _samples(content)[start * SAMPLES_PER_FRAME : (start + valid) * SAMPLES_PER_FRAME]
      sound = tf.pad(sound, [[0, length * SAMPLES_PER_FRAME - tf.shape(sound)[0]]])
      fields[AUDIO] = tf.cast(tf.ensure_shape(sound, places.shape), tf.int16)
    if num_voices:
      heard = [_samples(voice) for voice in tf.unstack(voices, num=num_voices)]
      fields[VOICES] = tf.cast(tf.stack([tf.gather(voice, places % tf.shape(voice)[0]) for voice in heard]), tf.int16)
    return fields

  dataset = tf.data.Dataset.range(batches * batch_size)
  signature = (tf.string, tf.string, tf.int32, tf.int32, tf.int32, tf.float32, tf.string)
  dataset = dataset.map(_python(fetch, signature, [()] * 6 + [(num_voices,)]), num_parallel_calls=2)
  return dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)


def _voices(lenders: list[_Reader], reader: _Reader, record: int, count: int) -> list[bytes]:
  """Records of `count` clips whose speakers are not the one of `record`, which is of `reader`."""
  if not count:
    return []
  others = [
    (lender, i)
    for lender in lenders
    for i in (
      np.flatnonzero(lender.speaker != reader.speaker[record]) if lender.folder == reader.folder else range(len(lender))
    )
  ]
  if not others:
    raise InputError(
      f'{reader.folder} has one speaker only in this split, {reader.speaker[record]}, and babble is other '
      "people's talk: name another data set as well."
    )
  rng = np.random.default_rng(zlib.crc32(reader.clip_id[record].encode()))
  chosen = rng.integers(len(others), size=count)
  return [others[i][0].read(others[i][1]) for i in chosen]


def _outside(draw: int, total: int, start: int, window: int) -> int:
  """A frame of `total`, by the number `draw`: outside the window if there is any, else anywhere."""
  free = total - window
  if free <= 0:
    return int(draw % total)
  frame = int(draw % free)
  return frame if frame < start else frame + window


def _cut(
  content: tf.Tensor,
  start: tf.Tensor,
  valid: tf.Tensor,
  example: tf.Tensor,
  length: int,
  with_video: bool,
  unroll: bool,
  example_content: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
  """A record's bytes → the fields of one window of `length` frames, the last of `valid` frames repeated.

  The example is frame `example` of `example_content`, by default of the same record.
  """
  spec = {
    CLIP_ID: tf.io.FixedLenFeature([], tf.string),
    LANDMARKS: tf.io.FixedLenSequenceFeature([LANDMARK_SIZE], tf.float32, allow_missing=True),
    REST_LANDMARKS: tf.io.FixedLenFeature([LANDMARK_SIZE], tf.float32),
    MFCC_ROWS: tf.io.FixedLenSequenceFeature([MFCC_COEFFICIENTS], tf.float32, allow_missing=True),
  }
  if with_video:
    spec[VIDEO] = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
  record = tf.io.parse_single_example(content, spec)
  example_record = record if example_content is None else tf.io.parse_single_example(example_content, spec)
  frames = start + tf.minimum(tf.range(length), valid - 1)
  num_rows = MFCC_ROWS_PER_FRAME * length + 2 * MFCC_CONTEXT
  rows = MFCC_ROWS_PER_FRAME * start + tf.range(num_rows)
  fields = {
    CLIP_ID: record[CLIP_ID],
    LANDMARKS: tf.gather(record[LANDMARKS], frames),
    EXAMPLE_LANDMARKS: example_record[LANDMARKS][example],
    REST_LANDMARKS: record[REST_LANDMARKS],
    MFCC_ROWS: tf.gather(record[MFCC_ROWS], tf.minimum(rows, tf.shape(record[MFCC_ROWS])[0] - 1)),
  }
  if with_video:
    if unroll:  # where every frame is a frame of its own
      pictures = tf.unstack(tf.gather(record[VIDEO], frames), num=length)
      fields[VIDEO] = tf.stack([_decode(picture) for picture in pictures])
    else:
      decoded = tf.map_fn(
        _decode,
        record[VIDEO][start : start + valid],
        fn_output_signature=tf.TensorSpec([IMAGE_SIZE, IMAGE_SIZE, 3], tf.uint8),
      )
      fields[VIDEO] = tf.gather(decoded, frames - start)
    fields[EXAMPLE_IMAGE] = _decode(example_record[VIDEO][example])
  return fields


def _samples(content: tf.Tensor) -> tf.Tensor:
  """A record's bytes → int64 [640 T]: its sound."""
  spec = {AUDIO: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
  return tf.io.parse_single_example(content, spec)[AUDIO]


def _decode(picture: tf.Tensor) -> tf.Tensor:
  """JPEG or PNG → uint8 [128, 128, 3]."""
  pixels = tf.io.decode_jpeg(picture, channels=3, dct_method='INTEGER_ACCURATE')
  return tf.ensure_shape(pixels, [IMAGE_SIZE, IMAGE_SIZE, 3])


def _frames(fields: dict[str, tf.Tensor], length: int) -> dict[str, tf.Tensor]:
  """Cuts the MFCC rows into the windows that the frames hear."""
  rows = fields.pop(MFCC_ROWS)
  mfcc = tf.signal.frame(rows, MFCC_WINDOW, MFCC_ROWS_PER_FRAME, axis=0)
  return fields | {MFCC: tf.ensure_shape(mfcc, [length, MFCC_WINDOW, MFCC_COEFFICIENTS])}


def _python(function: Callable[..., tuple], signature: tuple, shapes: list[tuple]) -> Callable[..., Any]:
  """A Python function of one element as a function of a tf.data map, with its results' static shapes."""

  def call(element):
    results = tf.numpy_function(function, [element], signature)
    for result, shape in zip(results, shapes):
      result.set_shape(shape)
    return tuple(results)

  return call


def _folders(dirs: Paths) -> list[str]:
  folders = [dirs] if isinstance(dirs, (str, os.PathLike)) else list(dirs)
  if not folders:
    raise InputError('No data set is given: name at least one converted folder.')
  return [os.fspath(folder) for folder in folders]


def _keep_to_cpu() -> None:
  """TensorFlow feeds; the accelerator is for the training."""
  try:
    tf.config.set_visible_devices([], 'GPU')
  except RuntimeError:  # TensorFlow has been in use before: too late, and its user's business
    pass
