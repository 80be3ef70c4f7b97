"""The published nets in PyTorch, made from the facts that are published of them, and one step of their game.

What they answer to the recipe's weights and inputs is what `tests/golden/` holds. As a script it writes golden vectors
for another seed:

    ATVG_GOLDEN_SEED=7 python tests/torch_nets.py DIR
    ATVG_GOLDEN_SEED=7 ATVG_GOLDEN_DIR=DIR pytest tests/golden_test.py tests/golden_step_test.py
"""

import itertools
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import golden_recipe as golden
import numpy as np
import torch
from torch import nn
from torch.nn import functional

_MOUTH_Y = slice(2 * 48 + 1, 2 * 68, 2)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, norm: bool = True, pad: int = 1) -> nn.Module:
  layers = [nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=not norm)]
  return nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU(True))


def _up(inputs: int, outputs: int, *, bias: bool = False) -> list[nn.Module]:
  return [
    nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=bias),
    nn.BatchNorm2d(outputs),
    nn.ReLU(True),
  ]


def _dense(*sizes: int, last_relu: bool = True) -> nn.Sequential:
  layers = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU(True))]
  return nn.Sequential(*(layers if last_relu else layers[:-1]))


def _frame_by_frame(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
  """[B, T, C], as published: on all frames at once, the last bits would differ."""
  return torch.stack([layer(frame) for frame in x.unbind(1)], 1)


def _audio_encoder(*, norm: bool) -> nn.Sequential:
  return nn.Sequential(
    _conv(1, 64, norm=norm),
    _conv(64, 128, norm=norm),
    nn.MaxPool2d(3, (1, 2)),
    _conv(128, 256, norm=norm),
    _conv(256, 256, norm=norm),
    _conv(256, 512, norm=norm),
    nn.MaxPool2d(3, 2),
  )


class AtNet(nn.Module):
  def __init__(self):
    super().__init__()
    self.lmark_encoder = _dense(6, 256, 512)
    self.audio_eocder = _audio_encoder(norm=True)
    self.audio_eocder_fc = _dense(12288, 2048, 256)
    self.lstm = nn.LSTM(768, 256, 3, batch_first=True)
    self.lstm_fc = _dense(256, 6, last_relu=False)

  def forward(self, example, mfcc):
    example = self.lmark_encoder(example)
    heard = [self.audio_eocder_fc(self.audio_eocder(frame[:, None]).flatten(1)) for frame in mfcc.unbind(1)]
    states = self.lstm(torch.stack([torch.cat([example, frame], 1) for frame in heard], 1))[0]
    return _frame_by_frame(self.lstm_fc, states)


class AtSingle(nn.Module):
  def __init__(self):
    super().__init__()
    self.audio_eocder = _audio_encoder(norm=False)
    self.audio_eocder_fc = _dense(12288, 2048, 256, 6, last_relu=False)

  def forward(self, mfcc):
    return self.audio_eocder_fc(self.audio_eocder(mfcc[:, None]).flatten(1))


class _Residual(nn.Module):
  def __init__(self, features: int):
    super().__init__()

    def conv():
      return nn.Conv2d(features, features, 3, 1, 1, bias=False)

    def norm():
      return nn.BatchNorm2d(features)

    self.conv_block = nn.Sequential(conv(), norm(), nn.ReLU(True), nn.Dropout(0.0), conv(), norm())

  def forward(self, x):
    return x + self.conv_block(x)


class _ConvGru(nn.Module):
  def __init__(self, inputs: int, features: int):
    super().__init__()
    for side, channels in (('ih', inputs), ('hh', features)):
      self.register_parameter(f'weight_{side}_l0', nn.Parameter(torch.zeros(3 * features, channels, 3, 3)))
      self.register_parameter(f'bias_{side}_l0', nn.Parameter(torch.zeros(3 * features)))

  def forward(self, x):
    """[B, T, C, H, W], recurring over B: as published."""
    state = x.new_zeros(x.shape[1], self.weight_hh_l0.shape[1], *x.shape[3:])
    states = []
    for frame in x:
      inputs, hidden = (
        functional.conv2d(
          value, getattr(self, f'weight_{side}_l0'), getattr(self, f'bias_{side}_l0'), padding=2, dilation=2
        ).chunk(3, 1)
        for value, side in ((frame, 'ih'), (state, 'hh'))
      )
      reset, update = (torch.sigmoid(inputs[gate] + hidden[gate]) for gate in range(2))
      new = torch.tanh(inputs[2] + reset * hidden[2])
      state = new + update * (state - new)
      states.append(state)
    return torch.stack(states)


class VgNet(nn.Module):
  def __init__(self, recurrence: str = 'batch'):
    """`recurrence`: over the 'batch', as published, or over 'time'."""
    super().__init__()
    self.over_time = recurrence == 'time'
    self.image_encoder1 = nn.Sequential(
      nn.ReflectionPad2d(3), _conv(3, 64, 7, pad=0), _conv(64, 64, stride=2), _conv(64, 128, stride=2)
    )
    self.image_encoder2 = nn.Sequential(_conv(128, 256, stride=2), _conv(256, 512, stride=2))
    self.landmark_encoder = _dense(136, 64)
    self.landmark_encoder_stage2 = nn.Sequential(_conv(1, 256))
    self.lmark_att = nn.Sequential(
      *_up(512, 256, bias=True), *_up(256, 128, bias=True), nn.Sequential(nn.Conv2d(128, 1, 3, 1, 1), nn.Sigmoid())
    )
    self.lmark_feature = nn.Sequential(_conv(256, 512))
    self.generator1 = nn.Sequential(*(_Residual(512) for _ in range(9)), *_up(512, 256), *_up(256, 128))
    self.base = nn.Sequential(*_up(128, 64), *_up(64, 32))
    self.generator_color = nn.Sequential(nn.Conv2d(32, 3, 7, 1, 3), nn.Tanh())
    self.generator_attention = nn.Sequential(nn.Conv2d(32, 1, 7, 1, 3), nn.Sigmoid())
    self.bottle_neck = nn.Sequential(_conv(1024, 128))
    self.convGRU = _ConvGru(128, 512)

  def forward(self, image, example_landmarks, landmarks):
    middle = self.image_encoder1(image)
    deep = self.image_encoder2(middle)

    def landmark_map(points):
      return self.landmark_encoder_stage2(self.landmark_encoder(points).view(-1, 1, 8, 8))

    example = landmark_map(example_landmarks)
    example_feature = self.lmark_feature(example)
    mixes, inputs = [], []
    outputs = {'video': [], 'attention': [], 'color': [], 'landmark_attention': mixes}
    for points in landmarks.unbind(1):
      frame = landmark_map(points)
      mixes.append(self.lmark_att(torch.cat([frame, example], 1)))
      inputs.append(self.bottle_neck(torch.cat([deep, self.lmark_feature(frame) - example_feature], 1)))
    states = (
      self.convGRU(torch.stack(inputs)).unbind() if self.over_time else self.convGRU(torch.stack(inputs, 1)).unbind(1)
    )
    for mix, state in zip(mixes, states, strict=True):
      x = self.base(middle * (1 - mix) + self.generator1(state) * mix)
      color, attention = self.generator_color(x), self.generator_attention(x)
      outputs['video'].append(attention * color + (1 - attention) * image)
      outputs['color'].append(color)
      outputs['attention'].append(attention)
    return {name: torch.stack(frames, 1) for name, frames in outputs.items()}


class Discriminator(nn.Module):
  def __init__(self):
    super().__init__()
    self.image_encoder_dis = nn.Sequential(
      _conv(3, 64, stride=2, norm=False), _conv(64, 128, stride=2), _conv(128, 256, stride=2), _conv(256, 512, stride=2)
    )
    self.encoder = _dense(136, 256, 512)
    self.decoder = _dense(1024, 512, 136, last_relu=False)  # unused, as published
    self.img_fc = _dense(32768, 512)
    self.lstm = nn.LSTM(1024, 256, 3, batch_first=True)
    self.lstm_fc = nn.Sequential(nn.Linear(256, 136), nn.Tanh())
    self.decision = _dense(256, 1, last_relu=False)

  def forward(self, video, example_landmarks):
    example = self.encoder(example_landmarks)
    seen = [torch.cat([example, self.img_fc(self.image_encoder_dis(frame).flatten(1))], 1) for frame in video.unbind(1)]
    states = self.lstm(torch.stack(seen, 1))[0]
    probability = torch.sigmoid(_frame_by_frame(self.decision, states).mean(1))[:, 0]
    return probability, example_landmarks[:, None] + _frame_by_frame(self.lstm_fc, states)


NETS = {'at_net': AtNet, 'at_single': AtSingle, 'vg_net': VgNet, 'discriminator': Discriminator}


def _net(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> nn.Module:
  net = NETS[name](**options)
  net.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in golden.state_dict(name).items()})
  return net.to(dtype)


def _inputs(name: str, shape: tuple[int, ...], scale: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
  return torch.from_numpy(golden.inputs(name, shape, scale)).to(dtype)


@torch.no_grad()
def evaluate() -> dict[str, np.ndarray]:
  """All answers in evaluation mode, as `reference_N.npz` has them."""
  answers = {
    'at_net/out': _net('at_net').eval()(
      _inputs('at_net/example_pca', (2, 6), 1), _inputs('at_net/mfcc', (2, 5, 28, 12), 5)
    ),
    'at_single/out': _net('at_single').eval()(_inputs('at_single/mfcc', (3, 28, 12), 5)),
  }
  vg_net = _net('vg_net').eval()
  for tag, batch, time in (('vg_net_b1', 1, 4), ('vg_net_b3', 3, 2)):
    outputs = vg_net(
      _inputs(f'{tag}/image', (batch, 3, 128, 128), 0.5),
      _inputs(f'{tag}/example_landmarks', (batch, 136), 1),
      _inputs(f'{tag}/landmarks', (batch, time, 136), 1),
    )
    answers |= {f'{tag}/{name}': value for name, value in outputs.items()}
  answers['disc/prob'], answers['disc/landmarks'] = _net('discriminator').eval()(
    _inputs('disc/video', (2, 16, 3, 128, 128), 0.5), _inputs('disc/example_landmarks', (2, 136), 0.4)
  )
  return {name: value.numpy() for name, value in answers.items()}


class Game:
  """One D step, then one G step, in the published order, on two clips of 16 frames; each call goes on from the last.

  Attributes:
    g, d: the nets.
    losses: of the last step, by name.
    grad_norms: likewise, by 'd/' or 'g/' and the parameter's name.
  """

  def __init__(self, dtype: torch.dtype = torch.float32, *, dropout: float = 0.0, recurrence: str = 'batch'):
    self.g = _net('vg_net', dtype, recurrence=recurrence).train()
    self.d = _net('discriminator', dtype).train()
    for module in self.g.modules():
      if isinstance(module, nn.Dropout):
        module.p = dropout
    self._optimizers = [torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.999)) for net in (self.d, self.g)]
    self._image = _inputs('step/image', (2, 3, 128, 128), 0.5, dtype)
    self._example = _inputs('step/example_landmarks', (2, 136), 0.4, dtype)
    self._video = _inputs('step/video', (2, 16, 3, 128, 128), 0.5, dtype)
    self._landmarks = _inputs('step/landmarks', (2, 16, 136), 0.4, dtype)
    self._factors = torch.ones(136, dtype=dtype)
    self._factors[_MOUTH_Y] = 100
    self.losses: dict[str, float] = {}
    self.grad_norms: dict[str, float] = {}

  def __call__(self) -> None:
    """Plays a step."""
    real, fake = torch.ones(2, dtype=self._video.dtype), torch.zeros(2, dtype=self._video.dtype)
    losses: dict[str, torch.Tensor] = {}
    update_d, update_g = self._optimizers
    with torch.no_grad():
      drawn = self._draw()['video']
    update_d.zero_grad()
    loss = self._judge(self._video, real, ('d_real', 'd_landmark_real'), losses)
    loss = loss + self._judge(drawn, fake, ('d_fake', 'd_landmark_fake'), losses)
    loss.backward()
    norms = _norms('d', self.d)
    update_d.step()
    update_g.zero_grad()
    outputs = self._draw()
    losses['g_pixel'] = ((outputs['video'] - self._video).abs() * (outputs['attention'].detach() + 0.5)).mean()
    judged = self._judge(outputs['video'], real, ('g_adversarial', 'g_landmark'), losses)
    (10 * losses['g_pixel'] + judged).backward()
    self.grad_norms = norms | _norms('g', self.g)
    update_g.step()
    self.losses = {name: value.item() for name, value in losses.items()}

  def _draw(self) -> dict[str, torch.Tensor]:
    return self.g(self._image, self._example, self._landmarks)

  def _judge(self, clip: torch.Tensor, target: torch.Tensor, names: tuple[str, str], losses: dict) -> torch.Tensor:
    probability, regressed = self.d(clip, self._example)
    losses[names[0]] = functional.binary_cross_entropy(probability, target)
    losses[names[1]] = functional.mse_loss(regressed * self._factors, self._landmarks * self._factors)
    return losses[names[0]] + losses[names[1]]


def _norms(prefix: str, net: nn.Module) -> dict[str, float]:
  return {
    f'{prefix}/{key}': value.grad.norm().item() for key, value in net.named_parameters() if value.grad is not None
  }


def step(dtype: torch.dtype = torch.float32) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """One step of the game: ({'losses', 'grad_norms'}, running statistics of the first image batch norm)."""
  game = Game(dtype)
  game()
  norm = game.g.image_encoder1[1][1]
  statistics = {
    f'step/bn_running_{name}_image_encoder1': getattr(norm, f'running_{name}').numpy() for name in ('mean', 'var')
  }
  return {'losses': game.losses, 'grad_norms': game.grad_norms}, statistics


def drawing(frames: int, recurrence: str = 'batch') -> Callable[[], torch.Tensor]:
  """What draws a clip of so many frames in evaluation mode, again and again → [1, T, 3, 128, 128]."""
  net = _net('vg_net', recurrence=recurrence).eval()
  image = _inputs('vg_net_b1/image', (1, 3, 128, 128), 0.5)
  example = _inputs('vg_net_b1/example_landmarks', (1, 136), 1)
  landmarks = _inputs('drawing/landmarks', (1, frames, 136), 1)
  return torch.no_grad()(lambda: net(image, example, landmarks)['video'])


def main(folder: str) -> None:
  out = pathlib.Path(folder)
  out.mkdir(parents=True, exist_ok=True)
  answers, statistics = step()
  np.savez_compressed(out / f'reference_{golden.SEED}.npz', **evaluate(), **statistics)
  (out / f'reference_{golden.SEED}_step.json').write_text(json.dumps(answers, indent=0) + '\n')


if __name__ == '__main__':
  main(*sys.argv[1:])
