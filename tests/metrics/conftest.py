"""What several tests of metrics need."""

import golden_recipe as golden
import numpy as np
import pytest


@pytest.fixture(scope='session')
def pairs():
  """Seven pairs of pictures (generated, reference) uint8 [128, 128, 3] with their published scores."""
  with np.load(golden.path('metrics_images.npz'), allow_pickle=False) as file:
    return list(zip(file['generated'], file['reference'], golden.read_json('metrics.json'), strict=True))
