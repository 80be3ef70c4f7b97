"""Draws a batch on several simulated devices and on one; prints the largest difference in grey levels."""

import jax
import numpy as np
import random_nets

from atvg_jax.generate import streaming

jax.config.update('jax_num_cpu_devices', 2)

if __name__ == '__main__':
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
  landmarks = rng.normal(size=(2, 4, 136)).astype(np.float32) * 0.3
  stream = streaming.VgStream(random_nets.bundle('vg'))
  together = np.concatenate(list(stream(image, landmarks[:, 0], streaming.split(landmarks, 2))), axis=1)
  alone = [
    np.concatenate(
      list(stream(image[i : i + 1], landmarks[i : i + 1, 0], streaming.split(landmarks[i : i + 1], 2))), axis=1
    )
    for i in range(2)
  ]
  assert together.shape == (2, 4, 128, 128, 3) and together.std() > 10
  print(np.abs(together.astype(int) - np.concatenate(alone)).max())
