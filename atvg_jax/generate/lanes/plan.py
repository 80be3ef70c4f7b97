"""`atvg plan --generate`: the memory and the roofline of generation in lanes on TPUs, without the TPU.

The programs that draw a window of all lanes are compiled for a slice's topology, as `train.plan` does with a training
step.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.checkpoints import weights
from atvg_jax.generate import streaming
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.lanes.lane_functions import LaneFunctions
from atvg_jax.runtime import flops, parallel
from atvg_jax.train import plan
from data_pipelines import features
from data_pipelines.errors import InputError

_GIB = 2**30


class Nets(NamedTuple):
  """Which nets, and how they compute."""

  weights: tuple[str, ...]
  published: bool  # VG-net of the published widths, whose numbers do not matter
  dtype: str

  @property
  def name(self) -> str:
    """For tables."""
    kind = 'published widths' if self.published else ' '.join(self.weights) or 'packaged'
    return f'{kind}, {self.dtype}'


def run(argv: list[str]) -> None:
  """The command.

  Raises:
    InputError: bad options or weights, there is no such slice, or no compiler.
  """
  parser = argparse.ArgumentParser(prog='atvg plan --generate', description=__doc__)
  parser.add_argument('--generate', action='store_true', required=True)
  parser.add_argument('--topology', default='v5e:2x2', help='the slice, such as v5e:2x2 or v6e:2x4')
  parser.add_argument('--lanes', type=int, default=32, help='clips that a device draws at a time')
  parser.add_argument('--weights', nargs='+', default=[], metavar='PATH', help='as of atvg generate')
  parser.add_argument('--published-size', action='store_true', help='VG-net of the published widths instead')
  parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32', help='that VG-net computes in')
  arguments = parser.parse_args(argv)
  if arguments.lanes < 1:
    raise InputError(f'--lanes={arguments.lanes}: give 1 or more')
  jax.config.update('jax_platforms', 'cpu')  # no accelerator of this machine is needed
  where = plan.Slice(arguments.topology)
  nets = Nets(tuple(arguments.weights), arguments.published_size, arguments.dtype)
  weights.load_nets(nets.weights)  # before the compiler: people should not wait for a misspelt name
  print(f'{where.name}: compiling generation in {arguments.lanes} lanes a device takes minutes', flush=True)
  first, second = (plan.apart(compile_programs, where, nets, arguments.lanes * times) for times in (1, 2))
  if first is None:
    raise InputError(f'{arguments.lanes} lanes do not fit on {where.name}: give --lanes a smaller number')
  print(report(where, nets, first, second))


def compile_programs(topology: str, nets: Nets, lanes: int) -> plan.Program | None:
  """What both nets need together for a window of all lanes; None where it does not fit into memory."""
  jax.config.update('jax_platforms', 'cpu')
  where = plan.Slice(topology)
  at, vg = weights.load_nets(nets.weights)
  generator = Generator(at, published_size(vg) if nets.published else vg)
  generator.vg = streaming.VgStream(generator.bundles['vg'], nets.dtype, backend='tpu')
  functions = LaneFunctions(generator, streaming.ACCELERATORS_WINDOW)
  programs = []
  for function, arguments, donate in _arguments(functions, lanes):
    operations = flops.count(function, *arguments, platform='tpu')
    several = [jax.tree.map(lambda array: _times(array, len(where.devices)), tree) for tree in arguments[1:]]
    spread = parallel.on_lanes(function, len(several), donate=donate, devices=where.devices)
    program = where.compiled(spread, (arguments[0], *several), lanes, operations)
    if program is None:
      return None
    programs.append(program)
  predict, draw = programs
  predict = _of_a_window(predict, functions)
  return predict._replace(
    arguments=predict.arguments + draw.arguments,
    temporaries=max(predict.temporaries, draw.temporaries),
    **{name: getattr(predict, name) + getattr(draw, name) for name in ('code', 'operations', 'accessed', 'seconds')},
  )


def published_size(vg: weights.Bundle) -> weights.Bundle:
  """A VG-net of the published widths, of zeros."""
  from atvg_jax import models
  from configs import common

  config = common.base('vg').to_dict()
  points = np.zeros((1, features.LANDMARK_SIZE), np.float32)
  image = np.zeros((1, features.IMAGE_SIZE, features.IMAGE_SIZE, 3), np.float32)
  shapes = jax.eval_shape(
    lambda: models.make_net(config).init(jax.random.key(0), image, points, points[:, None], train=False)
  )
  zeros = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), shapes)
  return vg._replace(config=config, params=zeros['params'], batch_stats=zeros['batch_stats'])


class _Step(NamedTuple):
  """A function of one device."""

  function: Callable[..., Any]
  arguments: list[Any]  # their shapes
  donate: tuple[int, ...]  # positions of arguments whose memory the results take


def _arguments(functions: LaneFunctions, lanes: int) -> list[_Step]:
  """AT-net's and VG-net's step on one device."""
  states, examples = functions.shapes(lanes, features.IMAGE_SIZE)
  shared = examples.pop('shared')

  def array(*shape: int, dtype: Any = np.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((lanes, *shape), dtype)

  landmarks, flag = array(functions.window, features.LANDMARK_SIZE), array(dtype=bool)
  front_end = functions.at.front_end
  if front_end.takes_sound:
    span = front_end.span(functions.window)
    frames = front_end.past + span + front_end.ahead_of(span)
    sound = array(frames * features.SAMPLES_PER_FRAME)
    predict = _Step(_predict_of_sound(functions), [functions.variables['net'], examples['coefficients'], sound], ())
  else:
    inputs = array(*functions.input_shape())
    predict = _Step(
      functions.predict, [functions.variables, states['at'], examples, inputs, landmarks, flag, flag], (1,)
    )
  draw = _Step(functions.draw, [functions.vg.prepared, states['vg'], shared, landmarks, flag], (1,))
  return [
    step._replace(
      arguments=[
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), step.arguments[0]),
        *step.arguments[1:],
      ]
    )
    for step in (predict, draw)
  ]


def _predict_of_sound(functions: LaneFunctions) -> Callable[..., jax.Array]:
  """AT-net on a span of the sound of each lane's clip."""

  def predict(variables, coefficients, sound):
    carry = jnp.zeros(functions.at.carry_shape(len(sound)), functions.at.dtype)
    return functions.at.step.function(variables, coefficients, sound, carry)[0]

  return predict


def _of_a_window(predict: plan.Program, functions: LaneFunctions) -> plan.Program:
  """A window's share of what AT-net computes for a span."""
  share = functions.window / functions.at.front_end.span(functions.window)
  return predict._replace(operations=predict.operations * share, accessed=predict.accessed * share)


def _times(array: jax.ShapeDtypeStruct, devices: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((devices * array.shape[0], *array.shape[1:]), array.dtype)


def report(where: plan.Slice, nets: Nets, program: plan.Program, twice: plan.Program | None) -> str:
  """A text of the needs and limits, a line each; `twice` has twice the lanes, None where those do not fit."""
  times = where.times(program)
  step, binds = max(times.values()), max(times, key=times.__getitem__)
  most = f'less than {2 * program.clips}'
  if twice is not None:
    most = f'about {plan.largest_batch(program, twice, where.chip.memory)}, by a straight line'
  rows = [
    ('nets', nets.name),
    ('lanes', f'{program.clips} a device, windows of {streaming.ACCELERATORS_WINDOW} frames'),
    ('memory', f'{program.memory / _GIB:.2f} GiB of {where.chip.memory / _GIB:.2f} GiB a device'),
    ('operations', f'{program.operations / 1e12:.2f} TFLOP a device: {times["compute"] * 1e3:.2f} ms at peak'),
    ('memory traffic', f'{program.accessed / 1e9:.2f} GB a device: {times["memory"] * 1e3:.2f} ms'),
    (
      'roofline',
      f'{step * 1e3:.2f} ms a window, bound by {binds}: at most '
      f'{program.clips * streaming.ACCELERATORS_WINDOW / step:,.0f} frames/s a device',
    ),
    ('most lanes', f'{most} a device'),
    ('compiled in', f'{program.seconds:.0f} s'),
  ]
  return '\n'.join(f'{name:<16}{text}' for name, text in rows)
