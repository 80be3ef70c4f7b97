"""Every process finds the same shares, as long as each other, and helps the others after its own."""

import shutil

import numpy as np

from atvg_jax.generate import demo
from atvg_jax.generate.lanes import sharing
from atvg_jax.generate.lanes.usage import Usage
from atvg_jax.generate.video_maker import Job
from data_pipelines import work_shards


def test_shares_are_of_one_length_and_everybody_helps_after_its_own():
  lengths = np.random.default_rng(0).uniform(0.5, 20, 60).tolist()
  shares = sharing.shares(lengths, 3)
  assert sorted(number for share in shares for number in share) == list(range(60))
  loads = [sum(lengths[number] for number in share) for share in shares]
  assert max(loads) - min(loads) < 3
  for place, share in enumerate(shares):
    order = sharing.order(lengths, work_shards.WorkShard(place + 1, 3))
    assert order[: len(share)] == share and sorted(order) == list(range(60))
    assert [lengths[number] for number in share] == sorted((lengths[number] for number in share), reverse=True)
  assert {len(share) for share in sharing.shares([0.0] * 9, 3)} == {3}  # of unknown length


def test_one_process_takes_the_longest_first():
  assert sharing.order([1.0, 3.0, 2.0, 3.0], work_shards.WHOLE) == [1, 3, 2, 0]


def test_lengths_are_those_of_what_is_heard_or_followed(tmp_path):
  speech = demo.speech()
  shutil.copy(demo.portrait(), tmp_path / 'no_sound.wav')
  jobs = [
    Job('face.jpg', 'a.mp4', audio=speech),
    Job('face.jpg', 'b.mp4', audio=str(tmp_path / 'none.wav')),
    Job('face.jpg', 'c.mp4', driving=str(tmp_path / 'no_sound.wav')),
    None,
  ]
  found = sharing.lengths(jobs)
  assert found[0] > 1 and found[1] == 0 and found[3] == 0


def test_usage_tells_what_binds():
  usage = Usage(4)
  usage.draws(4)
  usage.draws(2)
  usage.rests()
  usage.add('reading', 100.0)
  shares = usage.summary()
  assert shares.occupancy == 0.75 and shares.steps == 2 and 0 <= shares.drawing <= 1
  assert shares._replace(drawing=0.2).binds() == 'reading binds'
  assert shares._replace(drawing=0.2, reading=0, writing=1).binds() == 'pasting and encoding bind'
  assert 'lanes 75% full' in shares.sentence() and shares._replace(drawing=0.95).binds() == 'drawing binds'
