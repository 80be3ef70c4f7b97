"""Our nets give the published nets' answers: forward, in evaluation mode."""

import functools

import golden_recipe as golden
import jax
import numpy as np
import pytest

from atvg_jax.convert import torch_weights
from atvg_jax.models.at_net import AtNet, AtSingle
from atvg_jax.models.discriminator import RegressionDiscriminator
from atvg_jax.models.vg_net import VgNet


def _answer(net, name, *inputs):
  variables = torch_weights.convert(net, golden.state_dict(name))
  return jax.jit(functools.partial(net.apply, train=False))(variables, *inputs)


def test_at_net_gives_published_coefficients():
  outputs = _answer(
    AtNet(),
    'at_net',
    golden.inputs('at_net/example_pca', (2, 6), 1),
    golden.inputs('at_net/mfcc', (2, 5, 28, 12), 5),
  )
  golden.assert_close(outputs['coefficients'], golden.answers()['at_net/out'])


def test_at_single_gives_published_coefficients():
  mfcc = golden.inputs('at_single/mfcc', (3, 28, 12), 5)
  outputs = _answer(AtSingle(), 'at_single', np.zeros((3, 6), np.float32), mfcc[:, None])
  golden.assert_close(outputs['coefficients'][:, 0], golden.answers()['at_single/out'])


@pytest.mark.parametrize(('tag', 'batch', 'time'), [('vg_net_b1', 1, 4), ('vg_net_b3', 3, 2)])
def test_vg_net_gives_published_pictures(tag, batch, time):
  outputs = _answer(
    VgNet(recurrence='batch'),
    'vg_net',
    golden.channels_last(golden.inputs(f'{tag}/image', (batch, 3, 128, 128), 0.5)),
    golden.inputs(f'{tag}/example_landmarks', (batch, 136), 1),
    golden.inputs(f'{tag}/landmarks', (batch, time, 136), 1),
  )
  answers = golden.answers()
  for name in ('video', 'attention', 'color', 'landmark_attention'):
    golden.assert_close(np.moveaxis(outputs[name], -1, -3), answers[f'{tag}/{name}'])


def test_published_widths_recur_over_time_and_carry_their_state():
  """What no golden vector shows: the default recurrence, with the vectors' weights and inputs."""
  net = VgNet()
  variables = torch_weights.convert(net, golden.state_dict('vg_net'))
  image = golden.channels_last(golden.inputs('vg_net_b1/image', (1, 3, 128, 128), 0.5))
  example = golden.inputs('vg_net_b1/example_landmarks', (1, 136), 1)
  landmarks = golden.inputs('vg_net_b1/landmarks', (1, 4, 136), 1)
  carry = np.zeros((1, 8, 8, 512), np.float32)
  apply = jax.jit(functools.partial(net.apply, train=False))

  def run(landmarks):
    windows, state = [], carry
    for window in np.split(landmarks, 2, axis=1):
      outputs = apply(variables, image, example, window, carry=state)
      windows.append(outputs['video'])
      state = outputs['carry']
    return np.concatenate(windows, axis=1)

  whole = np.asarray(apply(variables, image, example, landmarks, carry=carry)['video'])
  windowed = run(landmarks)
  np.testing.assert_allclose(windowed, whole, atol=1e-5)
  changed = landmarks.copy()
  changed[:, 1] += 1
  by_frame = np.abs(run(changed) - windowed).max(axis=(0, 2, 3, 4))
  assert by_frame[0] == 0 and (by_frame[1:] > 1e-3).all()


def test_discriminator_gives_published_probability_and_landmarks():
  video = golden.inputs('disc/video', (2, 16, 3, 128, 128), 0.5)
  outputs = _answer(
    RegressionDiscriminator(),
    'discriminator',
    golden.channels_last(video),
    golden.inputs('disc/example_landmarks', (2, 136), 0.4),
  )
  golden.assert_close(jax.nn.sigmoid(outputs['logits']), golden.answers()['disc/prob'])
  golden.assert_close(outputs['landmarks'], golden.answers()['disc/landmarks'])
