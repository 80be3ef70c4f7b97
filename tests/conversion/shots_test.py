"""New shots are found; flashes, pans, moving people and tiny pictures are none."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines.conversion import shots


def scene(seed: int, width: int = 320) -> np.ndarray:
  """uint8 [120, width, 3]: large patches of colour."""
  rng = np.random.default_rng(seed)
  low, high = sorted(rng.integers(0, 256, 2))
  patches = rng.integers(low, max(high, low + 40), (6, width // 20, 3)).astype(np.uint8)
  return np.asarray(Image.fromarray(patches).resize((width, 120), Image.Resampling.BICUBIC))


def cuts(frames) -> list[int]:
  marked = list(shots.mark(frames))
  assert len(marked) == len(frames) and all(a is b for (a, _), b in zip(marked, frames))
  return [i for i, (_, cut) in enumerate(marked) if cut]


def noisy(picture: np.ndarray, count: int) -> list[np.ndarray]:
  rng = np.random.default_rng(0)
  return [np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize('seed', range(4))
def test_each_shot_begins_once(seed):
  lengths = [12, 7, 30]
  frames = [frame for i, count in enumerate(lengths) for frame in noisy(scene(10 * seed + i), count)]
  assert cuts(frames) == [12, 19]


def test_flashes_and_dropped_pictures_are_no_cuts():
  frames = noisy(scene(1), 40)
  frames[10:12] = [np.clip(frame.astype(int) + 170, 0, 255).astype(np.uint8) for frame in frames[10:12]]
  frames[25] = np.zeros_like(frames[25])
  assert cuts(frames) == []


def test_pans_and_people_that_move_are_no_cuts():
  wide = scene(2, width=1200)
  assert cuts([wide[:, 20 * i : 20 * i + 240] for i in range(40)]) == []
  frames = noisy(scene(3), 30)
  for i, frame in enumerate(frames):
    frame[30:110, 8 * i : 8 * i + 80] = (200, 160, 140)
  assert cuts(frames) == []


def test_a_cut_in_front_of_the_same_wall_is_one():
  left, right = (np.full((180, 320, 3), (90, 110, 130), np.uint8) for _ in range(2))
  left[40:180, 20:140], right[40:180, 180:300] = (60, 50, 45), (200, 190, 60)
  assert cuts(noisy(left, 10) + noisy(right, 10)) == [10]


def test_tiny_pictures_and_no_pictures_do():
  assert cuts([np.zeros((1, 1, 3), np.uint8)] * 8 + [np.full((1, 1, 3), 255, np.uint8)] * 8) == [8]
  assert cuts([]) == []
