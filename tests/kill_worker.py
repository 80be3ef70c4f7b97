"""A small training run that saves at every step; `kills_test` kills it. Arguments: workdir, steps."""

import sys

import jax
import synthetic

from atvg_jax.runtime import parallel
from atvg_jax.train import loop


def main(workdir: str, steps: str) -> None:
  jax.config.update('jax_platforms', 'cpu')
  parallel.use_compilation_cache()
  config = synthetic.config(
    'at_grid',
    num_steps=int(steps),
    log_every=1,
    eval_every=50,
    picture_every=200,
    checkpoint_every=1,
    ema_decay=0.9,
    best_metric='-eval_fake/lmd',
  )
  loop.train(config, workdir, **synthetic.arguments(config))


if __name__ == '__main__':
  main(*sys.argv[1:])
