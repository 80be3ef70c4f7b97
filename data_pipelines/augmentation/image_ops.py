"""Augmentations of a training window: frozen dataclasses, called with the example and a seed, without state.

An op takes the tensors of one window before batching, with an `int32 [2]` seed, and returns them changed:

* `video` uint8 [T, H, W, 3] and `example_image` uint8 [H, W, 3], absent where a task needs no pictures;
* `landmarks` [T, 136], `example_landmarks` [136], `rest_landmarks` [136], in half crops;
* `mfcc_rows` [4 T + 24, 12], before they are cut into the frames' windows.

What concerns the face is done alike to all frames, to the example and to all landmarks. `ops` registers them.
"""

import dataclasses
import math

import tensorflow as tf

from data_pipelines import features

Example = dict[str, tf.Tensor]

_PICTURES = (features.VIDEO, features.EXAMPLE_IMAGE)
_LANDMARKS = (features.LANDMARKS, features.EXAMPLE_LANDMARKS, features.REST_LANDMARKS)


@dataclasses.dataclass(frozen=True)
class Flip:
  """Mirrors the face in half of the windows; the landmarks of the two sides change names."""

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Mirrors, or does not, by one draw for the whole window."""
    mirrored = dict(example)
    for name in _PICTURES:
      if name in example:
        mirrored[name] = tf.reverse(example[name], [-2])
    for name in _LANDMARKS:
      points = tf.gather(_points(example[name]), features.MIRROR, axis=-2)
      mirrored[name] = _flat(points * [-1.0, 1.0])
    chosen = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(chosen, lambda: mirrored, lambda: dict(example))


@dataclasses.dataclass(frozen=True)
class Color:
  """Brightness, contrast and the three channels' gains, each by up to `amount` (0.1 = 10 %)."""

  amount: float = 0.1

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws brightness, contrast and gains once for the whole window."""
    draws = tf.random.stateless_uniform([5], seed, -self.amount, self.amount)
    # Contrast about middle grey, gain of each channel, then brightness: one line for each channel.
    gain = (1 + draws[0]) * (1 + draws[1:4])
    offset = 127.5 * (1 - (1 + draws[0])) + 127.5 * draws[4]
    # Whole rows of pixels at once: an innermost axis of three would be five times slower.
    gain, offset = (tf.tile(values, [features.IMAGE_SIZE]) for values in (gain, offset + tf.zeros([3])))
    out = dict(example)
    for name in _PICTURES:
      if name in example:
        rows = tf.cast(tf.reshape(example[name], [-1, 3 * features.IMAGE_SIZE]), tf.float32)
        rows = tf.cast(tf.clip_by_value(tf.round(rows * gain + offset), 0, 255), tf.uint8)
        out[name] = tf.reshape(rows, example[name].shape)
    return out


@dataclasses.dataclass(frozen=True)
class Tone:
  """Another camera and room.

  Changes saturation by up to twice `amount`, gamma by up to a factor exp(`amount`), and adds light that falls off to
  one side by up to `amount`.
  """

  amount: float = 0.3

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws saturation, gamma and light once for the whole window."""
    size = features.IMAGE_SIZE
    draws = tf.random.stateless_uniform([4], seed, -self.amount, self.amount)
    # Gamma by table; saturation as a blend of each pixel with its luma (ITU-R BT.601).
    table = 255 * (tf.range(256, dtype=tf.float32) / 255) ** tf.exp(draws[0])
    saturation = tf.maximum(1 + 2 * draws[1], 0)
    mix = saturation * tf.eye(3) + (1 - saturation) * tf.constant([[0.299], [0.587], [0.114]])
    ramp = (tf.range(size, dtype=tf.float32) + 0.5) * (2 / size) - 1
    light = 1 + draws[2] * ramp[:, None] + draws[3] * ramp[None, :]  # [H, W]
    light = tf.reshape(tf.repeat(light, 3, axis=1), [size, 3 * size])
    out = dict(example)
    for name in _PICTURES:
      if name in example:
        pixels = tf.gather(table, tf.cast(tf.reshape(example[name], [-1, 3]), tf.int32)) @ mix
        rows = tf.reshape(pixels, [-1, size, 3 * size]) * light
        out[name] = tf.reshape(tf.cast(tf.clip_by_value(tf.round(rows), 0, 255), tf.uint8), example[name].shape)
    return out


@dataclasses.dataclass(frozen=True)
class Sharpness:
  """Blurs by up to half of `amount`, or sharpens by up to `amount`: television is softer than photographs.

  Adds a multiple of the difference to a 3x3 binomial blur.
  """

  amount: float = 1.0

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws the strength once for the whole window."""
    size = features.IMAGE_SIZE
    strength = tf.random.stateless_uniform([], seed, -self.amount / 2, self.amount)
    out = dict(example)
    for name in _PICTURES:
      if name in example:
        rows = tf.cast(tf.reshape(example[name], [-1, size, 3 * size]), tf.float32)
        padded = tf.concat([rows[:, :1], rows, rows[:, -1:]], axis=1)
        blurred = (padded[:, :-2] + 2 * rows + padded[:, 2:]) / 4
        padded = tf.concat([blurred[:, :, :3], blurred, blurred[:, :, -3:]], axis=2)
        blurred = (padded[:, :, :-6] + 2 * blurred + padded[:, :, 6:]) / 4
        rows = tf.clip_by_value(tf.round(rows + strength * (rows - blurred)), 0, 255)
        out[name] = tf.reshape(tf.cast(rows, tf.uint8), example[name].shape)
    return out


@dataclasses.dataclass(frozen=True)
class Shift:
  """Moves the crop by up to `pixels` whole pixels each way; what comes in at the edge is mirrored."""

  pixels: int = 4

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws the way once for the whole window."""
    n = int(self.pixels)
    move = tf.random.stateless_uniform([2], seed, -n, n + 1, dtype=tf.int32)  # x, y
    out = dict(example)
    for name in _PICTURES:
      if name in example:
        out[name] = tf.reshape(_window(example[name], -move[0], -move[1], features.IMAGE_SIZE, n), example[name].shape)
    offset = tf.cast(move, tf.float32) / (features.IMAGE_SIZE / 2)
    for name in _LANDMARKS:
      out[name] = _flat(_points(example[name]) + offset)
    return out


@dataclasses.dataclass(frozen=True)
class Scale:
  """Enlarges or shrinks the face about the middle by up to `amount` (0.05 = 5 %); bilinear, the edge mirrored.

  In steps of one pixel at each edge, so that landmarks and pixels move alike to the last bit.
  """

  amount: float = 0.05

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws the size once for the whole window."""
    size = features.IMAGE_SIZE
    n = round(self.amount * size / 2)
    border = tf.random.stateless_uniform([], seed, -n, n + 1, dtype=tf.int32)
    side = size + 2 * border
    out = dict(example)
    for name in _PICTURES:
      if name in example:
        resized = tf.image.resize(_window(example[name], -border, -border, side, n), [size, size])
        out[name] = tf.reshape(tf.cast(tf.round(resized), tf.uint8), example[name].shape)
    for name in _LANDMARKS:
      out[name] = example[name] * (size / tf.cast(side, tf.float32))
    return out


@dataclasses.dataclass(frozen=True)
class Stretch:
  """Widens or heightens the face by up to `amount` (0.1 = 10 %), each way by itself: longer and rounder faces.

  Bilinear; only enlarges, so that no edge has to be made up.
  """

  amount: float = 0.1

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws width and height once for the whole window."""
    size = features.IMAGE_SIZE
    most = round(size * self.amount / (1 + self.amount) / 2)
    cut = tf.random.stateless_uniform([2], seed, 0, most + 1, dtype=tf.int32)  # x, y: pixels lost at each edge
    out = dict(example)
    for name in _PICTURES:
      if name in example:
        pictures = tf.reshape(example[name], [-1, size, size, 3])
        part = pictures[:, cut[1] : size - cut[1], cut[0] : size - cut[0]]
        out[name] = tf.reshape(tf.cast(tf.round(tf.image.resize(part, [size, size])), tf.uint8), example[name].shape)
    scale = size / tf.cast(size - 2 * cut, tf.float32)
    for name in _LANDMARKS:
      out[name] = _flat(_points(example[name]) * scale)
    return out


@dataclasses.dataclass(frozen=True)
class Rotate:
  """Turns the face about the middle by up to `degrees` either way; bilinear, the edge mirrored."""

  degrees: float = 5.0

  def __call__(self, example: Example, seed: tf.Tensor) -> Example:
    """Draws the angle once for the whole window."""
    size = features.IMAGE_SIZE
    angle = tf.random.stateless_uniform([], seed, -self.degrees, self.degrees) * (math.pi / 180)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # Where each pixel of the result lies in the picture: the inverse turn about the middle.
    middle = (size - 1) / 2
    y, x = tf.meshgrid(
      tf.range(size, dtype=tf.float32) - middle, tf.range(size, dtype=tf.float32) - middle, indexing='ij'
    )
    left, top = cosine * x + sine * y + middle, cosine * y - sine * x + middle
    low_x, low_y = tf.floor(left), tf.floor(top)
    part_x, part_y = left - low_x, top - low_y

    def place(column, row):
      column, row = (
        tf.cast(tf.where(value < 0, -1 - value, tf.where(value >= size, 2 * size - 1 - value, value)), tf.int32)
        for value in (column, row)
      )
      return tf.reshape(row * size + column, [-1])

    corners = [
      (place(low_x + i, low_y + j), tf.reshape((part_x if i else 1 - part_x) * (part_y if j else 1 - part_y), [-1, 1]))
      for i in (0, 1)
      for j in (0, 1)
    ]
    out = dict(example)
    for name in _PICTURES:
      if name in example:
        # Pixels first, and all frames' channels innermost: one row is gathered for all frames at once.
        pictures = tf.reshape(example[name], [-1, size * size, 3])
        rows = tf.reshape(tf.transpose(pictures, [1, 0, 2]), [size * size, 3 * pictures.shape[0]])
        mixed = tf.add_n([tf.cast(tf.gather(rows, index), tf.float32) * weight for index, weight in corners])
        mixed = tf.reshape(tf.cast(tf.round(mixed), tf.uint8), [size * size, pictures.shape[0], 3])
        out[name] = tf.reshape(tf.transpose(mixed, [1, 0, 2]), example[name].shape)
    turn = tf.stack([tf.stack([cosine, sine]), tf.stack([-sine, cosine])])
    for name in _LANDMARKS:
      out[name] = _flat(_points(example[name]) @ turn)
    return out


def _window(picture: tf.Tensor, left: tf.Tensor, top: tf.Tensor, side: tf.Tensor | int, margin: int) -> tf.Tensor:
  """A square of `picture` [..., 128, 128, 3], uint8, mirrored up to `margin` pixels beyond its edges.

  As `tf.pad(mode='SYMMETRIC')` and a slice, which take six times as long.
  """
  size = features.IMAGE_SIZE
  picture = tf.reshape(picture, [-1, size, size, 3])
  count = picture.shape[0]
  y = top + tf.range(side)
  y = tf.where(y < 0, -1 - y, y)
  picture = tf.gather(picture, tf.where(y >= size, 2 * size - 1 - y, y), axis=1)
  parts = [tf.reverse(picture[:, :, :margin], [2]), picture, tf.reverse(picture[:, :, size - margin :], [2])]
  rows = tf.concat([tf.reshape(part, [count, side, 3 * part.shape[2]]) for part in parts], axis=2)
  rows = tf.slice(rows, tf.stack([0, 0, 3 * (margin + left)]), tf.stack([count, side, 3 * side]))
  return tf.reshape(rows, tf.stack([count, side, side, 3]))


def _points(landmarks: tf.Tensor) -> tf.Tensor:
  """[..., 136] → [..., 68, 2]."""
  return tf.reshape(landmarks, tf.concat([tf.shape(landmarks)[:-1], [features.NUM_LANDMARKS, 2]], 0))


def _flat(points: tf.Tensor) -> tf.Tensor:
  """[..., 68, 2] → [..., 136]."""
  return tf.reshape(points, tf.concat([tf.shape(points)[:-2], [features.LANDMARK_SIZE]], 0))
