"""The bridge from tf.data to devices: batches arrive sharded and ahead of time.

The only module of this package that uses TensorFlow and `data_pipelines.input_pipeline`. Both are imported by the
first call of a function that reads, not with this module.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from atvg_jax.audio import front_ends
from atvg_jax.runtime import parallel
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.records import record_index

NumpyBatch = Mapping[str, np.ndarray]


class FedBatch(NamedTuple):
  """A batch on the devices, and the names of its clips, which stay on the host."""

  arrays: dict[str, jax.Array]
  clip_ids: tuple[str, ...]


def _input_pipeline() -> Any:
  """The module, imported by the first call: TensorFlow takes seconds, and would reserve the accelerators' memory."""
  import tensorflow as tf

  from data_pipelines import input_pipeline

  tf.config.set_visible_devices([], 'GPU')
  return input_pipeline


def _takes_sound(config: Any) -> bool:
  """Whether the config's net takes the sound itself."""
  return config.task == 'at' and front_ends.of(config).takes_sound


def landmark_statistics(dirs: Sequence[str]) -> Mapping[str, np.ndarray]:
  """The landmark statistics of converted data sets' training splits, summed, as `landmarks.fit` takes them."""
  return _input_pipeline().landmark_statistics(tuple(dirs))


def check_splits(config: Any, *, training: bool = True, evaluation: bool = True) -> None:
  """Raises InputError where one of the config's data sets is not there, or has not the splits that a run needs."""
  for directory in config.data.dirs:
    if training:
      record_index.find(directory, config.data.split)
    if not evaluation:
      continue
    try:
      record_index.find(directory, config.evaluation.split)
    except record_index.NoSplitError as error:
      raise InputError(
        f'{str(error).rstrip(".")}. A run is scored on clips that are held out: convert more clips or speakers, name a '
        'split in speakers.csv, or be content with scores on what is trained on (--config.evaluation.split=train).'
      ) from error


def train_batches(config: Any, start_step: int) -> Iterator[NumpyBatch]:
  """This process' endless batches from the config's data sets, from a step on."""
  input_pipeline, data = _input_pipeline(), config.data
  dataset = input_pipeline.train_batches(
    tuple(data.dirs),
    split=data.split,
    window=data.window,
    batch_size=parallel.per_process(data.batch_size, config.accumulate),
    seed=config.seed,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    start_step=start_step,
    weights=tuple(data.weights) or None,
    augment=tuple(data.augment),
    with_video=config.task == 'vg',
    with_sound=_takes_sound(config),
    contrast=data.get('contrast', 0.0),
  )
  return input_pipeline.iterate(dataset)


def eval_batches(config: Any, directory: str) -> Iterator[NumpyBatch]:
  """This process' share of a pass over a data set's held-out split; equally many batches on every process."""
  input_pipeline, settings = _input_pipeline(), config.evaluation
  batches = input_pipeline.iterate(
    input_pipeline.eval_batches(
      (directory,),
      split=settings.split,
      batch_size=parallel.per_process(settings.batch_size),
      window=settings.window,
      with_video=config.task == 'vg',
      with_audio=_takes_sound(config),
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
  )
  stop = None if settings.batches is None else settings.batches * settings.stride
  return itertools.islice(batches, 0, stop, settings.stride)


def clip_batches(
  directory: str,
  split: str,
  *,
  batch_size: int,
  example: str = 'same-clip',
  with_audio: bool = False,
  with_video: bool = True,
  voices_from: Sequence[str] = (),
) -> Iterator[dict[str, np.ndarray]]:
  """One pass over the whole clips of a converted data set's split, for this process alone: what evaluation scores.

  Args:
    directory: a folder that `atvg prepare` wrote.
    split: one of its splits.
    batch_size: clips B at a time.
    example: where the example frame comes from: 'same-clip', 'first-frame', 'other-clip' or 'other-speaker'.
    with_audio: whether the batches hold `features.AUDIO` [B, 640 T].
    with_video: whether they hold `features.VIDEO` and `features.EXAMPLE_IMAGE`.
    voices_from: data sets whose speakers lend `features.VOICES` [B, V, 640 T]; empty: none are added.

  Returns:
    The dicts of `input_pipeline.eval_batches`, all arrays NumPy; clips are filled up to a common length, and
    `features.MASK` and `features.FRAME_MASK` are 0 for what fills up. TensorFlow is imported by the call.

  Raises:
    InputError: the data set is missing, not converted or torn, or has no other clip or speaker where one is asked for.
  """
  input_pipeline = _input_pipeline()
  return input_pipeline.iterate(
    input_pipeline.eval_batches(
      (directory,),
      split=split,
      batch_size=batch_size,
      example=example,
      with_audio=with_audio,
      with_video=with_video,
      voices_from=tuple(voices_from),
    )
  )


def batch_shapes(config: Any, clips: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and types of a training batch.

  Args:
    config: the whole config.
    clips: B; by default the clips of a step on all devices, `config.data.batch_size`.
  """
  clips = clips or config.data.batch_size
  frames, size = config.data.window, config.data.image_size
  shape = front_ends.of(config).shape if config.task == 'at' else (features.MFCC_WINDOW, features.MFCC_COEFFICIENTS)
  shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    features.MFCC: ((frames, *shape), np.float32),
    features.LANDMARKS: ((frames, features.LANDMARK_SIZE), np.float32),
    features.REST_LANDMARKS: ((features.LANDMARK_SIZE,), np.float32),
    features.EXAMPLE_LANDMARKS: ((features.LANDMARK_SIZE,), np.float32),
    features.MASK: ((), np.float32),
  }
  if _takes_sound(config):
    del shapes[features.MFCC]
    shapes |= {
      features.AUDIO: ((frames * features.SAMPLES_PER_FRAME,), np.int16),
      features.REST_GAPS: ((frames,), np.float32),
      features.FRAME_MASK: ((frames,), np.float32),
    }
  if config.task == 'vg':
    shapes |= {features.VIDEO: ((frames, size, size, 3), np.uint8), features.EXAMPLE_IMAGE: ((size, size, 3), np.uint8)}
  return {name: jax.ShapeDtypeStruct((clips, *shape), dtype) for name, (shape, dtype) in shapes.items()}


def place(batch: NumpyBatch) -> FedBatch:
  """Shards a batch over the local devices; the clips' names stay on the host."""
  clip_ids = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in batch.get(features.CLIP_ID, ()))
  arrays = {name: np.asarray(array) for name, array in batch.items() if name != features.CLIP_ID}
  return FedBatch(parallel.shard_batch(arrays), clip_ids)


class Feed:
  """Iterates over `FedBatch`es that a thread reads and places ahead of time.

  An error in the thread is raised by the iterator in place of the batch. Close it, or use it in a `with`, so that the
  thread ends.

  Attributes:
    wait_seconds: for how long the consumer has waited for batches.
  """

  def __init__(self, batches: Callable[[], Iterable[NumpyBatch]], *, depth: int = 2):
    """Starts the thread, which calls `batches` and keeps `depth` placed batches ready."""
    self.wait_seconds = 0.0
    self._queue: queue.Queue[Any] = queue.Queue(depth)
    self._closed = threading.Event()
    self._thread = threading.Thread(target=self._fill, args=(batches,), daemon=True, name='feed')
    self._thread.start()

  def _fill(self, batches: Callable[[], Iterable[NumpyBatch]]) -> None:
    try:
      for batch in batches():
        if not self._put(place(batch)):
          return
      self._put(StopIteration())
    except BaseException as error:  # whatever it is, the consumer must see it
      self._put(error)

  def _put(self, item: Any) -> bool:
    while not self._closed.is_set():
      try:
        self._queue.put(item, timeout=0.2)
        return True
      except queue.Full:
        continue
    return False

  def __iter__(self) -> Iterator[FedBatch]:
    return self

  def __next__(self) -> FedBatch:
    start = time.perf_counter()
    item = self._queue.get()
    self.wait_seconds += time.perf_counter() - start
    if isinstance(item, BaseException):
      self._put(item)
      raise item
    return item

  def __enter__(self) -> 'Feed':
    return self

  def __exit__(self, *unused: Any) -> None:
    self.close()

  def close(self) -> None:
    """Ends the thread and releases its batches."""
    self._closed.set()
    self._thread.join()
