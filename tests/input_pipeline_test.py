"""The streams: right windows, a pure function of the step, each clip once, and clear words for torn files."""

import io
import itertools
import logging
import shutil
import subprocess
import sys

import drawn_clips
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_pipelines import features, input_pipeline
from data_pipelines.errors import InputError
from data_pipelines.media import audio
from data_pipelines.records import clip_reader, record_index


@pytest.fixture(scope='module')
def folders():
  return [drawn_clips.converted('grid'), drawn_clips.converted('lrw_ar')]


@pytest.fixture(scope='module')
def clips(folders):
  """Clip → record, as TFDS and Pillow read it."""
  found = {}
  for folder, split in itertools.product(folders, ('train', 'validation')):
    undecoded = {'video': tfds.decode.SkipDecoding()}
    for clip in tfds.as_numpy(tfds.builder_from_directory(folder).as_dataset(split=split, decoders=undecoded)):
      video = np.stack([np.asarray(Image.open(io.BytesIO(picture)), int) for picture in clip['video']])
      found[clip['clip_id']] = clip | {'video': video}
  return found


def take(count, *args, **kwargs):
  return list(itertools.islice(input_pipeline.iterate(input_pipeline.train_batches(*args, **kwargs)), count))


def assert_equal(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def start_of(batch, i, clip) -> int:
  """Where a window begins in its clip, by its landmarks."""
  (starts,) = np.where((clip['landmarks'] == batch['landmarks'][i, 0]).all(axis=1))
  return int(starts[0])


def test_examples_of_contrast_have_the_mouth_that_is_least_like_the_windows(folders, clips):
  def gaps(landmarks):
    return features.inner_lip_gaps(landmarks.reshape(*landmarks.shape[:-1], 68, 2)).mean(axis=-1)

  for batch in take(2, folders, window=6, batch_size=4, contrast=1.0):
    for i, clip_id in enumerate(batch['clip_id'].astype(str)):
      clip = clips[clip_id.encode()] if clip_id.encode() in clips else clips[clip_id]
      start = start_of(batch, i, clip)
      unlike = np.abs(gaps(clip['landmarks']) - gaps(batch['landmarks'][i]).mean())
      unlike[start : start + 6] = -1
      np.testing.assert_array_equal(batch['example_landmarks'][i], clip['landmarks'][unlike.argmax()])


def test_windows_are_cut_out_of_their_clips(folders, clips):
  for batch in take(3, folders, window=6, batch_size=4):
    assert {name: (value.shape, value.dtype.name) for name, value in batch.items() if name != 'clip_id'} == {
      'example_image': ((4, 128, 128, 3), 'uint8'),
      'example_landmarks': ((4, 136), 'float32'),
      'rest_landmarks': ((4, 136), 'float32'),
      'landmarks': ((4, 6, 136), 'float32'),
      'mfcc': ((4, 6, 28, 12), 'float32'),
      'video': ((4, 6, 128, 128, 3), 'uint8'),
      'mask': ((4,), 'float32'),
    }
    assert (batch['mask'] == 1).all()
    for i, name in enumerate(batch['clip_id']):
      clip = clips[name]
      start = start_of(batch, i, clip)
      window = slice(start, start + 6)
      np.testing.assert_array_equal(batch['landmarks'][i], clip['landmarks'][window])
      np.testing.assert_array_equal(batch['rest_landmarks'][i], clip['rest_landmarks'])
      np.testing.assert_array_equal(batch['mfcc'][i], audio.windows(clip['mfcc_rows'])[window])
      assert np.abs(batch['video'][i].astype(int) - clip['video'][window]).max() <= 1  # two decoders
      (example,) = np.where((clip['landmarks'] == batch['example_landmarks'][i]).all(axis=1))
      assert not start <= example[0] < start + 6
      assert np.abs(batch['example_image'][i].astype(int) - clip['video'][example[0]]).max() <= 1


def test_a_stream_is_a_function_of_seed_and_step(folders):
  augment = ('flip', 'color(0.1)', 'shift(2)', 'mfcc_noise(0.1)')
  options = {'window': 4, 'batch_size': 2, 'weights': (0.5, 0.5), 'augment': augment}
  stream = take(5, folders, seed=3, **options)
  for resumed, whole in zip(take(2, folders, seed=3, start_step=3, **options), stream[3:]):
    assert_equal(resumed, whole)
  other = take(1, folders, seed=4, **options)[0]
  assert (other['landmarks'] != stream[0]['landmarks']).any()


def test_processes_share_one_stream(folders):
  options = {'window': 4, 'seed': 1, 'with_video': False}
  whole = take(2, folders, batch_size=4, **options)
  parts = [take(2, folders, batch_size=2, process_index=i, process_count=2, **options) for i in range(2)]
  for step in range(2):
    assert_equal({name: np.concatenate([part[step][name] for part in parts]) for name in whole[step]}, whole[step])


def test_without_video_the_rest_is_the_same(folders):
  (batch,) = take(1, folders, window=4, batch_size=3, seed=2)
  (bare,) = take(1, folders, window=4, batch_size=3, seed=2, with_video=False)
  assert batch.keys() - bare.keys() == {'video', 'example_image'}
  assert_equal({name: batch[name] for name in bare}, bare)


def test_short_clips_are_skipped_and_said_so(folders, caplog):
  with caplog.at_level(logging.WARNING):
    batches = take(3, folders[1:], window=24, batch_size=2)
  assert '1 of 3 clips are shorter than 24 frames and are skipped' in caplog.text
  assert {name for batch in batches for name in batch['clip_id']} == {b'c01_00003', b'c02_00002'}
  with pytest.raises(InputError, match='No clip of .* has 99 frames'):
    take(1, folders, window=99, batch_size=1)


@pytest.mark.parametrize('processes', [1, 2])
def test_evaluation_sees_each_clip_once(folders, clips, processes):
  seen, shapes = [], []
  for process in range(processes):
    batches = list(
      input_pipeline.iterate(
        input_pipeline.eval_batches(
          folders, split='train', batch_size=2, process_index=process, process_count=processes
        )
      )
    )
    shapes.append([batch['landmarks'].shape for batch in batches])
    for batch in batches:
      frames = batch['landmarks'].shape[1]
      assert frames % 16 == 0 and batch['video'].shape == (2, frames, 128, 128, 3)
      for i in np.flatnonzero(batch['mask']):
        clip = clips[batch['clip_id'][i]]
        length = len(clip['landmarks'])
        seen.append(batch['clip_id'][i])
        assert batch['frame_mask'][i].sum() == length and (batch['frame_mask'][i, :length] == 1).all()
        np.testing.assert_array_equal(batch['landmarks'][i, :length], clip['landmarks'])
        np.testing.assert_array_equal(
          batch['landmarks'][i, length:], np.repeat(clip['landmarks'][-1:], frames - length, axis=0)
        )
        np.testing.assert_array_equal(batch['mfcc'][i, :length], audio.windows(clip['mfcc_rows']))
        assert np.abs(batch['video'][i, :length].astype(int) - clip['video']).max() <= 1
  assert sorted(seen) == sorted(
    name for folder in folders for name in record_index.load(folder, 'train').clip_id.astype('S')
  )
  assert all(shape == shapes[0] for shape in shapes)


def test_evaluation_windows_keep_the_example_out(folders, clips):
  for batch in input_pipeline.iterate(input_pipeline.eval_batches(folders, split='train', batch_size=3, window=8)):
    assert batch['landmarks'].shape[1:] == (8, 136) and (batch['frame_mask'] == 1).all()
    for i in np.flatnonzero(batch['mask']):
      clip = clips[batch['clip_id'][i]]
      start = start_of(batch, i, clip)
      assert start == (len(clip['landmarks']) - 8) // 2
      (example,) = np.where((clip['landmarks'] == batch['example_landmarks'][i]).all(axis=1))
      assert not start <= example[0] < start + 8


def test_evaluation_examples_come_from_where_they_are_told_to(folders, clips):
  def whose(example):
    """Clip under test → (clip, frame) of its example."""
    found = {}
    batches = input_pipeline.eval_batches(folders[1:], split='train', batch_size=2, example=example)
    for batch in input_pipeline.iterate(batches):
      for i in np.flatnonzero(batch['mask']):
        places = [
          (name, int(np.flatnonzero((clip['landmarks'] == batch['example_landmarks'][i]).all(axis=1))[0]))
          for name, clip in clips.items()
          if (clip['landmarks'] == batch['example_landmarks'][i]).all(axis=1).any()
        ]
        (found[batch['clip_id'][i]],) = places
        name, frame = places[0]
        assert np.abs(batch['example_image'][i].astype(int) - clips[name]['video'][frame]).max() <= 1
    return found

  speaker = {name: clip['speaker'] for name, clip in clips.items()}
  assert all(place == (name, 0) for name, place in whose('first-frame').items())
  assert all(place[0] == name for name, place in whose('same-clip').items())
  assert all(speaker[place[0]] != speaker[name] for name, place in whose('other-speaker').items())
  with pytest.raises(InputError, match='one clip only of speaker'):
    whose('other-clip')
  grid = record_index.load(folders[0], 'train')
  assert len(grid) > 1  # all of one speaker
  np.testing.assert_array_equal(
    clip_reader.example_clips(clip_reader.ClipReader(grid), 'other-clip'), [*range(1, len(grid)), 0]
  )
  with pytest.raises(InputError, match='one speaker only'):
    clip_reader.example_clips(clip_reader.ClipReader(grid), 'other-speaker')
  with pytest.raises(InputError, match='no example frame'):
    input_pipeline.eval_batches(folders, batch_size=1, example='best')


def test_a_torn_record_ends_the_stream_with_the_name_of_its_file(folders, tmp_path):
  folder = shutil.copytree(folders[1], tmp_path / 'data')
  (shard,) = record_index.shards(folder, 'train')
  index = record_index.load(folder, 'train')
  content = bytearray(shard.read_bytes())
  content[index.offset[1] + 500 : index.offset[1] + 900] = bytes(400)
  shard.write_bytes(content)
  with pytest.raises(InputError, match=f'{shard.name} is torn at record 1'):
    take(20, [folder], window=4, batch_size=1)
  with pytest.raises(InputError, match=f'{shard.name} is torn at record 1'):
    list(input_pipeline.iterate(input_pipeline.eval_batches([folder], split='train', batch_size=1)))


def test_bad_arguments_are_told(folders, tmp_path):
  for message, options in {
    'does not exist': {'dirs': [tmp_path / 'nothing']},
    'No data set is given': {'dirs': []},
    "no split 'test'": {'split': 'test'},
    'both must be 1 or more': {'window': 0},
    'There is no augmentation': {'augment': ('turn',)},
    '3 weights for 2': {'weights': (1, 2, 3)},
  }.items():
    with pytest.raises(InputError, match=message):
      input_pipeline.train_batches(**{'dirs': folders, 'window': 4, 'batch_size': 1} | options)


def test_statistics_are_summed_over_training_splits(folders):
  sums = input_pipeline.landmark_statistics(folders)
  lengths = [record_index.load(folder, 'train').num_frames for folder in folders]
  assert sums['count'] == sum(map(sum, lengths)) and sums['rest_count'] == sum(map(len, lengths))


def test_evaluation_brings_the_sound(folders, clips):
  seen = 0
  for batch in input_pipeline.iterate(
    input_pipeline.eval_batches(
      folders, split='validation', batch_size=2, with_video=False, with_audio=True, voices_from=folders
    )
  ):
    length = batch['landmarks'].shape[1]
    assert batch['audio'].shape == (2, 640 * length) and batch['audio'].dtype == np.int16
    assert batch['voices'].shape == (2, 3, 640 * length) and (np.abs(batch['voices']).max(axis=-1) > 1000).all()
    for i, name in enumerate(batch['clip_id']):
      sound = clips[name]['audio']
      np.testing.assert_array_equal(batch['audio'][i, : len(sound)], sound)
      assert not batch['audio'][i, len(sound) :].any()
      seen += int(batch['mask'][i])
  assert seen == sum(len(record_index.load(folder, 'validation')) for folder in folders)


def test_babble_is_other_peoples(folders):
  class Lender:
    def __init__(self, folder, speakers):
      self.folder, self.speaker = folder, np.array(list(speakers))
      self.clip_id = np.array([f'clip {i}' for i in range(len(speakers))])

    def __len__(self):
      return len(self.speaker)

    def read(self, i):
      return self.folder, self.speaker[i]

  here, there = Lender('here', 'aab'), Lender('there', 'a')
  found = {voice for record in range(2) for voice in clip_reader.babble_records([here, there], here, record, 20)}
  assert found == {('here', 'b'), ('there', 'a')}  # a speaker of another data set is another one
  assert clip_reader.babble_records([here], here, 0, 3) == clip_reader.babble_records([here], here, 0, 3)
  batches = input_pipeline.eval_batches(folders[:1], split='validation', batch_size=1, voices_from=folders[:1])
  with pytest.raises(InputError, match="has one speaker only in this split, s1, and babble is other people's"):
    list(input_pipeline.iterate(batches))


def test_a_process_that_an_error_ends_does_not_wait_for_its_pipeline(folders):
  program = f"""
from data_pipelines import input_pipeline
batches = input_pipeline.iterate(input_pipeline.train_batches([{str(folders[0])!r}], window=8, batch_size=64))
next(batches)
raise ValueError('a fault')  # its traceback holds the batches to the end
"""
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120, check=False)
  assert done.returncode == 1 and done.stderr.endswith('ValueError: a fault\n')
