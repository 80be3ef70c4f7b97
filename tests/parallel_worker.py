"""One process of training runs with so many devices; `parallel_test` and `multiprocess_test` compare them."""

import argparse
import itertools
import os
import signal


def _arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser()
  parser.add_argument('task', choices=('at', 'vg'))
  parser.add_argument('devices', type=int, help='of this process')
  parser.add_argument('out', help='file for the state; {mapping} in it becomes the mapping')
  parser.add_argument('--mappings', default='pmap', help='of steps over the devices, by commas: a run each, in turn')
  parser.add_argument('--workdir', help="instead of the file's name without its ending")
  parser.add_argument('--steps', type=int, default=5)
  parser.add_argument('--index', type=int, default=0, help='of this process, in a run of several')
  parser.add_argument('--count', type=int, default=1, help='of the processes')
  parser.add_argument('--port', help="of the first process' coordinator")
  parser.add_argument('--terminate-at', type=int, help='this process sends itself SIGTERM before that step')
  return parser.parse_args()


def main() -> None:
  asked = _arguments()
  os.environ['JAX_NUM_CPU_DEVICES'] = str(asked.devices)
  import jax

  jax.config.update('jax_platforms', 'cpu')
  if asked.port:
    os.environ |= {
      'JAX_COORDINATOR_ADDRESS': f'localhost:{asked.port}',
      'JAX_NUM_PROCESSES': str(asked.count),
      'JAX_PROCESS_ID': str(asked.index),
    }
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  import numpy as np
  import synthetic

  from atvg_jax.runtime import parallel
  from atvg_jax.train import loop, pictures

  pictures.render = lambda sample: np.zeros((8, 8, 3), np.uint8)  # half of a small run's time; pictures_test draws them
  parallel.initialize()
  assert jax.local_device_count() == asked.devices and jax.process_count() == asked.count
  fields = {
    'data__batch_size': 8,
    'evaluation__batch_size': 8,
    'num_steps': asked.steps,
    'eval_every': asked.steps,
    'checkpoint_every': 3,
    'sync_batch_norm': True,
    'data__window': 2,
    'best_metric': '-eval_fake/lmd',
  }
  if asked.task == 'vg':
    fields |= {'model__dropout_rate': 0.0, 'best_metric': 'eval_fake/ssim'}
  config = synthetic.config(f'{asked.task}_grid', **fields)
  share = 8 // asked.count
  mine = slice(asked.index * share, (asked.index + 1) * share)

  def batches(start):
    for step in itertools.count(start):
      if step == asked.terminate_at:
        os.kill(os.getpid(), signal.SIGTERM)
      yield {name: array[mine] for name, array in synthetic.batch(step, config).items()}

  held_out = {
    'fake': lambda: (
      {name: array[mine] for name, array in batch.items()} for batch in synthetic.batches(config, 1000, end=1001)
    )
  }
  for mapping in asked.mappings.split(','):
    os.environ[parallel.MAPPING] = mapping
    out = asked.out.replace('{mapping}', mapping)
    workdir = asked.workdir or os.path.splitext(out)[0]
    state, summary = loop.train(config, workdir, batches=batches, eval_sets=held_out, basis=synthetic.basis())
    parallel.assert_replicated(state)
    if not summary['interrupted']:
      # Again, from the checkpoint of the last step: nothing to do, so this is what was saved.
      restored, _ = loop.train(config, workdir, batches=batches, eval_sets=held_out, basis=synthetic.basis())
      jax.tree.map(np.testing.assert_array_equal, parallel.to_host(restored), parallel.to_host(state))
    arrays = {
      jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(parallel.to_host(state))
    }
    scores = {name: value for name, value in summary.items() if name.startswith(('eval_', 'train/', 'interrupted'))}
    with open(out, 'wb') as file:
      np.savez(file, **arrays, **scores)


if __name__ == '__main__':
  main()
