"""One of two processes that come to their first sum over all devices `LATE` seconds apart; prints the sum."""

import os
import sys
import time

LATE = 40  # seconds; on CPUs connections are waited for 30

if __name__ == '__main__':
  index, port = int(sys.argv[1]), sys.argv[2]
  os.environ |= {
    'JAX_COORDINATOR_ADDRESS': f'localhost:{port}',
    'JAX_NUM_PROCESSES': '2',
    'JAX_PROCESS_ID': str(index),
    'JAX_NUM_CPU_DEVICES': '2',
  }
  import jax

  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  import numpy as np
  from jax import lax

  from atvg_jax.runtime import parallel

  parallel.initialize()
  time.sleep(LATE * index)
  total = parallel.pmap_eval_step(lambda state, batch: lax.psum(state + batch, parallel.AXIS))
  print(float(total(np.float32(1), np.arange(2, dtype=np.float32))))
