"""One process of a training run with a given number of devices; `parallel_test` and `multiprocess_test` compare them.

Arguments: task, devices of this process, file for the state, and, in a run of several processes, this one's
index, their number and the port of the first.
"""

import os
import sys


def main(task: str, devices: str, out: str, index: str = '0', count: str = '1', port: str = '') -> None:
  os.environ['JAX_NUM_CPU_DEVICES'] = devices
  import jax

  jax.config.update('jax_platforms', 'cpu')
  if port:
    os.environ |= {'JAX_COORDINATOR_ADDRESS': f'localhost:{port}', 'JAX_NUM_PROCESSES': count, 'JAX_PROCESS_ID': index}
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  import numpy as np
  import synthetic

  from atvg_jax import parallel, train

  parallel.initialize(distributed=bool(port))
  assert jax.local_device_count() == int(devices) and jax.process_count() == int(count)
  fields = {'data__batch_size': 8, 'evaluation__batch_size': 8, 'num_steps': 5, 'eval_every': 5, 'checkpoint_every': 3,
            'sync_batch_norm': True, 'data__window': 2}
  config = synthetic.config(f'{task}_grid', **fields | ({'model__dropout_rate': 0.0} if task == 'vg' else {}))
  share = 8 // int(count)
  mine = slice(int(index) * share, (int(index) + 1) * share)

  def batches(step):
    return ({name: array[mine] for name, array in batch.items()} for batch in synthetic.batches(config, step))

  held_out = {'fake': lambda: ({name: array[mine] for name, array in batch.items()}
                               for batch in synthetic.batches(config, 1000, end=1001))}
  workdir = os.path.splitext(out)[0] if not port else os.path.join(os.path.dirname(out), 'shared')
  state, summary = train.train(config, workdir, batches=batches, eval_sets=held_out, basis=synthetic.basis())
  parallel.assert_replicated(state)
  # Again, from the checkpoint of step 5: nothing to do, so this is what was saved.
  restored, _ = train.train(config, workdir, batches=batches, eval_sets=held_out, basis=synthetic.basis())
  arrays = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(
      parallel.to_host(state))}
  for path, leaf in jax.tree_util.tree_leaves_with_path(parallel.to_host(restored)):
    np.testing.assert_array_equal(leaf, arrays[jax.tree_util.keystr(path)])
  scores = {name: value for name, value in summary.items() if name.startswith(('eval_', 'train/'))}
  with open(out, 'wb') as file:
    np.savez(file, **arrays, **scores)


if __name__ == '__main__':
  main(*sys.argv[1:])
