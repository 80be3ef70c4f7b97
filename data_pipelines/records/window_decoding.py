"""A record's bytes → the tensors of one window of its frames. Only the frames of the window are decoded."""

import tensorflow as tf

from data_pipelines import features

Fields = dict[str, tf.Tensor]

_UPPER, _LOWER = zip(*features.INNER_LIP_PAIRS)


def parse(record: tf.Tensor, *, with_video: bool) -> Fields:
  """A serialised `tf.train.Example` → its fields, `video` (if wanted) as encoded pictures [T']."""
  spec = {
    features.CLIP_ID: tf.io.FixedLenFeature([], tf.string),
    features.LANDMARKS: tf.io.FixedLenSequenceFeature([features.LANDMARK_SIZE], tf.float32, allow_missing=True),
    features.REST_LANDMARKS: tf.io.FixedLenFeature([features.LANDMARK_SIZE], tf.float32),
    features.MFCC_ROWS: tf.io.FixedLenSequenceFeature([features.MFCC_COEFFICIENTS], tf.float32, allow_missing=True),
  }
  if with_video:
    spec[features.VIDEO] = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
  return tf.io.parse_single_example(record, spec)


def window(parsed: Fields, start: tf.Tensor, valid: tf.Tensor | int, length: int, *, unroll: bool) -> Fields:
  """The fields of the frames from `start` on.

  Args:
    parsed: of `parse`.
    start: int32 [], the first frame.
    valid: frames that the clip has from there on, at most `length`; the last of them is repeated.
    length: frames T of the window.
    unroll: decode in as many parallel ops as there are frames (fast for short windows of equal length), not in a loop.

  Returns:
    `clip_id`, `landmarks` [T, 136], `rest_landmarks` [136], `mfcc_rows` [4 T + 24, 12] and, if it was parsed, `video`
    uint8 [T, 128, 128, 3].
  """
  frames = start + tf.minimum(tf.range(length), valid - 1)
  num_rows = features.MFCC_ROWS_PER_FRAME * length + 2 * features.MFCC_CONTEXT
  rows = features.MFCC_ROWS_PER_FRAME * start + tf.range(num_rows)
  fields = {
    features.CLIP_ID: parsed[features.CLIP_ID],
    features.LANDMARKS: tf.gather(parsed[features.LANDMARKS], frames),
    features.REST_LANDMARKS: parsed[features.REST_LANDMARKS],
    features.MFCC_ROWS: tf.gather(
      parsed[features.MFCC_ROWS], tf.minimum(rows, tf.shape(parsed[features.MFCC_ROWS])[0] - 1)
    ),
  }
  if features.VIDEO not in parsed:
    return fields
  if unroll:
    pictures = tf.unstack(tf.gather(parsed[features.VIDEO], frames), num=length)
    return fields | {features.VIDEO: tf.stack([_decode(picture) for picture in pictures])}
  size = features.IMAGE_SIZE
  decoded = tf.map_fn(
    _decode,
    parsed[features.VIDEO][start : start + valid],
    fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
  )
  return fields | {features.VIDEO: tf.gather(decoded, frames - start)}


def unlike_frame(parsed: Fields, start: tf.Tensor, length: int) -> tf.Tensor:
  """The frame outside a window whose mouth is open by the most different amount, int32 []; -1 where there is none.

  Args:
    parsed: of `parse`.
    start: int32 [], the window's first frame.
    length: frames of the window.
  """
  points = tf.reshape(parsed[features.LANDMARKS], [-1, features.NUM_LANDMARKS, 2])
  gaps = tf.reduce_mean(tf.gather(points[..., 1], _LOWER, axis=1) - tf.gather(points[..., 1], _UPPER, axis=1), axis=1)
  frames = tf.range(tf.shape(gaps)[0])
  within = (frames >= start) & (frames < start + length)
  unlike = tf.abs(gaps - tf.reduce_mean(gaps[start : start + length]))
  unlike = tf.where(within, -1.0, unlike)
  return tf.where(tf.reduce_all(within), -1, tf.argmax(unlike, output_type=tf.int32))


def example_frame(parsed: Fields, frame: tf.Tensor) -> Fields:
  """`example_landmarks` [136] and, if video was parsed, `example_image` uint8 [128, 128, 3]: one frame of a record."""
  fields = {features.EXAMPLE_LANDMARKS: parsed[features.LANDMARKS][frame]}
  if features.VIDEO in parsed:
    fields[features.EXAMPLE_IMAGE] = _decode(parsed[features.VIDEO][frame])
  return fields


def samples(record: tf.Tensor) -> tf.Tensor:
  """A record's bytes → int64 [640 T']: the sound of the whole clip."""
  spec = {features.AUDIO: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
  return tf.io.parse_single_example(record, spec)[features.AUDIO]


def with_mfcc_windows(fields: Fields, length: int) -> Fields:
  """Replaces `mfcc_rows` [4 T + 24, 12] by `mfcc` [T, 28, 12], the windows that the nets take as input."""
  rows = fields.pop(features.MFCC_ROWS)
  mfcc = tf.signal.frame(rows, features.MFCC_WINDOW, features.MFCC_ROWS_PER_FRAME, axis=0)
  return fields | {features.MFCC: tf.ensure_shape(mfcc, [length, features.MFCC_WINDOW, features.MFCC_COEFFICIENTS])}


def _decode(picture: tf.Tensor) -> tf.Tensor:
  """JPEG or PNG → uint8 [128, 128, 3]."""
  pixels = tf.io.decode_jpeg(picture, channels=3, dct_method='INTEGER_ACCURATE')
  return tf.ensure_shape(pixels, [features.IMAGE_SIZE, features.IMAGE_SIZE, 3])
