"""Packed weights come back as they were, run no code, and say clearly when they are something else."""

import json

import jax
import numpy as np
import pytest
import random_nets
import synthetic

from atvg_jax.checkpoints import weights
from atvg_jax.generate import Generator
from atvg_jax.models import make_net
from atvg_jax.train import loop
from data_pipelines.errors import InputError


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp('run')
  config = synthetic.config('at_grid', num_steps=2, ema_decay=0.9, licence='research use')
  state, _ = loop.train(config, str(path), **synthetic.arguments(config))
  return path, state


def test_a_workdir_gives_the_moving_average_and_its_landmark_basis(workdir):
  path, state = workdir
  bundle = weights.load(str(path))
  assert bundle.kind == 'at' and bundle.provenance['step'] == 2
  assert bundle.provenance['scores']['eval_fake/lmd'] > 0
  jax.tree.map(np.testing.assert_array_equal, bundle.params, jax.device_get(state.g_ema_params))
  jax.tree.map(np.testing.assert_array_equal, bundle.batch_stats, jax.device_get(state.g_batch_stats))
  np.testing.assert_array_equal(bundle.basis.components, synthetic.basis().components)


def test_released_weights_are_the_same_net_to_half_precision(workdir, tmp_path, capsys):
  path, _ = workdir
  weights.release(str(path), str(tmp_path / 'out' / 'at.npz'))
  assert 'at-net' in capsys.readouterr().out
  original, packed = weights.load(str(path)), weights.load(str(tmp_path / 'out' / 'at.npz'))
  assert packed.kind == original.kind and packed.config == original.config
  assert packed.provenance['licence'] == 'research use'
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7), packed.params, original.params)
  jax.tree.map(np.testing.assert_array_equal, packed.batch_stats, original.batch_stats)
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(packed.params))
  np.testing.assert_array_equal(packed.basis.components, original.basis.components)

  example, mfcc = np.zeros((1, 6), np.float32), np.ones((1, 3, 28, 12), np.float32)
  first, second = (
    make_net(bundle.config).apply(
      {'params': bundle.params, 'batch_stats': bundle.batch_stats}, example, mfcc, train=False
    )['coefficients']
    for bundle in (original, packed)
  )
  np.testing.assert_allclose(first, second, rtol=1e-2, atol=1e-6)
  assert [file.name for file in (tmp_path / 'out').iterdir()] == ['at.npz']


def test_safetensors_hold_what_npz_files_hold_and_are_read_by_anybody(workdir, tmp_path):
  import safetensors

  for name in ('at.npz', 'at.safetensors'):
    weights.release(str(workdir[0]), str(tmp_path / name))
  first, second = (weights.load(str(tmp_path / name)) for name in ('at.npz', 'at.safetensors'))
  assert first[:2] == second[:2] and first.provenance == second.provenance
  for left, right in ((first.params, second.params), (first.batch_stats, second.batch_stats)):
    jax.tree.map(np.testing.assert_array_equal, left, right)
  jax.tree.map(np.testing.assert_array_equal, first.basis, second.basis)
  with safetensors.safe_open(tmp_path / 'at.safetensors', framework='numpy') as file:
    assert file.metadata()['format'] == 'flax' and 'research use' in file.metadata()['atvg_jax']
    half = [file.get_tensor(name).dtype == np.float16 for name in file.keys() if name.startswith('params/')]  # noqa: SIM118
    assert half and all(half)


def test_a_folder_as_hubs_have_it_is_taken(tmp_path):
  for kind, folder in (('at', 'at_net'), ('vg', 'vg_net')):
    weights.save(str(tmp_path / folder / 'model.safetensors'), random_nets.bundle(kind))
    weights.save(str(tmp_path / 'both' / f'{kind}.safetensors'), random_nets.bundle(kind))
  found = [
    Generator.from_pretrained(tmp_path / 'at_net', tmp_path / 'vg_net'),
    Generator.from_pretrained(tmp_path / 'both'),
    Generator.from_pretrained(tmp_path / 'at_net' / 'model.safetensors', tmp_path / 'both' / 'vg.safetensors'),
  ]
  hashes = [[weights.describe(made.bundles[kind])['sha256'] for kind in ('at', 'vg')] for made in found]
  assert hashes[0] == hashes[1] == hashes[2]
  assert hashes[0] != [
    weights.describe(weights.load(weights.packaged_weights(kind)))['sha256'] for kind in ('at', 'vg')
  ]


@pytest.mark.parametrize(
  'damage, reason',
  [
    (lambda content: content[:200], 'holds no weights'),
    (lambda content: content[:-8], 'holds no weights'),
    (lambda content: b'\xff' * 8 + content[8:], 'holds no weights'),
    (lambda content: content.replace(b'"atvg_jax"', b'"atvg_xxx"'), 'of another program'),
  ],
)
def test_damaged_or_foreign_safetensors_are_told(damage, reason, tmp_path):
  path = tmp_path / 'at.safetensors'
  weights.save(str(path), random_nets.bundle('at'))
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(InputError, match=reason) as caught:
    weights.load(str(path))
  assert '\n' not in str(caught.value)


def test_weights_too_large_for_half_precision_are_refused(workdir, tmp_path):
  bundle = weights.load(str(workdir[0]))._replace(params={'dense': {'kernel': np.full((2, 2), 1e6)}})
  with pytest.raises(InputError, match='params/dense/kernel'), np.errstate(over='ignore'):
    weights.save(str(tmp_path / 'at.npz'), bundle)
  weights.save(str(tmp_path / 'at.npz'), bundle, half=False)
  assert weights.load(str(tmp_path / 'at.npz')).params['dense']['kernel'][0, 0] == 1e6


def test_what_is_no_weights_is_one_sentence(workdir, tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'text.npz').write_text('no weights')
  (tmp_path / 'nothing.npz').write_bytes(b'')
  np.savez(tmp_path / 'other.npz', array=np.zeros(3))
  np.savez(tmp_path / 'pickle.npz', metadata=np.array([{'kind': 'at'}], object))
  np.savez(tmp_path / 'newer.npz', metadata=np.array(json.dumps({'format': 2})))
  weights.save(str(tmp_path / 'whole.npz'), weights.load(str(workdir[0])))
  whole = (tmp_path / 'whole.npz').read_bytes()
  (tmp_path / 'torn.npz').write_bytes(whole[: len(whole) // 2])
  for name in ('missing.npz', 'empty', 'text.npz', 'nothing.npz', 'other.npz', 'pickle.npz', 'newer.npz', 'torn.npz'):
    with pytest.raises(InputError) as caught:
      weights.load(str(tmp_path / name))
    assert name in str(caught.value) and '\n' not in str(caught.value)
  with pytest.raises(InputError, match='npz'):
    weights.release(str(workdir[0]), str(tmp_path / 'weights.bin'))


def test_a_new_run_starts_from_given_weights_and_goes_on_without_them(workdir, tmp_path):
  path, state = workdir
  packed = str(tmp_path / 'at.npz')
  weights.save(packed, weights.load(str(path)), half=False)
  config = synthetic.config('at_grid', num_steps=1, ema_decay=0.9, init_from=packed, optimizer__learning_rate=0.0)
  arguments = synthetic.arguments(config)
  arguments['basis'] = None  # the weights bring theirs
  started, _ = loop.train(config, str(tmp_path / 'run'), **arguments)
  jax.tree.map(np.testing.assert_array_equal, started.g_params, jax.device_get(state.g_ema_params))
  np.testing.assert_array_equal(weights.load(str(tmp_path / 'run')).basis.components, synthetic.basis().components)
  (tmp_path / 'at.npz').unlink()
  config.num_steps = 2
  resumed, _ = loop.train(config, str(tmp_path / 'run'), **arguments)
  assert int(resumed.step) == 2


def test_a_run_cannot_start_from_another_net(workdir, tmp_path):
  path, _ = workdir
  config = synthetic.config('vg_grid', init_from=str(path))
  with pytest.raises(InputError, match='trains VG-net'):
    loop.train(config, str(tmp_path / 'vg'), **synthetic.arguments(config))
  config = synthetic.config('at_grid', init_from=str(path), model__recurrent_features=4)
  with pytest.raises(InputError, match='other layers or widths'):
    loop.train(config, str(tmp_path / 'at'), **synthetic.arguments(config))
