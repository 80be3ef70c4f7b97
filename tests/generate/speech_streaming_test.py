"""AT-net with the front end that takes sound: windows with past and ahead, in streams, batches and as a program."""

import dataclasses

import jax
import numpy as np
import pytest
import random_nets
from demo_samples import demo_speech

from atvg_jax.audio import front_ends
from atvg_jax.generate import export, streaming
from configs import speech_at
from data_pipelines import features


@pytest.fixture(scope='module')
def bundle():
  return random_nets.bundle('at', speech_at)


@pytest.fixture(scope='module')
def stream(bundle):
  return streaming.AtStream(bundle)


def test_windows_of_a_stream_are_those_of_a_batch(stream):
  samples = demo_speech()[: 640 * 23 + 100]
  pieces = np.split(samples, [10, 5_000, 5_001, 12_000])
  live = list(streaming.at_inputs(pieces, stream.front_end, 5))
  assert [piece.shape for piece in live] == [(1, 640 * (38 + n + 12)) for n in (5, 5, 5, 5, 4)]
  whole = list(streaming.split_sound(np.pad(samples, (0, 540))[None], stream.front_end, 5))
  for one, other in zip(live, whole, strict=True):
    np.testing.assert_array_equal(one, other[:, : one.shape[1]])


def test_no_more_is_read_than_a_window_needs(stream):
  def pieces():
    yield np.zeros(640 * 17, np.float32)
    raise AssertionError('read on')

  next(streaming.at_inputs(pieces(), stream.front_end, 5))


def test_a_window_is_the_net_on_its_sound(bundle, stream):
  samples = demo_speech()[: 640 * 12]
  example = np.zeros((1, 6), np.float32)
  windows = list(stream(example, streaming.at_inputs([samples], stream.front_end, 10), 10))
  assert [window.shape for window in windows] == [(1, 10, 6), (1, 2, 6)]
  assert np.isfinite(np.concatenate(windows, axis=1)).all()
  front_end, apply = stream.front_end, jax.jit(streaming.at_apply(stream._net, stream.front_end))
  first = next(streaming.split_sound(samples[None], front_end, 10))
  outputs = apply(streaming.at_variables(bundle, front_end), example, first, np.zeros((0, 0, 1, 0), np.float32))
  np.testing.assert_allclose(windows[0], outputs['coefficients'][:, 38:48], atol=1e-5)


def test_the_program_of_export_holds_the_encoder(bundle, stream):
  program, carry = export.at_program(bundle)
  assert carry == [0, 0, 'batch', 0]
  sound = next(streaming.split_sound(demo_speech()[None, : 640 * 10], stream.front_end, 10))
  example, state = np.zeros((1, 6), np.float32), np.zeros((0, 0, 1, 0), np.float32)
  coefficients, _ = program.call(example, sound.reshape(1, -1, features.SAMPLES_PER_FRAME), state)
  ours = next(stream(example, [sound], 10))
  np.testing.assert_allclose(coefficients[:, 38:48], ours, atol=1e-3)


def test_short_windows_look_less_far():
  front_end = front_ends.of({'model': {'audio': 'speech'}})
  assert (front_end.past, front_end.ahead_of(5), front_end.ahead_of(streaming.WINDOW)) == (38, 12, 25)
  assert dataclasses.replace(front_end, ahead=3).ahead_of(5) == 3


def test_where_nobody_waits_the_net_answers_several_pieces_at_once(stream):
  front_end = stream.front_end
  assert [front_end.span(window) for window in (5, 15, 25, 32)] == [5, 15, 250, 250]
  assert front_ends.of({'model': {'audio': 'mfcc'}}).span(32) == 32
  pieces = list(streaming.cut(iter([np.arange(70).reshape(1, 70), np.ones((1, 3))]), 32))
  assert [piece.shape[1] for piece in pieces] == [32, 32, 9] and pieces[1][0, 0] == 32 and pieces[2][0, -1] == 1


def test_what_fits_into_half_a_span_takes_half_the_work(stream):
  """And answers nearly the same: the net hears less silence after the end."""
  samples, example = demo_speech()[: 640 * 30], np.zeros((1, 6), np.float32)
  sounds = list(streaming.at_inputs([samples], stream.front_end, 64))
  before = len(stream.step.loaded)
  answers = [np.concatenate(list(stream(example, iter(sounds), window)), axis=1) for window in (64, 58)]
  assert [answer.shape for answer in answers] == [(1, 30, 6)] * 2
  shapes = [shapes[-2][0] for _, shapes in list(stream.step.loaded)[before:]]  # of the sound, before the empty carry
  assert sorted(shapes) == [(1, 640 * (38 + window + 25)) for window in (32, 58)]
  assert np.abs(answers[0] - answers[1]).max() < 0.2 * np.abs(answers[1]).max()
