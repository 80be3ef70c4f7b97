"""The helpers beside the data contract, on NumPy and on JAX arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import features


@pytest.mark.parametrize('array', [np.asarray, jnp.asarray])
def test_pixels_survive_as_floats(array):
  pixels = np.arange(256, dtype=np.uint8)
  values = features.to_float(array(pixels))
  assert values.dtype == np.float32 and float(values[0]) == -1 and float(values[-1]) == 1
  restored = features.to_bytes(values)
  assert restored.dtype == np.uint8
  np.testing.assert_array_equal(restored, pixels)
  np.testing.assert_array_equal(features.to_bytes(array(np.float32([-1.5, 1.5]))), [0, 255])


@pytest.mark.parametrize('array', [np.asarray, jnp.asarray])
def test_sound_survives_as_floats(array):
  sound = np.arange(-32767, 32768).astype(np.int16)
  floats = features.sound_to_float(array(sound))
  assert floats.dtype == np.float32 and floats[0] == -1 and floats[-1] == 1
  np.testing.assert_array_equal(features.sound_to_int16(floats), sound)
  np.testing.assert_array_equal(features.sound_to_int16(array(np.float32([-2, 2]))), [-32767, 32767])  # clipped


@pytest.mark.parametrize('array', [np.asarray, jnp.asarray])
def test_gaps_of_the_inner_lips_are_those_of_the_pairs(array):
  points = np.random.default_rng(0).normal(size=(2, features.NUM_LANDMARKS, 2)).astype(np.float32)
  wanted = [points[:, lower, 1] - points[:, upper, 1] for upper, lower in features.INNER_LIP_PAIRS]
  np.testing.assert_array_equal(features.inner_lip_gaps(array(points)), np.stack(wanted, axis=-1))
