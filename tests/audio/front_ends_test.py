"""Front ends are what they say: shapes, context, and the numbers of the code beside them."""

import jax
import numpy as np
import pytest
from demo_samples import demo_speech

from atvg_jax.audio import front_ends
from data_pipelines.errors import InputError
from data_pipelines.media import audio


def _front_end(name):
  return front_ends.of({'model': {'audio': name}})


@pytest.mark.parametrize('name', ['mfcc', 'speech'])
def test_features_have_the_shape_that_is_told(name):
  front_end = _front_end(name)
  assert front_end.name == name
  samples = demo_speech()[None, : 12 * 640]
  features = jax.jit(front_end.features)(front_end.load_weights(), samples)
  assert features.shape == (1, 12, *front_end.shape)


def test_mfcc_are_those_of_the_records():
  samples = demo_speech()[: 12 * 640]
  front_end = _front_end('mfcc')
  features = front_end.features({}, samples[None])[0]
  np.testing.assert_allclose(features, audio.windows(audio.frame_rows(samples, 12)), atol=2e-3)
  assert (front_end.past, front_end.ahead, front_end.ahead_of(2)) == (3, 3, 3)


def test_no_name_is_mfcc_and_others_are_refused():
  assert front_ends.of({'model': {}}).name == 'mfcc'
  with pytest.raises(InputError, match="'speech'"):
    _front_end('noise')
