"""The sums are what they say, over one set and over several."""

import numpy as np
import pytest

from data_pipelines.errors import InputError
from data_pipelines.records import landmark_statistics


def clips(seed, lengths):
  rng = np.random.default_rng(seed)
  return [
    (rng.normal(size=(length, 136)).astype(np.float32), rng.normal(size=136).astype(np.float32)) for length in lengths
  ]


def test_sums_give_mean_and_covariance_of_deviations(tmp_path):
  sets = [clips(0, [5, 9]), clips(1, [4])]
  for i, members in enumerate(sets):
    (tmp_path / str(i)).mkdir()
    landmark_statistics.save(landmark_statistics.accumulate(members), tmp_path / str(i))
  sums = landmark_statistics.load([tmp_path / '0', tmp_path / '1'])
  deviations = np.concatenate([landmarks - rest for members in sets for landmarks, rest in members]).astype(np.float64)
  assert sums['count'] == 18 and sums['rest_count'] == 3
  np.testing.assert_allclose(
    sums['rest_sum'], np.sum([rest for members in sets for _, rest in members], axis=0), rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(sums['deviation_sum'] / 18, deviations.mean(axis=0), rtol=1e-5, atol=1e-6)
  covariance = sums['deviation_outer'] / 18 - np.outer(sums['deviation_sum'], sums['deviation_sum']) / 18**2
  np.testing.assert_allclose(covariance, np.cov(deviations.T, bias=True), rtol=1e-4, atol=1e-5)


def test_what_version_0_1_converted_has_no_covariance_of_rests(tmp_path):
  for i, members in enumerate((clips(0, [5]), clips(1, [4]))):
    (tmp_path / str(i)).mkdir()
    landmark_statistics.save(landmark_statistics.accumulate(members), tmp_path / str(i))
  both = landmark_statistics.load([tmp_path / '0', tmp_path / '1'])
  rests = np.stack([members[0][1] for members in (clips(0, [5]), clips(1, [4]))])
  np.testing.assert_allclose(both['rest_outer'], rests.T @ rests, rtol=1e-5, atol=1e-6)
  with np.load(tmp_path / '1' / landmark_statistics.FILE_NAME) as file:
    np.savez(
      tmp_path / '1' / landmark_statistics.FILE_NAME, **{name: file[name] for name in file if name != 'rest_outer'}
    )
  for order in (('0', '1'), ('1', '0')):
    sums = landmark_statistics.load([tmp_path / name for name in order])
    assert 'rest_outer' not in sums and sums['count'] == 9


def test_missing_and_damaged_files_are_told(tmp_path):
  with pytest.raises(InputError, match='atvg prepare'):
    landmark_statistics.load([tmp_path])
  (tmp_path / landmark_statistics.FILE_NAME).write_bytes(b'no zip')
  with pytest.raises(InputError, match='is damaged'):
    landmark_statistics.load([tmp_path])
