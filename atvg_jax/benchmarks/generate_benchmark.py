"""Generation: frames a second, time to the first frame, peak memory, and the share of the matrix-product rate."""

import argparse
import functools
import os
import resource
import sys
import tempfile
import time
import wave
from typing import Any

import jax
import numpy as np

from atvg_jax import models
from atvg_jax.checkpoints import weights
from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.generate import demo, streaming, video_maker
from atvg_jax.runtime import flops
from configs import common
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio

_CLIP_SECONDS = 25.0  # of speech, for the run with files


def run(argv: list[str]) -> None:
  """Draws synthetic landmarks, then makes a video of real files, and prints a table.

  Raises:
    InputError: bad options or weights.
  """
  parser = argparse.ArgumentParser(prog='atvg benchmark generate', description=__doc__)
  parser.add_argument(
    '--weights', nargs='+', metavar='PATH', help='weights of AT-net and of VG-net (default: the packaged ones)'
  )
  parser.add_argument(
    '--published-size', action='store_true', help='a VG-net of the published widths with random weights, without files'
  )
  parser.add_argument('--window', type=int, default=streaming.WINDOW, help='frames at a time')
  parser.add_argument('--batch-size', type=int, default=1, help='clips at a time')
  parser.add_argument('--windows', type=int, default=6, help='how many to draw')
  parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
  parser.add_argument('--plain', action='store_true', help="the backend's own convolutions, for comparison")
  arguments = parser.parse_args(argv)
  if min(arguments.window, arguments.batch_size, arguments.windows) < 1:
    raise InputError('--window, --batch-size and --windows must be 1 or more')
  bundle = random_bundle() if arguments.published_size else load_nets(arguments.weights)[1]
  table = measure(
    bundle,
    window=arguments.window,
    batch_size=arguments.batch_size,
    windows=arguments.windows,
    dtype=arguments.dtype,
    backend='plain' if arguments.plain else None,
  )
  if not arguments.published_size:
    table |= measure_files(arguments.weights)
  table['peak memory, MB'] = peak_memory()
  for name, value in table.items():
    print(f'{name:<44}{value:,.2f}')


def random_bundle(**model: Any) -> weights.Bundle:
  """A VG-net of the published widths whose weights are random; `model`: fields of its config."""
  config = common.base('vg').to_dict()
  config['model'] |= model
  net = models.make_net(config)
  points = np.zeros((1, features.LANDMARK_SIZE), np.float32)
  image = np.zeros((1, features.IMAGE_SIZE, features.IMAGE_SIZE, 3), np.float32)
  shapes = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), image, points, points[:, None])
  rng = np.random.default_rng(0)

  def numbers(path: Any, leaf: Any) -> np.ndarray:
    if path[-1].key in ('scale', 'var'):
      return np.ones(leaf.shape, np.float32)
    fan_in = max(1, int(np.prod(leaf.shape[:-1])))
    scale = 0.1 if len(leaf.shape) == 1 else (2 / fan_in) ** 0.5
    return rng.standard_normal(leaf.shape, np.float32) * np.float32(scale)

  variables = jax.tree.map_with_path(numbers, shapes)
  return weights.Bundle('vg', config, variables['params'], variables['batch_stats'], None, {})


def operations(config: Any, params: Any) -> float:
  """Multiplications and additions a frame of all that depends on a frame.

  Every convolution counts as a direct one over its whole input, as the published network computes it; a transposed
  one by its 3x3 taps, without the holes. Nothing else counts, and how it is computed here does not matter.
  """
  net = models.make_net(config)

  def kernels(name: str) -> list[tuple[int, ...]]:
    return [
      np.shape(leaf)
      for path, leaf in jax.tree_util.tree_leaves_with_path(params)
      if path[0].key == name
      and path[-1].key.endswith('kernel')
      and np.ndim(leaf) == 4
      and (path[-1].key != 'hidden_kernel' or net.recurrence == 'time')
    ]

  deep = (features.IMAGE_SIZE // 16) ** 2
  cells = {'landmark_conv': deep, 'landmark_feature': deep, 'bottleneck': deep, 'gru': deep}
  cells |= {f'residual{index}': deep for index in range(net.residual_blocks)}
  cells |= {f'decoder{index}': deep * 4**index for index in range(len(net.decoder_features))}
  if net.attention:
    cells |= {f'landmark_attention{index}': deep * 4**index for index in range(3)}
  cells |= {f'upsample{index}': deep * 4 ** (2 + index) for index in range(len(net.upsample_features))}
  cells['heads'] = deep * 4 ** (2 + len(net.upsample_features))
  return float(sum(2 * count * np.prod(shape) for name, count in cells.items() for shape in kernels(name)))


def measure(
  bundle: weights.Bundle,
  *,
  window: int = streaming.WINDOW,
  batch_size: int = 1,
  windows: int = 6,
  dtype: str = 'float32',
  backend: str | None = None,
) -> dict[str, float]:
  """Draws `windows` windows of `batch_size` clips; name with unit → number."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (batch_size, features.IMAGE_SIZE, features.IMAGE_SIZE, 3), np.uint8)
  rest = np.broadcast_to(
    face_alignment.normalise(face_alignment.TEMPLATE), (batch_size, features.LANDMARK_SIZE)
  ).astype(np.float32)
  landmarks = [
    rest[:, None] + rng.normal(scale=0.05, size=(batch_size, window, rest.shape[-1])).astype(np.float32)
    for _ in range(windows)
  ]
  begun = time.perf_counter()
  stream = streaming.VgStream(bundle, dtype=dtype, backend=backend)
  next(stream(image, rest, landmarks[:1]))
  prepared = time.perf_counter()
  peak = flops.matmul_peak(dtype)
  times = [time.perf_counter()]
  for _ in stream(image, rest, landmarks):
    times.append(time.perf_counter())
  peak = max(peak, flops.matmul_peak(dtype))
  frames = batch_size * window
  per_window = np.median(np.diff(times[1:])) if windows > 1 else times[1] - times[0]
  per_frame = operations(bundle.config, bundle.params)
  rate = per_frame * frames / per_window
  return {
    'preparing and compiling, s': prepared - begun,
    'first window of a clip, s': times[1] - times[0] if windows == 1 else _first(stream, image, rest, landmarks[:1]),
    'frames/s': frames / per_window,
    'times real time (25 frames/s)': frames / per_window / features.FPS,
    'GFLOP a frame, direct convolutions': per_frame / 1e9,
    'effective GFLOP/s': rate / 1e9,
    'matmul, GFLOP/s': peak / 1e9,
    'effective rate / matmul rate': rate / peak,
  }


def _first(stream: streaming.VgStream, *inputs: Any) -> float:
  begun = time.perf_counter()
  next(stream(*inputs))
  return time.perf_counter() - begun


def measure_files(paths: list[str] | None) -> dict[str, float]:
  """Makes a video of the demo's portrait and its speech, repeated; name with unit → number."""
  samples = audio.read_audio(demo.speech())
  samples = np.tile(samples, int(np.ceil(_CLIP_SECONDS * features.SAMPLE_RATE / len(samples))))
  samples = samples[: int(_CLIP_SECONDS * features.SAMPLE_RATE)]
  with tempfile.TemporaryDirectory() as folder:
    speech = os.path.join(folder, 'speech.wav')
    write_wav(speech, samples)
    begun = time.perf_counter()
    result = video_maker.generate_video(demo.portrait(), os.path.join(folder, 'out.mp4'), audio=speech, weights=paths)
    took = time.perf_counter() - begun
  return {
    'from files to file, frames/s': result.num_frames / took,
    'from files to file, times real time': result.num_frames / took / features.FPS,
  }


def write_wav(path: str, samples: np.ndarray) -> None:
  """Samples in [-1, 1] at 16 kHz, as 16 bits."""
  with wave.open(path, 'wb') as file:
    file.setparams((1, 2, features.SAMPLE_RATE, len(samples), 'NONE', ''))
    file.writeframes(features.sound_to_int16(samples).astype('<i2').tobytes())


def peak_memory() -> float:
  """What this process has had in memory at most, in MB."""
  usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return usage / (1e6 if sys.platform == 'darwin' else 1e3)
