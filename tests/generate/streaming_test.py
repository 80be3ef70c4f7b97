"""Windows that carry state add up to the one-piece run, with one compilation whatever the length."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_nets

from atvg_jax import models
from atvg_jax.generate import streaming
from atvg_jax.generate.pieces import VideoWindow
from atvg_jax.models import postprocessing
from data_pipelines import features
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio


@pytest.fixture(scope='module')
def vg():
  return random_nets.bundle('vg')


@pytest.fixture(scope='module')
def at():
  return random_nets.bundle('at')


def _landmarks(rng, length):
  rest = face_alignment.normalise(face_alignment.TEMPLATE)
  return (rest + rng.normal(size=(2, length, features.LANDMARK_SIZE)) * 0.05).astype(np.float32)


def test_windows_of_frames_equal_the_one_piece_run(vg):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
  landmarks = _landmarks(rng, 11)
  stream = streaming.VgStream(vg)
  pieces = list(stream(image, landmarks[:, 0], streaming.split(landmarks, 4)))
  windowed = np.concatenate(pieces, axis=1)[:, :11]
  net = models.make_net(vg.config)
  variables = {'params': vg.params, 'batch_stats': vg.batch_stats}
  apply = jax.jit(functools.partial(net.apply, train=False))
  whole = apply(variables, image.astype(jnp.float32) / 127.5 - 1, landmarks[:, 0], landmarks)
  whole = postprocessing.finish(whole, landmarks[:, 0], landmarks, **vg.config['generation'])
  whole = np.clip(np.round((np.asarray(whole['video']) + 1) * 127.5), 0, 255)
  assert [piece.shape[1] for piece in pieces] == [4, 4, 4]
  assert np.abs(windowed - whole).max() <= 1  # a grey level
  # And the state matters: windows that forget it differ.
  forgetful = next(stream(image, landmarks[:, 0], [landmarks[:, 4:8]]))
  assert (forgetful != windowed[:, 4:8]).any()


def test_windows_of_coefficients_equal_the_one_piece_run(at):
  rng = np.random.default_rng(1)
  samples = (rng.normal(size=11 * 640) * 0.1).astype(np.float32)
  example = rng.normal(size=(1, 6)).astype(np.float32)
  stream = streaming.AtStream(at)
  windowed = np.concatenate(list(stream(example, streaming.mfcc_windows([samples], 4), 4)), axis=1)
  assert windowed.shape[1] == 11
  mfcc = audio.windows(audio.frame_rows(samples, 11))[None]
  net = models.make_net(at.config)
  apply = jax.jit(functools.partial(net.apply, train=False))
  whole = apply({'params': at.params, 'batch_stats': at.batch_stats}, example, mfcc)
  np.testing.assert_allclose(windowed, whole['coefficients'], atol=1e-5)


def test_frames_that_are_their_own_examples_equal_the_net_frame_by_frame(vg):
  rng = np.random.default_rng(5)
  images = rng.integers(0, 256, (4, 128, 128, 3), np.uint8)
  seen, drawn = _landmarks(rng, 4)
  stream = streaming.VgStream(vg)
  windows = [VideoWindow(images[part], seen[part], drawn[part]) for part in (slice(0, 2), slice(2, 4))]
  got = np.concatenate(list(stream.redraw(windows)))
  net, plain = models.make_net(vg.config), []
  apply = jax.jit(functools.partial(net.apply, train=False))
  carry = jnp.zeros((1, 8, 8, net.recurrent_features))
  for image, example, points in zip(images, seen, drawn):
    outputs = apply(
      {'params': vg.params, 'batch_stats': vg.batch_stats},
      image.astype(jnp.float32)[None] / 127.5 - 1,
      example[None],
      points[None, None],
      carry=carry,
    )
    carry = outputs['carry']
    outputs = postprocessing.finish(outputs, example[None], points[None, None], **vg.config['generation'])
    plain.append(np.clip(np.round((np.asarray(outputs['video'])[0, 0] + 1) * 127.5), 0, 255))
  assert got.dtype == np.uint8 and np.abs(got - np.stack(plain)).max() <= 1  # a grey level
  # And the state goes from frame to frame: drawn alone, the last is another.
  (alone,) = stream.redraw([VideoWindow(*(value[[3, 3]] for value in (images, seen, drawn)))])
  assert (alone[0] != got[3]).any()


def test_one_compilation_whatever_the_length(vg, at):
  rng = np.random.default_rng(2)
  image = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
  at_stream, vg_stream = streaming.AtStream(at), streaming.VgStream(vg)
  for length in (1, 4, 9):
    landmarks = _landmarks(rng, length)
    list(vg_stream(image, landmarks[:, 0], streaming.split(landmarks, 4)))
    list(at_stream(np.zeros((1, 6), np.float32), streaming.mfcc_windows([np.zeros(length * 640)], 4), 4))
  assert [len(program.loaded) for program in (vg_stream.start, vg_stream.step, at_stream.step)] == [1, 1, 1]


@pytest.mark.parametrize('num_samples, num_frames', [(6400, 10), (6400, 7), (5000, 8), (640 * 8, 8), (1, 1)])
def test_mfcc_in_windows_are_those_of_the_whole_sound(num_samples, num_frames):
  samples = (np.random.default_rng(3).normal(size=num_samples) * 0.1).astype(np.float32)
  pieces = list(streaming.mfcc_windows([samples[: num_frames * features.SAMPLES_PER_FRAME]], 4))
  assert [piece.shape[1] for piece in pieces[:-1]] == [4] * (len(pieces) - 1)
  windowed = np.concatenate(pieces, axis=1)[0]
  np.testing.assert_allclose(windowed, audio.windows(audio.frame_rows(samples, num_frames)), atol=1e-4)


def test_split_fills_the_last_window_with_its_last_frame():
  values = np.arange(10).reshape(1, 5, 2)
  windows = list(streaming.split(values, 3))
  assert [window.shape for window in windows] == [(1, 3, 2), (1, 3, 2)]
  np.testing.assert_array_equal(windows[1][0], [[6, 7], [8, 9], [8, 9]])


def test_the_fast_program_takes_half_precision(vg):
  rng = np.random.default_rng(4)
  image = rng.integers(0, 256, (1, 128, 128, 3), np.uint8)
  landmarks = _landmarks(rng, 2)[:1]
  half, full = (
    next(streaming.VgStream(vg, dtype=dtype)(image, landmarks[:, 0], [landmarks])).astype(int)
    for dtype in ('bfloat16', None)
  )
  assert 0 < np.abs(half - full).mean() < 3
