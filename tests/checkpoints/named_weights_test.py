"""The AT-nets that are packaged under names."""

import os

import jax
import numpy as np
import pytest
from demo_samples import demo_speech

from atvg_jax import landmarks as lm
from atvg_jax.audio import front_ends
from atvg_jax.checkpoints import weights
from atvg_jax.generate import streaming


@pytest.mark.parametrize('name', ['speech', 'free'])
def test_they_load_by_name_and_say_what_they_are(name):
  at, vg = weights.load_nets([name])
  assert vg.provenance['name'] == 'vg_small.npz'
  assert front_ends.of(at.config).takes_sound
  assert ('CC BY 4.0' if name == 'free' else 'research') in at.provenance['licence']
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((at.params, at.batch_stats)))


@pytest.mark.parametrize('kind', ['at', 'vg'])
def test_the_packaged_nets_are_a_starting_point_by_name(kind):
  start = weights.starting_point('packaged', kind)
  assert start.kind == kind and start.config == weights.load(weights.packaged_weights(kind)).config


def test_the_default_is_the_speech_encoder_and_mfcc_has_a_name():
  default = weights.load_nets(None)[0]
  assert default.provenance['name'] == os.path.basename(weights.packaged_weights('at')) == 'at_speech.npz'
  mfcc = weights.load_nets(['mfcc'])[0]
  assert mfcc.provenance['name'] == 'at_small.npz' and not front_ends.of(mfcc.config).takes_sound


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
  weights.save(str(tmp_path / 'free'), weights.load_nets(['speech'])[0])
  monkeypatch.chdir(tmp_path)
  assert 'research' in weights.load_nets(['free'])[0].provenance['licence']


def test_the_mouth_opens_in_speech_and_rests_in_silence():
  at, _ = weights.load_nets(None)
  stream = streaming.AtStream(at)
  sound = np.concatenate([np.zeros(32_000, np.float32), demo_speech()])
  pieces = stream(np.zeros((1, 6), np.float32), streaming.at_inputs([sound], stream.front_end), streaming.WINDOW)
  gaps = np.concatenate(list(pieces), axis=1)[0] @ lm.mouth_gap(at.basis.components * at.basis.scale)
  assert gaps[:40].std() < 0.1 * gaps[55:].std() and abs(gaps[:40].mean()) < 0.15 * gaps[55:].mean()


def test_packaged_files_are_small():
  assets = os.path.dirname(weights.packaged_weights('at'))
  assert sum(entry.stat().st_size for entry in os.scandir(assets)) < 25e6
