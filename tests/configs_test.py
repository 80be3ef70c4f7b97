"""Every config is documented, locked, of the size it claims, and takes a real training step."""

import importlib
import json

import jax
import numpy as np
import pytest
import synthetic

from atvg_jax.checkpoints import run_config
from atvg_jax.models import make_net
from atvg_jax.runtime import parallel, rng
from atvg_jax.train.tasks import make_task
from data_pipelines import features
from data_pipelines.errors import InputError

# By name, not by what is in the folder: a config of one's own may stand beside them.
_PUBLISHED = [f'{net}_{data}' for net in ('at', 'vg') for data in ('grid', 'lrw', 'lrw_ar', 'union')]
_RELEASED = ['release_at', 'release_vg', 'release_vg_mouths']


def _parameters(state, name):
  return sum(leaf.size for leaf in jax.tree.leaves(getattr(state, name)))


@pytest.mark.parametrize('name', [*_PUBLISHED, *_RELEASED, 'personal_vg'])
def test_a_config_opens_with_its_command_and_survives_json(name):
  module = importlib.import_module(f'configs.{name}')
  assert f'atvg train --config=configs/{name}.py --workdir=' in module.__doc__
  for arg in ('', 'smoke'):
    config = module.get_config(arg).lock()
    again = run_config.tupled(json.loads(json.dumps(run_config.plain(config))))
    assert again == run_config.plain(config)
    assert make_net(again) == make_net(config)
  with pytest.raises(InputError, match='smoke'):
    module.get_config('smoek')
  with pytest.raises(AttributeError, match='batch_size'):
    config.data.batchsize = 3


@pytest.mark.parametrize('name', _PUBLISHED)
def test_the_published_sizes_are_the_default(name):
  config = importlib.import_module(f'configs.{name}').get_config().lock()
  state = jax.eval_shape(make_task(config, synthetic.basis()).init, rng.stream_key(0, 'init'))
  if config.task == 'at':
    assert _parameters(state, 'g_params') == pytest.approx(30.07e6, rel=1e-3)
  else:
    assert _parameters(state, 'g_params') == pytest.approx(58.36e6, rel=1e-3)
    # The published class holds a decoder that nothing uses; ours does not.
    assert _parameters(state, 'd_params') <= 21.49e6 * 1.001
  assert config.optimizer.learning_rate == 2e-4 and (config.optimizer.b1, config.optimizer.b2) == (0.5, 0.999)
  assert config.data.window == 16


def test_the_packaged_nets_fit_into_twelve_megabytes():
  sizes = {}  # by net: some configs are stages of one
  for name in _RELEASED:
    config = importlib.import_module(f'configs.{name}').get_config().lock()
    basis = synthetic.basis(config.landmarks.num_components)
    state = jax.eval_shape(make_task(config, basis).init, rng.stream_key(0, 'init'))
    sizes[config.model.to_json_best_effort()] = _parameters(state, 'g_params')
  assert 2 * sum(sizes.values()) < 12e6  # float16


# vg_grid, with its discriminator, is run in train_test; the other data sets' configs differ in data alone.
@pytest.mark.parametrize('name', ['at_grid', 'release_at', 'release_vg'])
def test_a_real_step_of_the_smoke_form(name):
  config = synthetic.config(name, data__window=2)
  task = make_task(config, synthetic.basis(config.landmarks.num_components))
  state = parallel.replicate(jax.jit(task.init)(rng.stream_key(config.seed, 'init')))
  step = parallel.pmap_train_step(task.train_step)
  batch = synthetic.batch(0, config)
  del batch[features.CLIP_ID]
  first = None
  for _ in range(config.optimizer.warmup_steps + 3):
    state, metrics = step(state, parallel.shard_batch(batch))
    first = first or float(metrics['g_loss'])
  assert all(np.isfinite(float(value)) for value in metrics.values())
  assert float(metrics['g_loss']) != first


@pytest.mark.parametrize('kind', ['at', 'vg'])
def test_the_data_sets_configs_differ_in_data_alone(kind):
  configs = [
    importlib.import_module(f'configs.{kind}_{data}').get_config('smoke').to_dict()
    for data in ('grid', 'lrw_ar', 'union', 'lrw')
  ]
  for config in configs[1:]:
    assert config['model'] == configs[0]['model'] and config['loss'] == configs[0]['loss']
    assert config['optimizer'] == configs[0]['optimizer']
  assert [config['data']['dirs'] for config in configs] == [
    ('data/grid',),
    ('data/lrw_ar',),
    ('data/grid', 'data/lrw_ar'),
    ('data/lrw',),
  ]
