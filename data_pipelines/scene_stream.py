"""The training stream of nets that take sound: windows with their samples, cut out of clips or composed to scenes.

As in `input_pipeline`, an element is a pure function of the seed and its number. Clips are decoded in Python and kept,
up to a number of them: without pictures they are small, and a scene takes several.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data_pipelines import features
from data_pipelines.augmentation import sound_scenes
from data_pipelines.augmentation.sound_scenes import Clip, Window
from data_pipelines.records import clip_reader, sample_plan, window_decoding
from data_pipelines.records.clip_reader import ClipReader

_KEPT = 4096  # clips, of about 80 kB each
SHORTEST = 8  # frames of a clip in a scene


class SceneStream:
  """Elements of the stream."""

  def __init__(
    self,
    readers: Sequence[ClipReader],
    plan: sample_plan.SamplePlan,
    window: int,
    seed: int,
    scene: sound_scenes.Scene | None,
  ):
    """Plans the stream.

    Args:
      readers: of each data set.
      plan: which clip an element is about.
      window: frames T.
      seed: of everything.
      scene: how windows are composed; None cuts them out of clips, which are then at least as long.
    """
    self._readers, self._plan, self._window, self._seed, self._scene = readers, plan, window, seed, scene
    self._clip = functools.lru_cache(_KEPT)(self._read)
    self._own = [
      {speaker: np.flatnonzero(reader.speaker == speaker) for speaker in np.unique(reader.speaker)}
      for reader in readers
    ]

  def fields(self, number: int) -> dict[str, np.ndarray]:
    """An element's arrays: those of `input_pipeline.train_batches` with sound, without the batch's axis."""
    source, clip = self._plan.locate(number)
    reader = self._readers[source]
    rng = np.random.default_rng((self._seed, 3, number))
    chosen = self._clip(source, clip)
    example = chosen.landmarks[clip_reader.frame_outside(int(rng.integers(1 << 62)), len(chosen.landmarks), 0, 0)]
    if self._scene is None:
      made = self._cut(chosen, int(rng.integers(len(chosen.landmarks) - self._window + 1)))
    else:
      own = self._own[source][reader.speaker[clip]]
      made = self._scene(
        rng,
        self._window,
        chosen,
        lambda: self._clip(source, int(own[rng.integers(len(own))])),
        lambda: self._clip(*self._plan.locate(int(rng.integers(self._plan.period)))),
      )
    return {
      features.CLIP_ID: np.array(reader.clip_id[clip].encode(), object),
      features.AUDIO: made.samples,
      features.LANDMARKS: made.landmarks,
      features.REST_LANDMARKS: made.rest,
      features.REST_GAPS: made.rest_gaps,
      features.FRAME_MASK: made.weights,
      features.EXAMPLE_LANDMARKS: example,
      features.MASK: np.float32(1),
    }

  def _cut(self, clip: Clip, start: int) -> Window:
    end, rate = start + self._window, features.SAMPLES_PER_FRAME
    gap = np.float32(features.inner_lip_gaps(clip.rest.reshape(-1, 2)).mean())
    return Window(
      clip.samples[start * rate : end * rate],
      clip.landmarks[start:end],
      clip.rest,
      np.full(self._window, gap, np.float32),
      np.ones(self._window, np.float32),
    )

  def _read(self, source: int, clip: int) -> Clip:
    record = self._readers[source].read(clip)
    parsed = window_decoding.parse(record, with_video=False)
    samples = window_decoding.samples(record).numpy().astype(np.int16)
    return Clip(samples, parsed[features.LANDMARKS].numpy(), parsed[features.REST_LANDMARKS].numpy())


def batches(stream: SceneStream, share: sample_plan.BatchShare, window: int, start_step: int) -> tf.data.Dataset:
  """The stream's endless batches of windows of so many frames, from a step on."""
  points = features.LANDMARK_SIZE
  shapes = {
    features.CLIP_ID: ([], tf.string),
    features.AUDIO: ([window * features.SAMPLES_PER_FRAME], tf.int16),
    features.LANDMARKS: ([window, points], tf.float32),
    features.REST_LANDMARKS: ([points], tf.float32),
    features.REST_GAPS: ([window], tf.float32),
    features.FRAME_MASK: ([window], tf.float32),
    features.EXAMPLE_LANDMARKS: ([points], tf.float32),
    features.MASK: ([], tf.float32),
  }

  def call(element: tf.Tensor) -> dict[str, tf.Tensor]:
    def made(element: int) -> list[np.ndarray]:
      fields = stream.fields(share.number(int(element)))
      return [fields[name] for name in shapes]

    results = tf.numpy_function(made, [element], [dtype for _, dtype in shapes.values()])
    return {name: tf.ensure_shape(part, shape) for part, (name, (shape, _)) in zip(results, shapes.items())}

  elements = tf.data.Dataset.range(start_step * share.batch_size, np.iinfo(np.int64).max)
  return elements.map(call, num_parallel_calls=2).batch(share.batch_size, drop_remainder=True).prefetch(2)
