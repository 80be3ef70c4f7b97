"""Both nets as StableHLO programs that run without this project: for any batch and length, on CPU, CUDA and TPU.

The folder that `atvg export` writes holds

* `at.stablehlo`: (example_coefficients [B, K], mfcc [B, T, 28, 12], carry) → (coefficients [B, T, K], carry).
  With the front end 'speech' the second argument is the sound itself, [B, T, 640]: windows with `past` and `ahead`
  frames around those that are wanted (see options.json), of which nothing is carried.
* `vg.stablehlo`: (example_image [B, 128, 128, 3] in [-1, 1], example_landmarks [B, 136], landmarks [B, T, 136],
  carry) → (video [B, T, 128, 128, 3] in [-1, 1], carry)
* `basis.npz`: the landmark basis, and `landmarks = rest + (exaggeration * coefficients * scale) @ components`
* `options.json`: shapes of the carries (zeros to begin with), rates and sizes, which weights these are, and when and by
  which JAX the programs were written: JAX promises to read them for half a year.

Weights are constants of the programs. docs/generation.md has a short loader.
"""

import datetime
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

import atvg_jax
from atvg_jax import models
from atvg_jax.audio import front_ends
from atvg_jax.checkpoints.weights import Bundle, describe, load_nets
from atvg_jax.generate import streaming
from atvg_jax.generate.generator import Generator
from atvg_jax.models import postprocessing
from data_pipelines import atomic_files, features
from data_pipelines.errors import InputError

PLATFORMS = ('cpu', 'cuda', 'tpu')


def run(out: str, weights: Sequence[str] | None = None) -> None:
  """The command `atvg export`: writes the folder `out` and says what it holds.

  Raises:
    InputError: the weights will not do, or `out` cannot be written.
  """
  folder = pathlib.Path(out)
  generator = Generator(*load_nets(weights))
  generator.normalisation.check_use('export')
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f'--out {out} cannot be the folder of the programs ({error.strerror})') from error
  at, vg = (generator.bundles[kind] for kind in ('at', 'vg'))
  front_end = generator.at.front_end
  around = (front_end.past, front_end.ahead) if front_end.takes_sound else (0, 0)  # windows of features hold theirs
  carries: dict[str, list[int | str]] = {}
  options = {
    'made_by': f'atvg_jax {atvg_jax.__version__}',
    'exported': datetime.date.today().isoformat(),
    'jax': jax.__version__,
    'platforms': PLATFORMS,
    'fps': features.FPS,
    'sample_rate': features.SAMPLE_RATE,
    'image_size': features.IMAGE_SIZE,
    'exaggeration': float(generator.normalisation.exaggeration),
    'audio': {'front_end': front_end.name, 'past': around[0], 'ahead': around[1]},
    'carry': carries,
    'weights': {kind: describe(bundle) for kind, bundle in generator.bundles.items()},
  }
  for kind, (program, carry) in (('at', at_program(at)), ('vg', vg_program(vg))):
    content = program.serialize()
    with atomic_files.atomic_write(folder / f'{kind}.stablehlo', 'wb') as file:
      file.write(content)
    carries[kind] = carry
    print(f'{folder / f"{kind}.stablehlo"}: {len(content) / 1e6:.1f} MB')
  with atomic_files.atomic_write(folder / 'basis.npz', 'wb') as file:
    np.savez(file, **generator.basis._asdict())
  with atomic_files.atomic_write(folder / 'options.json') as file:  # the last: now the folder is whole
    file.write(json.dumps(options, indent=1) + '\n')


def at_program(bundle: Bundle) -> tuple[jax_export.Exported, list[int | str]]:
  """AT-net as a program, with its front end where that takes sound, and the shape of its carry."""
  net, front_end = models.make_net(bundle.config), front_ends.of(bundle.config)
  variables, run_net = streaming.at_variables(bundle, front_end), streaming.at_apply(net, front_end)
  carry: list[int | str] = [*net.carry_shape('batch')]

  def apply(example_coefficients, inputs, carry):
    if front_end.takes_sound:
      inputs = inputs.reshape(inputs.shape[0], -1)  # [B, T, 640] → [B, 640 T]
    outputs = run_net(variables, example_coefficients, inputs, carry)
    return outputs['coefficients'], outputs['carry'].astype(jnp.float32)

  assert bundle.basis is not None, "AT-net's weights hold its landmark basis"
  shape = (features.SAMPLES_PER_FRAME,) if front_end.takes_sound else front_end.shape
  return _export(apply, ('batch', len(bundle.basis.components)), ('batch', 'time', *shape), carry), carry


def vg_program(bundle: Bundle) -> tuple[jax_export.Exported, list[int | str]]:
  """VG-net as a program, and the shape of its carry."""
  net = models.make_net(bundle.config)
  variables = {'params': bundle.params, 'batch_stats': bundle.batch_stats}
  size = features.IMAGE_SIZE
  carry: list[int | str] = ['batch', size // 16, size // 16, net.recurrent_features]

  def apply(example_image, example_landmarks, landmarks, carry):
    outputs = net.apply(variables, example_image, example_landmarks, landmarks, train=False, carry=carry)
    outputs = postprocessing.finish(outputs, example_landmarks, landmarks, **bundle.config['generation'])
    return outputs['video'], outputs['carry'].astype(jnp.float32)

  points = features.LANDMARK_SIZE
  return _export(apply, ('batch', size, size, 3), ('batch', points), ('batch', 'time', points), carry), carry


def _export(function: Any, *shapes: Sequence[int | str]) -> jax_export.Exported:
  """Lowers for all platforms; names in shapes are sizes that are known when the program runs."""
  scope = jax_export.SymbolicScope()
  arguments = [
    jax.ShapeDtypeStruct(jax_export.symbolic_shape(', '.join(map(str, shape)), scope=scope), jnp.float32)
    for shape in shapes
  ]
  return jax_export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
