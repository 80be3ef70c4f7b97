"""The score of pauses: little for the packaged net on the speech encoder, and a table of all conditions."""

import numpy as np
from demo_samples import demo_speech

from atvg_jax.checkpoints import weights
from atvg_jax.evaluate import silence
from atvg_jax.generate.generator import Generator


def test_the_mouth_rests_in_pauses(monkeypatch):
  monkeypatch.setattr(silence, 'CONDITIONS', (('hum', -50),))
  generator = Generator(*weights.load_nets(['speech']))
  made = silence.scores(generator, [demo_speech(), demo_speech()])
  assert list(made) == ['digital silence', 'hum, -50 dB']
  assert np.abs(np.array(list(made.values()))).max() < 0.2
  assert silence.table(made).count('\n') == 3
