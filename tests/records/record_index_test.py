"""The index finds every record, and what is torn is told with the name of its file."""

import pathlib
import shutil

import drawn_clips
import numpy as np
import pytest
import tensorflow as tf

from data_pipelines.errors import InputError
from data_pipelines.records import record_index


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  return shutil.copytree(drawn_clips.converted('lrw_ar'), tmp_path / 'data')


def test_records_are_those_that_tensorflow_reads(folder):
  index = record_index.load(folder, 'train')
  shards = [str(path) for path in record_index.shards(folder, 'train')]
  records = [bytes(content.numpy()) for content in tf.data.TFRecordDataset(shards)]
  assert [index.read(i) for i in range(len(index))] == records
  assert sorted(index.clip_id) == ['c01_00000', 'c01_00003', 'c02_00002']
  assert dict(zip(index.clip_id, index.num_frames))['c01_00003'] == 26  # 27 drawn, 60 ms without sound
  assert set(index.speaker) == {'c01', 'c02'}


def test_a_missing_index_is_made_anew(folder):
  written = record_index.load(folder, 'train')
  (folder / record_index.file_name('train')).unlink()
  for old, new in zip(written, record_index.load(folder, 'train')):
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize('kept_index', [True, False])
def test_a_shard_that_breaks_off_is_told(folder, kept_index):
  (shard,) = record_index.shards(folder, 'train')
  shard.write_bytes(shard.read_bytes()[:-5000])
  if not kept_index:
    (folder / record_index.file_name('train')).unlink()
  with pytest.raises(InputError, match=f'{shard.name}.* torn'):
    record_index.load(folder, 'train')


def test_a_record_torn_off_in_the_middle_is_told_by_name(folder):
  (shard,) = record_index.shards(folder, 'train')
  index = record_index.load(folder, 'train')
  content = shard.read_bytes()
  shard.write_bytes(content[: index.offset[1] + 500] + content[index.offset[1] + 700 :])
  with pytest.raises(InputError, match=f'{shard.name} has .* torn at the record of {index.clip_id[1]}; restore'):
    record_index.load(folder, 'train')


def test_bytes_overwritten_in_the_middle_are_told(folder):
  (shard,) = record_index.shards(folder, 'train')
  index = record_index.load(folder, 'train')
  content = bytearray(shard.read_bytes())
  content[index.offset[1] + 500 : index.offset[1] + 1000] = bytes(500)
  shard.write_bytes(content)
  index = record_index.load(folder, 'train')
  assert index.read(0) and index.read(2)
  with pytest.raises(InputError, match=f'{shard.name} is torn at record 1 .{index.clip_id[1]}.: restore'):
    index.read(1)


def test_what_is_not_there_is_told(folder, tmp_path):
  with pytest.raises(InputError, match='does not exist: convert the clips with `atvg prepare'):
    record_index.load(tmp_path / 'nothing', 'train')
  (tmp_path / 'half.partial').mkdir()
  with pytest.raises(InputError, match='has not finished'):
    record_index.load(tmp_path / 'half', 'train')
  with pytest.raises(InputError, match='no converted data set'):
    record_index.load(tmp_path, 'train')
  with pytest.raises(InputError, match="no split 'test': it has train, validation"):
    record_index.load(folder, 'test')
  (folder / record_index.file_name('train')).write_bytes(b'no zip')
  with pytest.raises(InputError, match='index-train.npz is damaged'):
    record_index.load(folder, 'train')
  shard = record_index.shards(folder, 'train')[0]
  shard.rename(shard.with_name(shard.name.replace('00000-of-00001', '00001-of-00002')))
  with pytest.raises(InputError, match='has 1 of 2 files'):
    record_index.load(folder, 'train')
