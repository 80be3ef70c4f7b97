"""The programs that a plan compiles are those that lanes run; what it says of them fits together."""

import re

import jax
import pytest
import random_nets

from atvg_jax import cli
from atvg_jax.generate.lanes import plan
from atvg_jax.train import plan as train_plan
from data_pipelines.errors import InputError


class _ProcessorSlice(train_plan.Slice):
  """This machine instead of a slice of TPUs."""

  def __init__(self, topology):
    self.devices, self.name = jax.local_devices(), topology
    self.chip = train_plan.CHIPS['v5e']


def test_a_plan_counts_both_programs_of_a_window(tmp_path, monkeypatch):
  monkeypatch.setattr(train_plan, 'Slice', _ProcessorSlice)
  nets = plan.Nets(tuple(random_nets.save(tmp_path)), False, 'bfloat16')
  two, four = (plan.compile_programs('v5e:1x1', nets, lanes) for lanes in (2, 4))
  assert two is not None and four is not None
  assert four.operations == pytest.approx(2 * two.operations, rel=0.01) and four.memory > two.memory
  text = plan.report(_ProcessorSlice('v5e:1x1'), nets, two, four)
  assert 'lanes           2 a device' in text and 'bfloat16' in text
  most = int(re.search(r'about (\d+)', text).group(1))
  assert most > 4
  assert 'less than 4' in plan.report(_ProcessorSlice('v5e:1x1'), nets, two, None)


def test_a_plan_of_no_lanes_or_no_slice_is_refused():
  with pytest.raises(InputError, match='lanes=0'):
    cli.run(['plan', '--generate', '--lanes=0'])
  with pytest.raises(InputError, match='no slice'):
    cli.run(['plan', '--generate', '--topology=v9:2x2'])


@pytest.mark.slow
def test_generation_is_planned_for_a_slice(capsys):
  pytest.importorskip('libtpu')
  cli.run(['plan', '--generate', '--topology=v5e:2x2', '--lanes=8', '--dtype=bfloat16'])
  text = capsys.readouterr().out
  assert re.search(r'at most [\d,]+ frames/s a device', text) and 'most lanes' in text
