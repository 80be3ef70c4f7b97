"""Configs of earlier versions are read in today's form, and what is done to finished frames can change in a run."""

import pytest
import synthetic

from atvg_jax import models
from atvg_jax.checkpoints import run_config
from configs import release_at, release_vg
from data_pipelines.errors import InputError


def test_a_config_of_version_0_1_is_read_in_todays_form():
  today = {kind: run_config.plain(module.get_config()) for kind, module in (('at', release_at), ('vg', release_vg))}
  old = {kind: {**config, 'model': dict(config['model'])} for kind, config in today.items()}
  for config in old.values():
    generation = config.pop('generation')
    config['model'] |= {name: generation[name] for name in ('darken', 'sharpen') if name in generation}
    config |= {'exaggeration': generation['exaggeration']} if 'exaggeration' in generation else {}
  old['at']['model']['members'] = old['at']['model'].pop('ensemble_size')
  old['vg']['model'] |= {'recurrent_kernel': 3, 'recurrent_dilation': 2}
  for kind, config in old.items():
    before = dict(config['model'])
    assert run_config.upgrade(config) == today[kind]
    assert config['model'] == before  # which is left as it was
    assert run_config.upgrade(today[kind]) == today[kind]
  assert today['vg']['generation'] == {'darken': 0.55, 'sharpen': 0.45, 'seam': 0.0}


def test_what_an_old_config_says_nothing_of_has_its_default():
  config = run_config.upgrade({'task': 'vg', 'model': {}, 'dtype': 'float32'})
  assert config['generation'] == {'darken': 0.0, 'sharpen': 0.0, 'seam': 0.0}
  assert models.make_net(config) == models.make_net({'task': 'vg', 'model': {}, 'dtype': 'float32'})
  with pytest.raises(InputError, match='recurrent_dilation'):
    models.make_net(run_config.upgrade({**config, 'model': {'recurrent_dilation': 1}}))


def test_a_run_goes_on_with_other_finishing_but_no_other_net(tmp_path):
  config = synthetic.config('release_vg')
  run_config.init_workdir(config, str(tmp_path))
  config.generation.update(darken=0.1, sharpen=0.2, seam=0.3)
  run_config.init_workdir(config, str(tmp_path))
  assert run_config.load(str(tmp_path))['generation'] == {'darken': 0.1, 'sharpen': 0.2, 'seam': 0.3}
  config.model.residual_blocks += 1
  with pytest.raises(InputError, match=r'another model\.residual_blocks'):
    run_config.init_workdir(config, str(tmp_path))
