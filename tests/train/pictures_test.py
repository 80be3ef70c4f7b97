"""Pictures show what they say, and the metrics file drops what came after a checkpoint."""

import json

import numpy as np
from PIL import Image

from atvg_jax.train import metric_writers, pictures
from data_pipelines import features


def test_rows_of_frames_stand_in_their_order():
  video = np.zeros((2, 3, 8, 8, 3), np.float32)
  video[:, 1] = -1  # the moment that differs most from the example
  sample = {
    'example_image': np.ones((2, 8, 8, 3), np.float32),
    'true_video': video,
    'video': video + 0.5,
    'attention': np.full((2, 3, 8, 8, 1), 0.25, np.float32),
    'color': np.ones((2, 3, 8, 8, 3), np.float32),
  }
  picture = pictures.render(sample)
  assert picture.shape == (16, 40, 3) and picture.dtype == np.uint8
  assert picture[4, 4::8, 0].tolist() == [255, 0, 64, 64, 255]


def test_a_short_video_shows_truth_ours_and_where_the_sound_is(tmp_path):
  rng = np.random.default_rng(0)
  frames = np.linspace(-1, 1, 5, dtype=np.float32)[None, :, None, None, None] * np.ones((2, 1, 32, 32, 3), np.float32)
  sample = {'true_video': frames, 'video': -frames, 'mfcc': rng.normal(size=(2, 5, 28, 12)).astype(np.float32)}
  video = pictures.animate(sample)
  assert video.shape == (5, 32 + 32 + 36, 64, 3) and video.dtype == np.uint8
  assert video[0, 0, 0].tolist() == [0] * 3 and video[0, 40, 0].tolist() == [255] * 3
  red = (video[:, 64:, :32] == (255, 0, 0)).all(axis=-1).all(axis=1)  # [T, W]
  assert [np.flatnonzero(row).tolist() for row in red] == [[3], [9], [16], [22], [28]]
  assert pictures.animate({'landmarks': frames}) is None

  writer = metric_writers.MetricWriter(str(tmp_path))
  writer.animation(7, 'grid', video)
  writer.close()
  with Image.open(tmp_path / 'pictures' / 'grid_0000007.gif') as made:
    assert made.n_frames == 5 and made.info['duration'] == 40
  (board,) = (tmp_path / 'tensorboard').iterdir()
  assert b'GIF89a' in board.read_bytes() and b'grid_moving' in board.read_bytes()


def test_landmark_plots_mark_true_and_predicted():
  rng = np.random.default_rng(0)
  landmarks = rng.uniform(-0.5, 0.5, size=(2, 9, features.LANDMARK_SIZE)).astype(np.float32)
  frames = np.ones((2, 9), np.float32)
  frames[1, 4:] = 0
  picture = pictures.render({'true_landmarks': landmarks, 'landmarks': landmarks + 0.1, 'frames': frames})
  assert picture.dtype == np.uint8 and picture.shape[2] == 3
  red = (picture[..., 0] > 180) & (picture[..., 1] < 90)
  assert red.any() and (picture.max(axis=2) < 200).any()


def test_going_on_takes_back_later_rows(tmp_path):
  writer = metric_writers.MetricWriter(str(tmp_path))
  for step in (1, 2, 3):
    writer.scalars(step, {'train/g_loss': step})
  writer.picture(3, 'grid', np.zeros((4, 4, 3), np.uint8))
  writer.close()
  with open(tmp_path / 'metrics.jsonl', 'a', encoding='utf-8') as file:
    file.write('{"step": 4, "tra')  # a kill
  writer = metric_writers.MetricWriter(str(tmp_path), start_step=2)
  writer.scalars(3, {'train/g_loss': 30})
  writer.close()
  with open(tmp_path / 'metrics.jsonl', encoding='utf-8') as file:
    assert [json.loads(line)['train/g_loss'] for line in file] == [1, 2, 30]
  assert (tmp_path / 'pictures' / 'grid_0000003.png').exists()
  assert list(tmp_path.glob('**/*.partial')) == []


def test_other_processes_write_nothing(tmp_path):
  writer = metric_writers.MetricWriter(str(tmp_path / 'run'), enabled=False)
  writer.scalars(1, {'train/g_loss': 1})
  writer.picture(1, 'grid', np.zeros((4, 4, 3), np.uint8))
  writer.close()
  assert not (tmp_path / 'run').exists()
