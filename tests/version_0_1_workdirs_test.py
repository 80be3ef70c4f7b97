"""Runs that version 0.1.0 or a newer JAX began go on as they would have; weights generate what they generated."""

import json

import jax
import numpy as np
import pytest
import version_0_1_workdirs as recipe

from atvg_jax.checkpoints import weights

_TOLERANCE = 1e-5  # what rounding another way comes to after four steps is a fifth of it


@pytest.fixture(scope='module')
def answers():
  """What version 0.1.0 came to: by net 'digest' and 'curve', see `version_0_1_workdirs`."""
  return json.loads((recipe.FOLDER / 'workdirs.json').read_text(encoding='utf-8'))


def _assert_close(found, wanted):
  assert sorted(found) == sorted(wanted)
  for name, value in wanted.items():
    np.testing.assert_allclose(found[name], value, rtol=_TOLERANCE, atol=_TOLERANCE, err_msg=name)


@pytest.mark.parametrize('net, source', [('at', 'version_0_1'), ('vg', 'version_0_1'), ('at', 'jax_0_12')])
def test_a_run_goes_on_from_the_step_where_it_stands(net, source, answers, tmp_path):
  workdir = recipe.unpack(net, tmp_path, source)
  before = recipe.curve(workdir)
  assert max(before) == recipe.SAVED_STEP
  state, summary = recipe.run(net, workdir)
  assert summary['step'] == int(state.step) == 8 and not summary['interrupted']
  curve, wanted = recipe.curve(workdir), {int(step): row for step, row in answers[net]['curve'].items()}
  assert sorted(curve) == sorted(wanted) == list(range(1, 9))
  assert {step: curve[step] for step in before} == before  # the rows of the steps before are not written anew
  for step, row in wanted.items():
    _assert_close(curve[step], row)
  _assert_close(recipe.digest(state), answers[net]['digest'])
  assert not (workdir / 'damaged_checkpoints').exists()


@pytest.mark.parametrize('net', recipe.NETS)
def test_weights_load_from_a_workdir(net, tmp_path):
  bundle = weights.load(str(recipe.unpack(net, tmp_path)))
  assert bundle.kind == net and bundle.provenance['step'] == recipe.SAVED_STEP
  assert 'research' in bundle.provenance['licence']
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(bundle.params))
  if net == 'at':
    assert bundle.basis.components.shape == (6, 136)


def test_nets_of_both_workdirs_draw_what_they_drew(tmp_path):
  frame = recipe.draw({net: recipe.unpack(net, tmp_path) for net in recipe.NETS})
  with np.load(recipe.FOLDER / 'workdirs.npz') as golden:
    wanted = golden['frame']
  assert frame.dtype == np.uint8 and wanted.std() > 10
  assert np.abs(frame.astype(int) - wanted).max() <= 1  # a grey level
