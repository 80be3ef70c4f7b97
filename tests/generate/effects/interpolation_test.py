"""A picture warped by a mesh, against Pillow's."""

import numpy as np
from PIL import Image
from scipy import ndimage

from atvg_jax.generate.effects.interpolation import MeshWarp


def test_a_warped_picture_is_pillows():
  rng = np.random.default_rng(0)
  picture = ndimage.gaussian_filter(rng.uniform(0, 255, (70, 90, 3)), (2, 2, 0))
  picture = np.clip((picture - picture.mean()) * 6 + 128, 0, 255).astype(np.uint8)
  warp = MeshWarp(90, 70, 8)
  places = warp.nodes + 3 * np.sin(warp.nodes[..., ::-1] / 20) + 2.3
  out = warp(picture, places)
  quads = np.concatenate([places[:-1, :-1], places[1:, :-1], places[1:, 1:], places[:-1, 1:]], axis=-1)
  mesh = [
    ((8 * column, 8 * row, 8 * column + 8, 8 * row + 8), quads[row, column].tolist())
    for row, column in np.ndindex(8, 11)
  ]
  want = np.asarray(Image.fromarray(picture).transform((90, 70), Image.Transform.MESH, mesh, Image.Resampling.BICUBIC))
  inside = slice(8, 52), slice(8, 76)
  assert out.shape == picture.shape and np.ptp(picture) > 100
  difference = np.abs(out.astype(int) - want)[inside]
  assert difference.mean() < 3 and difference.max() <= 15  # Pillow's cubic is a sharper one


def test_nodes_that_stay_leave_the_picture():
  picture = np.random.default_rng(1).integers(0, 256, (65, 33, 3), dtype=np.uint8)
  warp = MeshWarp(33, 65, 5)
  assert (warp(picture, warp.nodes) == picture).all()
