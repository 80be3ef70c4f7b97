"""Augmentations move pixels and landmarks together, all frames alike, and depend on their seed only."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from data_pipelines import features
from data_pipelines.augmentation import image_ops, mfcc_ops, ops
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio


def dots(landmarks: np.ndarray) -> np.ndarray:
  """[136] → uint8 [128, 128, 3]: a soft dot at the tip of the nose, which is what the tests look for."""
  x, y = face_alignment.denormalise(landmarks)[30]
  columns, rows = np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5)
  dot = 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)
  return np.repeat(dot[..., None], 3, axis=-1).round().astype(np.uint8)


def centre(picture: np.ndarray) -> np.ndarray:
  weight = picture[..., 0].astype(float)
  rows, columns = np.mgrid[:128, :128] + 0.5
  return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.fixture(scope='module')
def example() -> dict[str, tf.Tensor]:
  rng = np.random.default_rng(0)
  base = face_alignment.normalise(face_alignment.TEMPLATE)
  landmarks = np.stack([base + rng.normal(size=136).astype(np.float32) * 0.05 for _ in range(3)]).astype(np.float32)
  other = (base + 0.04).astype(np.float32)
  return {
    features.LANDMARKS: tf.constant(landmarks),
    features.EXAMPLE_LANDMARKS: tf.constant(other),
    features.REST_LANDMARKS: tf.constant(base.astype(np.float32)),
    features.VIDEO: tf.constant(np.stack([dots(frame) for frame in landmarks])),
    features.EXAMPLE_IMAGE: tf.constant(dots(other)),
    features.MFCC_ROWS: tf.constant(rng.normal(2, 5, size=(36, 12)).astype(np.float32)),
  }


@functools.cache
def _compiled(op):
  return tf.function(op.__call__)


def call(op, example, seed) -> dict[str, np.ndarray]:
  out = _compiled(op)(example, tf.constant([seed, 7]))
  return {name: value.numpy() for name, value in out.items()}


_MOVING = [image_ops.Flip(), image_ops.Shift(6), image_ops.Scale(0.08), image_ops.Rotate(8), image_ops.Stretch(0.1)]


@pytest.mark.parametrize('op', _MOVING)
@pytest.mark.parametrize('seed', range(4))
def test_pixels_and_landmarks_move_together(example, op, seed):
  out = call(op, example, seed)
  pictures = [*out[features.VIDEO], out[features.EXAMPLE_IMAGE]]
  landmarks = [*out[features.LANDMARKS], out[features.EXAMPLE_LANDMARKS]]
  for picture, points in zip(pictures, landmarks):
    np.testing.assert_allclose(centre(picture), face_alignment.denormalise(points)[30], atol=0.15)
  assert out[features.VIDEO].shape == (3, 128, 128, 3) and out[features.VIDEO].dtype == np.uint8
  np.testing.assert_array_equal(out[features.MFCC_ROWS], example[features.MFCC_ROWS])


@pytest.mark.parametrize('op', _MOVING)
def test_the_seed_decides(example, op):
  outs = [call(op, example, seed)[features.LANDMARKS] for seed in range(12)]
  assert len({out.tobytes() for out in outs}) > 1
  np.testing.assert_array_equal(call(op, example, 3)[features.VIDEO], call(op, example, 3)[features.VIDEO])


def test_flip_twice_is_nothing_and_sides_change_names(example):
  seed = next(
    seed
    for seed in range(20)
    if (call(image_ops.Flip(), example, seed)[features.LANDMARKS] != example[features.LANDMARKS].numpy()).any()
  )
  once = call(image_ops.Flip(), example, seed)
  twice = call(image_ops.Flip(), {name: tf.constant(value) for name, value in once.items()}, seed)
  for name in example:
    np.testing.assert_array_equal(twice[name], example[name])
  rest = face_alignment.denormalise(once[features.REST_LANDMARKS])
  assert rest[36, 0] < 64 < rest[45, 0]  # the eye on the left of the picture is still called the right one


def test_shift_is_the_padded_picture_cut_elsewhere(example):
  picture = np.random.default_rng(1).integers(0, 255, (2, 128, 128, 3)).astype(np.uint8)
  padded = np.pad(picture, [(0, 0), (5, 5), (5, 5), (0, 0)], mode='symmetric')
  for left, top in ((-5, 5), (3, -2), (0, 0)):
    window = image_ops._window(tf.constant(picture), tf.constant(left), tf.constant(top), 128, 5)
    np.testing.assert_array_equal(window, padded[:, 5 + top : 133 + top, 5 + left : 133 + left])


def test_color_is_one_change_for_all_frames(example):
  grey = example | {
    features.VIDEO: tf.fill([3, 128, 128, 3], tf.constant(100, tf.uint8)),
    features.EXAMPLE_IMAGE: tf.fill([128, 128, 3], tf.constant(100, tf.uint8)),
  }
  outs = [call(image_ops.Color(0.1), grey, seed) for seed in range(5)]
  for out in outs:
    color = out[features.EXAMPLE_IMAGE][0, 0]
    assert (out[features.VIDEO] == color).all() and (out[features.EXAMPLE_IMAGE] == color).all()
    assert (np.abs(color.astype(int) - 100) < 35).all()
    np.testing.assert_array_equal(out[features.LANDMARKS], example[features.LANDMARKS])
  assert len({out[features.VIDEO].tobytes() for out in outs}) == 5


def test_tone_is_one_change_for_all_frames_and_keeps_what_it_is_told_to(example):
  picture = np.random.default_rng(2).integers(60, 190, (128, 128, 3)).astype(np.uint8)
  same = example | {features.VIDEO: tf.constant(np.stack([picture] * 3)), features.EXAMPLE_IMAGE: tf.constant(picture)}
  outs = [call(image_ops.Tone(0.3), same, seed) for seed in range(5)]
  for out in outs:
    assert (out[features.VIDEO] == out[features.EXAMPLE_IMAGE]).all()
  assert len({out[features.VIDEO].tobytes() for out in outs}) == 5
  unchanged = call(image_ops.Tone(0.0), same, 0)
  assert np.abs(unchanged[features.EXAMPLE_IMAGE].astype(int) - picture).max() <= 1
  grey = np.repeat(picture[..., :1], 3, axis=-1)  # no saturation can colour it
  out = call(image_ops.Tone(0.3), same | {features.EXAMPLE_IMAGE: tf.constant(grey)}, 3)[features.EXAMPLE_IMAGE]
  assert np.ptp(out.astype(int), axis=-1).max() <= 1


def test_sharpness_moves_pixels_away_from_a_blur_or_towards_it(example):
  picture = np.random.default_rng(3).integers(100, 150, (128, 128, 3)).astype(np.uint8)
  same = example | {features.EXAMPLE_IMAGE: tf.constant(picture)}
  padded = np.pad(picture.astype(float), [(1, 1), (1, 1), (0, 0)], mode='edge')
  taps = [(0.25, 0), (0.5, 1), (0.25, 2)]
  blurred = sum(v * w * padded[i : i + 128, j : j + 128] for v, i in taps for w, j in taps)
  strengths = []
  for seed in range(8):
    change = call(image_ops.Sharpness(1.0), same, seed)[features.EXAMPLE_IMAGE] - picture.astype(float)
    strength = (change * (picture - blurred)).sum() / ((picture - blurred) ** 2).sum()
    np.testing.assert_allclose(change, strength * (picture - blurred), atol=0.6)  # rounding
    strengths.append(strength)
  assert -0.5 <= min(strengths) < 0 < max(strengths) <= 1


def test_mfcc_ops_change_what_they_say(example):
  rows = example[features.MFCC_ROWS].numpy()
  deviation = rows.std(axis=0)
  noise = call(mfcc_ops.MfccNoise(0.5), example, 0)[features.MFCC_ROWS] - rows
  np.testing.assert_allclose(noise.std(axis=0) / deviation, 0.5, rtol=0.4)
  shift = call(mfcc_ops.MfccShift(0.5), example, 0)[features.MFCC_ROWS] - rows
  np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), atol=1e-5)
  assert np.abs(shift[0]).max() > 0
  for op, axis, longest in ((mfcc_ops.MfccMask(10), 0, 10), (mfcc_ops.MfccBandMask(2), 1, 2)):
    lengths = []
    for seed in range(15):
      out = call(op, example, seed)[features.MFCC_ROWS]
      hidden = (out != rows).all(axis=1 - axis)
      lengths.append(int(hidden.sum()))
      mean = np.broadcast_to(rows.mean(axis=0), rows.shape)
      np.testing.assert_allclose(np.compress(hidden, out, axis), np.compress(hidden, mean, axis), rtol=1e-4, atol=1e-4)
      np.testing.assert_array_equal(np.compress(~hidden, out, axis), np.compress(~hidden, rows, axis))
      places = np.flatnonzero(hidden)
      assert not len(places) or places[-1] - places[0] + 1 == len(places)  # one stretch
    assert max(lengths) <= longest and len(set(lengths)) > 1


def test_ops_without_pictures(example):
  bare = {name: value for name, value in example.items() if name not in (features.VIDEO, features.EXAMPLE_IMAGE)}
  chosen = ops.parse(['flip', 'color', 'tone', 'sharpness', 'shift', 'scale', 'stretch', 'mfcc_noise'])
  out = ops.apply(list(enumerate(chosen)), bare, tf.constant([1, 2]))
  assert out.keys() == bare.keys()


def test_texts_become_ops():
  assert ops.parse(['flip', 'color(0.2)', ' shift( 3 ) ']) == [
    image_ops.Flip(),
    image_ops.Color(0.2),
    image_ops.Shift(3),
  ]
  for text in ('turn', 'flip(2)', 'color(a)', 'shift(1.2.3)', 'color 0.1'):
    with pytest.raises(InputError):
      ops.parse([text])


def test_vocal_tract_is_a_warp_of_the_spectrum():
  places, top = np.arange(audio.MELS), 2595 * np.log10(1 + 8000 / 700)
  orders, lifter = np.arange(1, 13), audio.lifter()[1:]

  def spectrum(at):
    """Of three waves over the bands, which cepstra hold whole."""
    return sum(height * np.cos(np.pi * order * (at + 0.5) / 26) for order, height in ((1, 3.0), (4, -1.0), (9, 0.5)))

  def cepstra(bands):
    return np.sqrt(2 / 26) * np.cos(np.pi * orders[:, None] * (places + 0.5) / 26) @ bands * lifter

  rows = np.tile(cepstra(spectrum(places)), (8, 1)).astype(np.float32)
  for factor in (0.9, 1.0, 1.1):
    mels = 2595 * np.log10(1 + factor * 700 * (10 ** ((places + 1) / 27 * top / 2595) - 1) / 700)
    expected = cepstra(spectrum(np.clip(27 * mels / top - 1, 0, 25)))
    np.testing.assert_allclose(
      rows @ mfcc_ops._warping(tf.constant(factor, tf.float32)).numpy(), np.tile(expected, (8, 1)), atol=0.01
    )
  (op,) = ops.parse(['vocal_tract(0.1)'])
  ours, other = (op({'mfcc_rows': tf.constant(rows)}, tf.constant([1, seed]))['mfcc_rows'].numpy() for seed in (0, 1))
  assert np.abs(ours - rows).max() > 0.05 and np.abs(ours - other).max() > 0.05
  # One warp for the whole window; a processor without AVX-512 sums the last rows in another order.
  np.testing.assert_allclose(ours, np.tile(ours[:1], (8, 1)), rtol=1e-6)
