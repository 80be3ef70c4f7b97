"""Clips drawn together in lanes equal those drawn alone, whatever their lengths, their order and the devices."""

import gc
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import weakref

import lanes_worker
import numpy as np
import pytest
import random_nets

from atvg_jax.checkpoints import weights
from atvg_jax.generate import demo
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.lanes.item_threads import spread
from atvg_jax.generate.lanes.lanes import Lanes
from atvg_jax.generate.pieces import VideoWindow
from atvg_jax.runtime import program_cache
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader

_WORKER = pathlib.Path(__file__).parents[2] / 'lanes_worker.py'


@pytest.fixture(scope='module')
def generator():
  return Generator(random_nets.bundle('at'), random_nets.bundle('vg'))


def _run(cache=None, **options):
  """What lanes_worker.py says; compiled programs are kept in `cache`, or where all tests keep theirs."""
  flags = []
  for name, value in options.items():
    flags += [f'--{name}', *map(str, value if isinstance(value, tuple) else (value,))]
  environment = os.environ | ({} if cache is None else {'JAX_COMPILATION_CACHE_DIR': str(cache)})
  run = subprocess.run([sys.executable, _WORKER, *flags], capture_output=True, text=True, check=False, env=environment)
  assert run.returncode == 0, run.stderr
  return json.loads(run.stdout.splitlines()[-1])


def test_on_several_devices_lanes_draw_what_one_clip_alone_is():
  figures = _run(devices=4, lanes=2, clips=20, seconds=(0.06, 1), order=1, check=1)
  assert figures['worst'] <= 1 and figures['programs'] <= 6


@pytest.mark.slow
@pytest.mark.parametrize('order', [None, 3])
@pytest.mark.parametrize('devices, lanes', [(1, 3), (8, 4)])
def test_sixty_clips_keep_the_lanes_full_with_few_compilations(tmp_path, devices, lanes, order):
  options = {'devices': devices, 'lanes': lanes, 'check': 1} | ({} if order is None else {'order': order})
  figures = _run(tmp_path / 'cache', **options)
  assert figures['worst'] <= 1 and figures['compiled'] <= 6
  if order is None:
    assert figures['occupancy'] >= 0.92
  assert _run(tmp_path / 'cache', **options | {'check': 60})['compiled'] == 0


@pytest.mark.slow
@pytest.mark.parametrize('at', ['speech', 'mfcc'])
def test_the_packaged_nets_draw_the_same_in_lanes(at):
  heard = os.path.join(os.path.dirname(weights.packaged_weights('at')), weights.NAMED[at])
  figures = _run(devices=2, lanes=2, clips=6, check=1, at=heard, vg=weights.packaged_weights('vg'), window=8)
  assert figures['worst'] <= 1


def test_pairs_of_arrays_come_out_as_called_one_by_one(generator):
  image = video_reader.read_image(demo.portrait())
  speech = lanes_worker.sounds(3, 0.3, 2.5)
  pairs = [(image, speech[0]), (np.zeros_like(image), speech[0]), (image, speech[1]), (image, speech[2])]
  made = dict(generator.many(iter(pairs), lanes=2))
  assert sorted(made) == [0, 1, 2, 3] and isinstance(made[1], InputError) and 'face' in str(made[1])
  for number in (0, 2, 3):
    alone = generator(*pairs[number])
    assert made[number].shape == alone.shape and np.abs(made[number].astype(int) - alone).max() <= 1


def test_no_more_pairs_are_taken_than_are_worked_on(generator):
  image, (speech,) = video_reader.read_image(demo.portrait()), lanes_worker.sounds(1, 0.2, 0.2)
  taken = []

  def pairs():
    for number in range(40):
      taken.append(number)
      yield image, speech

  made = generator.many(pairs(), lanes=2)
  next(made)
  assert len(taken) <= 5
  made.close()


def _video_windows(seed):
  """Three windows of two frames."""
  rng = np.random.default_rng(seed)
  rest = lanes_worker.portraits(1)[0].landmarks
  for _ in range(3):
    seen, drawn = (rest + rng.normal(size=(2, 2, len(rest))) * 0.02).astype(np.float32)
    yield VideoWindow(rng.integers(0, 256, (2, 128, 128, 3), np.uint8), seen, drawn)


def test_videos_and_pictures_share_the_lanes(generator):
  face, (speech,) = lanes_worker.portraits(1)[0], lanes_worker.sounds(1, 1.0, 1.0)

  def clip(number, drawer):
    if number % 2:
      return np.concatenate([piece.frames for piece in drawer.speak(face, speech, 4)])
    return np.concatenate(list(drawer.redraw(_video_windows(number))))

  with Lanes(generator, 3, window=4) as lanes:
    together = dict(spread(lambda number: clip(number, lanes), range(6), lanes.num_threads, lanes.stop))
    assert not list(lanes.redraw(iter([])))
  for number in range(6):
    alone = clip(number, generator)
    assert together[number].shape == alone.shape == ((25, 6)[number % 2 == 0], 128, 128, 3)
    assert np.abs(together[number].astype(int) - alone).max() <= 1 < alone.std()


def test_closed_lanes_leave_no_thread_and_what_is_compiled_stays_as_long_as_the_nets(monkeypatch):
  nets = Generator(random_nets.bundle('at'), random_nets.bundle('vg'))
  with Lanes(nets, 2, window=4) as lanes:
    first = np.concatenate(list(lanes.redraw(_video_windows(0))))
  programs, compiled = weakref.ref(lanes._programs), weakref.ref(lanes._programs._compiled)
  del lanes
  gc.collect()
  assert programs() is None and 'lanes' not in {thread.name for thread in threading.enumerate()}
  monkeypatch.delattr(program_cache.Program, '_load')  # the next lanes need none
  with Lanes(nets, 2, window=4) as lanes:
    np.testing.assert_array_equal(np.concatenate(list(lanes.redraw(_video_windows(0)))), first)
  del lanes, nets
  gc.collect()
  assert compiled() is None


def test_a_clip_that_is_left_gives_its_lane_to_the_next(generator):
  face, (long, short) = lanes_worker.portraits(1)[0], lanes_worker.sounds(2, 0.2, 3.0)
  with Lanes(generator, 2, window=4) as lanes:
    pieces = lanes.speak(face, long)
    next(pieces)
    pieces.close()
    after = np.concatenate([piece.frames for piece in lanes.speak(face, short)])
  alone = np.concatenate([piece.frames for piece in generator.speak(face, short, 4)])
  assert np.abs(after.astype(int) - alone).max() <= 1


def test_a_clip_whose_sound_is_late_holds_up_the_others_for_a_while_only(generator, monkeypatch):
  from atvg_jax.generate.lanes import lanes as module

  monkeypatch.setattr(module, '_PATIENCE', 0.1)
  face, (speech,) = lanes_worker.portraits(1)[0], lanes_worker.sounds(1, 1.0, 1.0)
  others_are_done = threading.Event()

  def late():
    yield speech[:9000]
    assert others_are_done.wait(60)
    yield speech[9000:]

  with Lanes(generator, 2, window=4) as lanes:

    def draw(number):
      frames = [piece.frames for piece in lanes.speak(face, late() if number == 0 else speech)]
      if number == 3:
        others_are_done.set()
      return np.concatenate(frames)

    made = dict(spread(draw, range(4), lanes.num_threads, lanes.stop))
  for number in range(1, 4):
    # Its state waited with it. Lanes are one program's batch, whose places may round differently.
    assert np.abs(made[0].astype(int) - made[number]).max() <= 1


def test_lanes_are_taken_in_turn_not_by_who_opens_first(generator):
  face, (speech,) = lanes_worker.portraits(1)[0], lanes_worker.sounds(1, 0.3, 0.3)
  begun, drawn = [threading.Event() for _ in range(3)], []

  def draw(number):
    for earlier in begun[:number]:
      assert earlier.wait(60)
    with lanes.at_work():
      begun[number].set()
      assert begun[2].wait(60)
      if number == 0:
        time.sleep(0.3)  # the others have opened theirs
      for piece in lanes.speak(face, speech):
        if number not in drawn:
          drawn.append(number)
        del piece

  with Lanes(generator, 1, window=4) as lanes:
    list(spread(draw, range(3), lanes.num_threads, lanes.stop))
  assert drawn == [0, 1, 2]


def test_what_ends_the_drawing_ends_every_clip(generator, monkeypatch):
  face, (speech,) = lanes_worker.portraits(1)[0], lanes_worker.sounds(1, 1.0, 1.0)
  with Lanes(generator, 2, window=4) as lanes:
    monkeypatch.setattr(lanes._programs, 'draw', lambda *_, **__: (_ for _ in ()).throw(OSError('the device is gone')))
    with pytest.raises(OSError, match='gone'):
      list(lanes.speak(face, speech))
    with pytest.raises(OSError, match='gone'):
      list(lanes.speak(face, speech))
  with pytest.raises(InputError, match='lanes=0'):
    Lanes(generator, 0)


def test_maps_come_for_those_who_want_them(generator):
  face, (speech,) = lanes_worker.portraits(1)[0], lanes_worker.sounds(1, 0.4, 0.4)
  alone = list(generator.speak(face, speech, 4, True))
  with Lanes(generator, 2, window=4) as lanes:
    together = dict(spread(lambda maps: list(lanes.speak(face, speech, maps=maps)), [True, False], 2, lanes.stop))
  assert not together[1][0].maps
  for one, other in zip(alone, together[0], strict=True):
    np.testing.assert_allclose(one.landmarks, other.landmarks, atol=1e-5)
    for name, frames in [('frames', other.frames), *other.maps.items()]:
      mine = one.frames if name == 'frames' else one.maps[name]
      assert np.abs(mine.astype(int) - frames).max() <= 1
