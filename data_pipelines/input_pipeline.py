"""Converted data sets → batches. The only file with the training and evaluation streams; knows no JAX.

Records are read by their place in the files (`record_index`), in an order that is a pure function of the seed and
the element's number (`sample_plan`): a stream can be started at any step, and every process reads its own share.
An element goes two steps: Python chooses frames of records (`choose`), TensorFlow decodes them (`decode`).

A damaged record ends a stream with TensorFlow's `UnknownError`; `iterate` turns it into the `InputError` that
names the file.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from data_pipelines import features, scene_stream
from data_pipelines.augmentation import ops, sound_ops, sound_scenes
from data_pipelines.batch_iterator import iterate
from data_pipelines.errors import InputError
from data_pipelines.records import clip_reader, record_index, sample_plan, window_decoding
from data_pipelines.records import landmark_statistics as statistics
from data_pipelines.records.clip_reader import EXAMPLES, ClipReader

__all__ = ['EXAMPLES', 'eval_batches', 'iterate', 'landmark_statistics', 'train_batches']

_BUCKET = 16  # frames: whole clips are padded to a multiple of it

Paths = Sequence[str | os.PathLike]
Fields = dict[str, tf.Tensor]
T = TypeVar('T', bound=tuple)


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
  with_sound: bool = False,
  contrast: float = 0.0,
) -> tf.data.Dataset:
  """Endless shuffled batches of windows. Step s is the same whether or not the stream began there.

  Args:
    dirs: converted data sets.
    split: which of their splits.
    window: frames T of a window; shorter clips are skipped, which is logged.
    batch_size: windows B of a batch of this process.
    seed: of the order, the windows, the example frames and the augmentations.
    process_index: this process; each gets other elements of the same stream.
    process_count: how many processes share the stream.
    start_step: the step whose batch comes first.
    weights: share of each data set; None: in proportion to their clips.
    augment: names of `ops.OPS`, applied in this order, those of `sound_ops` before all others.
    with_video: False leaves `video` and `example_image` out, without decoding them.
    with_sound: give `audio` int16 [B, 640 T] in the place of `mfcc`, and no pictures, for nets that take sound. Batches
      then hold `rest_gaps` and `frame_mask`, the frames' weights, [B, T]; 'scene' is the only augmentation.
    contrast: share of windows whose example is the frame outside the window whose mouth is open by the most different
      amount: shut for open ones, open for shut ones. Others have any frame.

  Returns:
    Dicts of `example_image` uint8 [B, H, W, 3], `example_landmarks` [B, 136], `rest_landmarks` [B, 136],
    `landmarks` [B, T, 136], `mfcc` [B, T, 28, 12], `video` uint8 [B, T, H, W, 3], `mask` [B] (ones),
    `clip_id` [B]. The example is a frame of the same clip from outside the window, if the clip has any.

  Raises:
    InputError: a data set is missing, not converted or torn, no clip is long enough, or a bad option.
  """
  _keep_to_cpu()
  _check_sizes(window, batch_size)
  chosen = ops.parse(augment)
  scenes = [op for op in chosen if isinstance(op, sound_scenes.Scene)]
  if (scenes and not with_sound) or (with_sound and len(chosen) > min(1, len(scenes))):
    raise InputError(
      "The augmentation 'scene' is for nets that take sound (config.model.audio='speech'), and the only one for them: "
      f'change data.augment={tuple(augment)}.'
    )
  record_index.refuse_leaks(_folders(dirs))
  shortest = scene_stream.SHORTEST if scenes else window
  readers = [ClipReader(record_index.load(folder, split), shortest) for folder in _folders(dirs)]
  plan = sample_plan.SamplePlan([len(reader) for reader in readers], weights, seed)
  share = sample_plan.BatchShare(batch_size, process_index, process_count)
  if with_sound:
    composed = scene_stream.SceneStream(readers, plan, window, seed, scenes[0] if scenes else None)
    return scene_stream.batches(composed, share, window, start_step)
  stream = _TrainStream(
    readers,
    plan,
    share,
    window=window,
    seed=seed,
    augment=tuple(chosen),
    with_video=with_video,
    contrast=contrast,
  )
  return stream.batches(start_step)


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
    dirs: converted data sets.
    split: which of their splits.
    batch_size: clips B of a batch of this process.
    window: frames T of the window cut out of each clip's middle; None: the whole clip.
    example: one of `EXAMPLES`. 'same-clip': a frame of the same clip, from outside the window if the clip has any;
      'first-frame': the clip's first; 'other-clip': of the speaker's next clip; 'other-speaker': of a clip of the next
      speaker. Frames and clips are chosen once for all, by the clip's name.
    with_video: False leaves `video` and `example_image` out, without decoding them.
    process_index: this process; each gets other clips.
    process_count: how many processes share the split.
    with_audio: whether `audio` [B, 640 T] int16 is added, the sound of the window, silent where a clip is filled up.
    voices_from: data sets whose same split lends `voices` [B, V, 640 T] int16, the sound of `sound_ops.NUM_VOICES`
      clips of other speakers, repeated to that length, chosen once for all by the clip's name; empty: none are added.

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
  _check_sizes(window, batch_size)
  if example not in EXAMPLES:
    raise InputError(f'There is no example frame {example!r}: choose one of {", ".join(EXAMPLES)}.')
  record_index.refuse_leaks(_folders(dirs))
  readers = [ClipReader(record_index.load(folder, split)) for folder in _folders(dirs)]
  lenders = [ClipReader(record_index.load(folder, split)) for folder in _folders(voices_from)] if voices_from else []
  stream = _EvalStream(
    readers,
    [clip_reader.example_clips(reader, example) for reader in readers],
    lenders,
    sample_plan.BatchShare(batch_size, process_index, process_count),
    first_frame=example == 'first-frame',
    with_video=with_video,
    with_audio=with_audio,
  )
  options = tf.data.Options()
  options.autotune.enabled = False  # it would keep batches that are given up half way from being closed for seconds
  buckets = [stream.batches(clips, length) for length, clips in stream.buckets(window)]
  return functools.reduce(tf.data.Dataset.concatenate, buckets).prefetch(2).with_options(options)


def landmark_statistics(dirs: Paths) -> dict[str, np.ndarray]:
  """The sums of `landmark_statistics.SHAPES` over the training splits of all `dirs`."""
  return statistics.load(_folders(dirs))


class _TrainElement(NamedTuple):
  """What a training window is made of."""

  record: Any  # string []
  start: Any  # int32 []: the window's first frame
  example: Any  # int32 []: the example's frame
  contrast: Any  # bool []: the frame most unlike the window's is the example in its place
  seed: Any  # int32 [2], of the augmentations
  voices: Any  # string [V]: records of the clips that babble


@dataclasses.dataclass(frozen=True)
class _TrainStream:
  readers: Sequence[ClipReader]
  plan: sample_plan.SamplePlan
  share: sample_plan.BatchShare
  _: dataclasses.KW_ONLY
  window: int
  seed: int
  augment: tuple[Any, ...]
  with_video: bool
  contrast: float

  @property
  def num_voices(self) -> int:
    return sound_ops.NUM_VOICES if sound_ops.needs_babble(self.augment) else 0

  def batches(self, start_step: int) -> tf.data.Dataset:
    """The endless batches from a step on."""
    spec = _TrainElement(
      _STRING,
      _INT,
      _INT,
      tf.TensorSpec([], tf.bool),
      tf.TensorSpec([2], tf.int32),
      tf.TensorSpec([self.num_voices], tf.string),
    )
    elements = tf.data.Dataset.range(start_step * self.share.batch_size, np.iinfo(np.int64).max)
    dataset = elements.map(_python(self.choose, spec), num_parallel_calls=2)
    dataset = dataset.map(self.decode, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(self.share.batch_size, drop_remainder=True).prefetch(2)

  def choose(self, element: int) -> _TrainElement:
    """A window of a clip, its example frame and its babble, by random numbers of the element alone."""
    n = self.share.number(element)
    source, clip = self.plan.locate(n)
    reader = self.readers[source]
    num_frames = int(reader.num_frames[clip])
    rng = np.random.default_rng((self.seed, 3, n))
    start = int(rng.integers(num_frames - self.window + 1))
    example = clip_reader.frame_outside(int(rng.integers(1 << 62)), num_frames, start, self.window)
    op_seed = rng.integers(1 << 31, size=2, dtype=np.int32)
    others = (self.plan.locate(int(rng.integers(self.plan.period))) for _ in range(self.num_voices))
    voices = [self.readers[other].read(i) for other, i in others]
    contrast = np.bool_(self.contrast and rng.random() < self.contrast)
    record, voices_ = reader.read(clip), np.array(voices, np.object_)
    return _TrainElement(record, np.int32(start), np.int32(example), contrast, op_seed, voices_)

  def decode(self, element: _TrainElement) -> Fields:
    """The element's tensors, augmented."""
    of_sound, of_pictures = ops.split(self.augment)
    parsed = window_decoding.parse(element.record, with_video=self.with_video)
    fields = window_decoding.window(parsed, element.start, self.window, self.window, unroll=True)
    example = element.example
    if self.contrast:
      unlike = window_decoding.unlike_frame(parsed, element.start, self.window)
      example = tf.where(element.contrast & (unlike >= 0), unlike, example)
    fields |= window_decoding.example_frame(parsed, example)
    if of_sound:
      samples = window_decoding.samples(element.record)
      voices = [window_decoding.samples(voice) for voice in tf.unstack(element.voices, num=self.num_voices)]
      fields[features.MFCC_ROWS] = sound_ops.apply(of_sound, samples, element.start, self.window, voices, element.seed)
    fields = ops.apply(of_pictures, fields, element.seed)
    return window_decoding.with_mfcc_windows(fields, self.window) | {features.MASK: tf.ones([])}


class _EvalElement(NamedTuple):
  """What a clip under evaluation is made of."""

  record: Any  # string []
  example_record: Any  # string []
  start: Any  # int32 []: the first frame that is shown
  valid: Any  # int32 []: how many frames the clip has from there on
  example: Any  # int32 []: the example's frame in its record
  mask: Any  # float32 []: 0 if the clip only fills up a batch
  voices: Any  # string [V]: records of the clips that babble


@dataclasses.dataclass(frozen=True)
class _EvalStream:
  readers: Sequence[ClipReader]
  examples: Sequence[np.ndarray]  # of each reader: clip → clip of the example frame
  lenders: Sequence[ClipReader]  # of babble
  share: sample_plan.BatchShare
  _: dataclasses.KW_ONLY
  first_frame: bool  # of the clip, as the example; else any
  with_video: bool
  with_audio: bool

  @property
  def num_voices(self) -> int:
    return sound_ops.NUM_VOICES if self.lenders else 0

  def buckets(self, window: int | None) -> list[tuple[int, list[tuple[int, int]]]]:
    """Frames → the clips (reader, clip) that are padded or cut to so many, from the shortest on."""
    buckets: dict[int, list[tuple[int, int]]] = {}
    for source, reader in enumerate(self.readers):
      for clip, num_frames in enumerate(reader.num_frames.tolist()):
        buckets.setdefault(window or -(-num_frames // _BUCKET) * _BUCKET, []).append((source, clip))
    return sorted(buckets.items())

  def batches(self, clips: Sequence[tuple[int, int]], length: int) -> tf.data.Dataset:
    """Batches of the clips of one bucket."""
    spec = _EvalElement(
      _STRING, _STRING, _INT, _INT, _INT, tf.TensorSpec([], tf.float32), tf.TensorSpec([self.num_voices], tf.string)
    )
    choose = functools.partial(self.choose, clips, length)
    dataset = tf.data.Dataset.range(self.share.batches(len(clips)) * self.share.batch_size)
    dataset = dataset.map(_python(choose, spec), num_parallel_calls=2)
    dataset = dataset.map(functools.partial(self.decode, length), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(self.share.batch_size)

  def choose(self, clips: Sequence[tuple[int, int]], length: int, element: int) -> _EvalElement:
    """A clip, its example frame and its babble: always the same ones, by the clip's name."""
    n = self.share.number(element)
    source, clip = clips[min(n, len(clips) - 1)]
    reader = self.readers[source]
    total = int(reader.num_frames[clip])
    start, valid = max(0, (total - length) // 2), min(total, length)
    record = example_record = reader.read(clip)
    other = int(self.examples[source][clip])
    if other != clip:
      example_record = reader.read(other)
      example = clip_reader.name_hash(reader.clip_id[clip]) % int(reader.num_frames[other])
    else:
      example = (
        0
        if self.first_frame
        else clip_reader.frame_outside(clip_reader.name_hash(reader.clip_id[clip]), total, start, valid)
      )
    voices = clip_reader.babble_records(self.lenders, reader, clip, self.num_voices) if self.lenders else []
    return _EvalElement(
      record,
      example_record,
      np.int32(start),
      np.int32(valid),
      np.int32(example),
      np.float32(n < len(clips)),
      np.array(voices, np.object_),
    )

  def decode(self, length: int, element: _EvalElement) -> Fields:
    """The element's tensors, `length` frames of each."""
    parsed = window_decoding.parse(element.record, with_video=self.with_video)
    example = window_decoding.parse(element.example_record, with_video=self.with_video)
    fields = window_decoding.window(parsed, element.start, element.valid, length, unroll=False)
    fields |= window_decoding.example_frame(example, element.example)
    fields = window_decoding.with_mfcc_windows(fields, length)
    frame_mask = tf.cast(tf.range(length) < element.valid, tf.float32)
    fields |= {features.MASK: element.mask, features.FRAME_MASK: frame_mask}
    places = tf.range(length * features.SAMPLES_PER_FRAME)
    if self.with_audio:
      end = element.start + element.valid
      sound = window_decoding.samples(element.record)
      sound = sound[element.start * features.SAMPLES_PER_FRAME : end * features.SAMPLES_PER_FRAME]
      sound = tf.pad(sound, [[0, length * features.SAMPLES_PER_FRAME - tf.shape(sound)[0]]])
      fields[features.AUDIO] = tf.cast(tf.ensure_shape(sound, places.shape), tf.int16)
    if self.lenders:
      voices = [window_decoding.samples(voice) for voice in tf.unstack(element.voices, num=self.num_voices)]
      repeated = [tf.gather(voice, places % tf.shape(voice)[0]) for voice in voices]
      fields[features.VOICES] = tf.cast(tf.stack(repeated), tf.int16)
    return fields


_STRING, _INT = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)


def _python(function: Callable[[int], T], spec: T) -> Callable[[tf.Tensor], T]:
  """A Python function of an element's number as a function of a `tf.data` map; `spec` has its results' shapes."""

  def call(element):
    results = tf.numpy_function(lambda number: tuple(function(int(number))), [element], [part.dtype for part in spec])
    for result, part in zip(results, spec, strict=True):
      result.set_shape(part.shape)
    return type(spec)(*results)

  return call


def _check_sizes(window: int | None, batch_size: int) -> None:
  if batch_size < 1 or (window is not None and window < 1):
    raise InputError(f'A window of {window} frames and a batch of {batch_size}: both must be 1 or more.')


def _folders(dirs: Paths) -> list[str]:
  folders = [dirs] if isinstance(dirs, (str, os.PathLike)) else list(dirs)
  if not folders:
    raise InputError('No data set is given: name at least one converted folder.')
  return [os.fspath(folder) for folder in folders]


def _keep_to_cpu() -> None:
  """TensorFlow feeds; the accelerator is for the training."""
  with contextlib.suppress(RuntimeError):  # TensorFlow has been in use before: too late, and its user's business
    tf.config.set_visible_devices([], 'GPU')
