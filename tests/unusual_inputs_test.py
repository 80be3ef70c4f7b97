"""Five hundred damaged and unusual inputs: each ends in a right file or in one sentence, and leaves nothing."""

import resource

import pytest
import unusual_inputs


def _check(outcomes, count):
  assert not [one for one in outcomes if one.wrong]
  assert len(outcomes) >= count and {one.status for one in outcomes} == {0, 2}


def test_a_few_inputs_of_each_kind(tmp_path):
  _check(unusual_inputs.run(tmp_path, 25, seed=1), 25)


@pytest.mark.slow
def test_five_hundred_inputs_in_two_gigabytes(tmp_path):
  _check(unusual_inputs.run(tmp_path, 500), 500)
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 << 20  # kB
