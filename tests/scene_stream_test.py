"""Windows with their sound: cut out of clips or composed to scenes, a pure function of seed and step."""

import itertools

import drawn_clips
import numpy as np
import pytest

from data_pipelines import input_pipeline
from data_pipelines.augmentation import sound_scenes, sounds
from data_pipelines.errors import InputError
from data_pipelines.records import clip_reader, record_index, window_decoding


@pytest.fixture(scope='module')
def folders():
  return [drawn_clips.converted('grid'), drawn_clips.converted('lrw_ar')]


def _take(count, *args, **options):
  return list(itertools.islice(input_pipeline.iterate(input_pipeline.train_batches(*args, **options)), count))


def test_windows_have_the_sound_of_their_clips(folders):
  batch = _take(1, folders, window=6, batch_size=4, with_sound=True)[0]
  assert {name: (value.shape, value.dtype.name) for name, value in batch.items() if name != 'clip_id'} == {
    'audio': ((4, 3840), 'int16'),
    'landmarks': ((4, 6, 136), 'float32'),
    'rest_landmarks': ((4, 136), 'float32'),
    'rest_gaps': ((4, 6), 'float32'),
    'frame_mask': ((4, 6), 'float32'),
    'example_landmarks': ((4, 136), 'float32'),
    'mask': ((4,), 'float32'),
  }
  readers = [clip_reader.ClipReader(record_index.load(folder, 'train')) for folder in folders]
  records = {name: reader.read(i) for reader in readers for i, name in enumerate(reader.clip_id)}
  for audio, landmarks, name in zip(batch['audio'], batch['landmarks'], batch['clip_id'], strict=True):
    record = records[name.decode()]
    true = window_decoding.parse(record, with_video=False)['landmarks'].numpy()
    start = int(np.flatnonzero((true == landmarks[0]).all(axis=1))[0])
    sound = window_decoding.samples(record).numpy()
    np.testing.assert_array_equal(audio, sound[640 * start : 640 * (start + 6)])


def test_a_stream_of_scenes_is_a_function_of_seed_and_step(folders):
  options = {'window': 50, 'batch_size': 3, 'augment': ('scene(1)',), 'with_sound': True, 'seed': 3}
  whole = _take(4, folders, **options)
  later = _take(2, folders, start_step=2, **options)
  for one, other in zip(whole[2:], later, strict=True):
    for name in one:
      np.testing.assert_array_equal(one[name], other[name], err_msg=name)
  parts = [_take(1, folders, process_index=i, process_count=3, **options | {'batch_size': 1})[0] for i in range(3)]
  np.testing.assert_array_equal(np.concatenate([part['audio'] for part in parts]), whole[0]['audio'])
  assert any((batch['rest_gaps'] == sound_scenes.CLOSED).any() for batch in whole)


def test_scenes_are_for_nets_that_take_sound(folders):
  for augment, with_sound in ((('scene(1)',), False), (('scene(1)', 'flip'), True), (('mfcc_noise(1)',), True)):
    with pytest.raises(InputError, match='scene'):
      input_pipeline.train_batches(folders, window=5, batch_size=2, augment=augment, with_sound=with_sound)


def _clip(frames=20):
  rng = np.random.default_rng(0)
  samples = (3000 * rng.standard_normal(640 * frames)).astype(np.int16)
  rest = rng.normal(size=136).astype(np.float32)
  return sound_scenes.Clip(samples, rest + rng.normal(size=(frames, 136)).astype(np.float32) * 0.01, rest)


def test_nobody_moves_where_nobody_speaks():
  clip, scene = _clip(), sound_scenes.Scene()
  silent = spoken = 0
  for seed in range(40):
    window = scene(np.random.default_rng(seed), 50, clip, lambda: clip, lambda: clip)
    quiet = window.rest_gaps == sound_scenes.CLOSED
    np.testing.assert_array_equal(window.landmarks[quiet], np.tile(clip.rest, (quiet.sum(), 1)))
    assert (np.abs(window.landmarks[~quiet] - clip.rest).max(axis=1) > 1e-3).all()
    assert window.samples.dtype == np.int16 and window.samples.shape == (32_000,)
    silent, spoken = silent + quiet.all(), spoken + (~quiet).any()
  assert silent >= 1 and spoken >= 30


def test_pauses_of_clips_are_told_from_gaps_within_words():
  rng = np.random.default_rng(1)
  speech = np.repeat([0, 1, 0, 1, 0, 1, 0], [16, 20, 12, 10, 4, 10, 9]) > 0  # by frames
  samples = (rng.standard_normal(640 * len(speech)) * np.repeat(10 + 3000 * speech, 640)).astype(np.int16)
  found = sound_scenes.quiet(samples)
  expected = ~speech
  expected[58:62] = False
  np.testing.assert_array_equal(found, expected)
  clip = _clip(len(speech))._replace(samples=samples)
  windows = [sound_scenes._alone(np.random.default_rng(seed), 50, clip) for seed in range(20)]
  assert all((window.rest_gaps[window.speaking] == sound_scenes.CLOSED).any() for window in windows)


@pytest.mark.parametrize('kind', sounds.ALL)
def test_sounds_are_sounds(kind):
  made = sounds.ALL[kind](np.random.default_rng(0), 32_000)
  assert made.shape == (32_000,) and np.isfinite(made).all() and sounds.rms(made) > 1e-4


@pytest.mark.parametrize('options', [('libmp3lame', 24_000, 22_050), ('libopus', 12_000, 16_000)])
def test_codecs_lose_something_but_not_the_time(options):
  samples = np.asarray(sounds.band(np.random.default_rng(1), sounds.music(np.random.default_rng(0), 16_000)) / 8)
  coded = sounds.codec(samples, *options)
  assert coded.shape == samples.shape
  assert 0.7 < np.corrcoef(samples, coded)[0, 1] < 0.99999
