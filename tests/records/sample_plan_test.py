"""The order of training: shuffled, without repetition within an epoch, and a pure function."""

import collections

import pytest

from data_pipelines.errors import InputError
from data_pipelines.records.sample_plan import SamplePlan


def test_each_epoch_has_every_record_once_in_another_order():
  plan = SamplePlan([3, 5], None, seed=0)
  epochs = [[plan.locate(8 * epoch + i) for i in range(8)] for epoch in range(3)]
  everything = sorted([(0, i) for i in range(3)] + [(1, i) for i in range(5)])
  assert all(sorted(epoch) == everything for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2]
  assert epochs[0] != [SamplePlan([3, 5], None, seed=1).locate(i) for i in range(8)]


def test_weights_are_kept_and_each_source_has_its_own_epochs():
  plan = SamplePlan([3, 50], [3, 1], seed=0)
  drawn = [plan.locate(i) for i in range(4096)]
  counts = collections.Counter(source for source, _ in drawn)
  assert counts == {0: 3072, 1: 1024}
  records = [record for source, record in drawn if source == 0]
  assert all(sorted(records[i : i + 3]) == [0, 1, 2] for i in range(0, 3072, 3))
  assert len({record for source, record in drawn[:512] if source == 1}) == 50


def test_an_element_depends_on_its_number_only():
  forward, backward = SamplePlan([7, 9], [1, 2], seed=5), SamplePlan([7, 9], [1, 2], seed=5)
  assert [forward.locate(i) for i in range(3000)] == [backward.locate(i) for i in reversed(range(3000))][::-1]


@pytest.mark.parametrize('weights', [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_that_fit_nothing_are_refused(weights):
  with pytest.raises(InputError):
    SamplePlan([3, 5], weights, seed=0)


def test_a_weight_of_nothing_shuts_a_source_out():
  plan = SamplePlan([3, 5], [0, 1], seed=0)
  assert {plan.locate(i)[0] for i in range(2000)} == {1}
