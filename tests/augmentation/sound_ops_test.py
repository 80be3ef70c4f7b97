"""Sound ops: their MFCC is the stored one where they do nothing, and noise is as loud as it was asked for."""

import io
import itertools
import shutil

import drawn_clips
import numpy as np
import pytest
import tensorflow as tf

from data_pipelines import input_pipeline
from data_pipelines.augmentation import image_ops, ops, sound_ops
from data_pipelines.errors import InputError
from data_pipelines.media import audio
from data_pipelines.records import record_index

_FRAMES = 30


@pytest.fixture(scope='module')
def samples() -> np.ndarray:
  rng = np.random.default_rng(0)
  return np.round(3000 * np.convolve(rng.normal(size=_FRAMES * 640 + 8), np.ones(9) / 3, 'valid')).astype(np.int64)


@pytest.mark.parametrize('start', [0, 7, _FRAMES - 6])
def test_without_ops_rows_are_those_that_are_stored(samples, start):
  stored = audio.frame_rows(samples / np.float32(32767), _FRAMES)[4 * start : 4 * start + 48]
  rows = sound_ops.apply([], tf.constant(samples), tf.constant(start), 6, [], tf.constant([1, 2]))
  np.testing.assert_allclose(rows, stored, atol=0.02)


@pytest.mark.parametrize('op', [sound_ops.Noise(5.0), sound_ops.Babble(5.0)])
def test_noise_is_so_many_decibels_below_the_sound(op):
  rng = np.random.default_rng(1)
  sound = np.stack([rng.normal(size=20_000), np.ones(20_000)], axis=1).astype(np.float32)
  sound[:3000] = 0  # before the clip begins
  babble = sound_ops._mix([tf.constant(rng.integers(-9000, 9000, size)) for size in (7000, 12_000)])
  outs = [op(tf.constant(sound), babble, tf.constant([seed, 3])).numpy() for seed in (0, 1, 0)]
  np.testing.assert_array_equal(outs[0], outs[2])
  assert (outs[0] != outs[1]).any()
  added = outs[0][:, 0] - sound[:, 0]
  assert not added[:3000].any()
  np.testing.assert_allclose(10 * np.log10((sound[:, 0] ** 2).sum() / (added**2).sum()), 5.0, atol=0.01)


def test_silence_stays_silent():
  silence = tf.constant(np.stack([np.zeros(500), np.ones(500)], axis=1), tf.float32)
  for op in (sound_ops.Noise(0.0), sound_ops.Babble(0.0)):
    np.testing.assert_array_equal(op(silence, tf.ones([9]), tf.constant([0, 1])), silence)


def test_a_shift_is_the_sound_from_elsewhere(samples):
  op = sound_ops.SoundShift(25.0)
  assert op.margin == 400
  sound = np.arange(2000, dtype=np.float32)[:, None] * [[1.0, 0.0]]
  begins = {int(op(tf.constant(sound, tf.float32), tf.zeros([1]), tf.constant([seed, 1]))[0, 0]) for seed in range(40)}
  assert min(begins) >= 0 and max(begins) <= 800 and len(begins) > 30
  window = tf.constant(samples), tf.constant(9), 6, [], tf.constant([1, 2])
  whole = sound_ops.apply([], *window)
  np.testing.assert_array_equal(sound_ops.apply([(0, sound_ops.SoundShift(0.0))], *window), whole)
  rows = sound_ops.apply([(0, op)], *window)
  assert rows.shape == whole.shape and np.abs(rows - whole).max() > 0.1


def _take(count, *folders, **options):
  stream = input_pipeline.train_batches(folders, window=5, batch_size=2, **options)
  return list(itertools.islice(input_pipeline.iterate(stream), count))


def test_streams_with_sound_ops_are_functions_of_seed_and_step():
  folders = drawn_clips.converted('grid'), drawn_clips.converted('lrw_ar')
  augment = ('mfcc_mask', 'babble(5)', 'noise(-3)', 'sound_shift(40)')
  clean = _take(3, *folders, with_video=False)
  noisy = _take(3, *folders, with_video=False, augment=augment)
  resumed = _take(1, *folders, with_video=False, augment=augment, start_step=2)
  np.testing.assert_array_equal(resumed[0]['mfcc'], noisy[2]['mfcc'])
  for before, after in zip(clean, noisy):
    np.testing.assert_array_equal(before['landmarks'], after['landmarks'])  # the same windows
    assert np.abs(before['mfcc'] - after['mfcc']).max() > 1
    assert np.isfinite(after['mfcc']).all()
  same = _take(1, *folders, with_video=False, augment=('sound_shift(0)',))
  np.testing.assert_allclose(same[0]['mfcc'], clean[0]['mfcc'], atol=0.02)


def test_names_are_read():
  chosen = ops.parse(['flip', 'babble(10)', 'noise(-5)'])
  hearing, seeing = ops.split(chosen)
  assert hearing == [(1, sound_ops.Babble(10.0)), (2, sound_ops.Noise(-5.0))]
  assert seeing == [(0, image_ops.Flip())]


def test_a_data_set_that_leaks_a_speaker_is_refused(tmp_path):
  folder = shutil.copytree(drawn_clips.converted('lrw_ar'), tmp_path / 'data')
  path = folder / record_index.file_name('validation')
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  buffer = io.BytesIO()
  np.savez(buffer, **arrays | {'speaker': np.full(len(arrays['speaker']), 'c02')})
  path.write_bytes(buffer.getvalue())
  with pytest.raises(InputError, match='1 speakers in more than one split .c02'):
    _take(1, folder)
  with pytest.raises(InputError, match='more than one split'):
    input_pipeline.eval_batches([folder], batch_size=1)
