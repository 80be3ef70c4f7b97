"""The TFDS builders by themselves, on their dummy data, and read back by TFDS."""

import importlib
import io
import pathlib

import drawn_clips
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_pipelines.records import record_index

_ROOT = pathlib.Path(__file__).resolve().parents[2] / 'data_pipelines' / 'datasets'


@pytest.mark.parametrize(
  'name, words',
  [('grid', [b'bin', b'blue']), ('lrw_ar', ['قال'.encode(), 'إن'.encode()]), ('lrw', [b'ABOUT']), ('clips', [])],
)
def test_builder_makes_records_without_our_command(tmp_path, name, words):
  module = importlib.import_module(f'data_pipelines.datasets.{name}.{name}_dataset_builder')
  builder = module.Builder(data_dir=tmp_path, config='png')
  assert builder.name == name and builder.info.citation and builder.info.description
  manual = tfds.download.DownloadConfig(manual_dir=_ROOT / name / 'dummy_data')
  builder.download_and_prepare(download_dir=tmp_path / 'downloads', download_config=manual)
  assert {split: info.num_examples for split, info in builder.info.splits.items()} == dict.fromkeys(
    ('train', 'validation', 'test') if name == 'lrw' else ('train', 'validation'), 1
  )
  record = next(iter(tfds.as_numpy(builder.as_dataset(split='validation'))))
  frames = len(record['video'])
  assert record['video'].shape == (frames, 128, 128, 3) and frames >= 16
  assert record['landmarks'].shape == (frames, 136)
  assert record['audio'].shape == (frames * 640,) and record['mfcc_rows'].shape == (4 * frames + 24, 12)
  assert record['words'].tolist() == words
  assert len(record['starts']) == len(record['ends']) == {'grid': 2, 'lrw': 1}.get(name, 0)


def test_tfds_reads_what_prepare_made_without_the_builder():
  folder = drawn_clips.converted('lrw_ar')
  builder = tfds.builder_from_directory(folder)
  clips = {clip['clip_id'].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split='train'))}
  index = record_index.load(folder, 'train')
  assert sorted(clips) == sorted(index.clip_id)
  skipping = builder.as_dataset(split='train', decoders={'video': tfds.decode.SkipDecoding()})
  for clip in tfds.as_numpy(skipping):
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(picture))) for picture in clip['video']])
    difference = decoded.astype(int) - clips[clip['clip_id'].decode()]['video']
    assert np.abs(difference).mean() < 2 and np.abs(difference).max() < 24  # TFDS decodes fast rather than exactly
