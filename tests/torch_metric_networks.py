"""SyncNet, the Inception of FID and LPIPS in PyTorch, and what they answer to the recipe's weights and inputs.

`tests/golden/metric_networks_2019.npz` holds those answers. As a script (with torch and torchvision) it writes them for
another seed:

    ATVG_GOLDEN_SEED=7 python tests/torch_metric_networks.py DIR
    ATVG_GOLDEN_SEED=7 ATVG_GOLDEN_DIR=DIR pytest tests/evaluate/metric_networks_test.py
"""

import json
import pathlib
import sys
import warnings
from unittest import mock

import golden_recipe as golden
import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional


class SyncNet(nn.Module):
  """As published: one tower for five frames in three dimensions, one for 20 rows of sound."""

  def __init__(self):
    super().__init__()

    def conv3(inputs, outputs, kernel, stride=1, padding=0):
      space = (1, stride, stride), (0, padding, padding)
      return [nn.Conv3d(inputs, outputs, kernel, *space), nn.BatchNorm3d(outputs), nn.ReLU()]

    def conv2(inputs, outputs, kernel=3, padding=1):
      return [nn.Conv2d(inputs, outputs, kernel, 1, padding), nn.BatchNorm2d(outputs), nn.ReLU()]

    def head():
      return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))

    self.netcnnaud = nn.Sequential(
      *conv2(1, 64),
      nn.MaxPool2d(1, 1),
      *conv2(64, 192),
      nn.MaxPool2d(3, (1, 2)),
      *conv2(192, 384),
      *conv2(384, 256),
      *conv2(256, 256),
      nn.MaxPool2d(3, 2),
      *conv2(256, 512, (5, 4), 0),
    )
    self.netfcaud, self.netfclip = head(), head()
    self.netcnnlip = nn.Sequential(
      *conv3(3, 96, (5, 7, 7), 2),
      nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
      *conv3(96, 256, (1, 5, 5), 2, 1),
      nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
      *conv3(256, 256, (1, 3, 3), 1, 1),
      *conv3(256, 256, (1, 3, 3), 1, 1),
      *conv3(256, 256, (1, 3, 3), 1, 1),
      nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
      *conv3(256, 512, (1, 6, 6)),
    )

  def forward(self, frames, rows):
    return (self.netfclip(self.netcnnlip(frames).flatten(1)), self.netfcaud(self.netcnnaud(rows).flatten(1)))


def inception_features(images: torch.Tensor) -> torch.Tensor:
  """[B, 3, 128, 128] in [0, 1] → [B, 2048], by torchvision's network with the pools of the FID's."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    net = _filled(torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False))
  net.fc = nn.Identity()
  mean, last = functional.avg_pool2d, []
  net.Mixed_7c.register_forward_pre_hook(lambda *_: last.append(True))

  def pool(x, **options):
    return functional.max_pool2d(x, **options) if last else mean(x, **options, count_include_pad=False)

  with mock.patch.object(functional, 'avg_pool2d', pool):
    return net(2 * functional.interpolate(images, 299, mode='bilinear', align_corners=False) - 1)


def lpips(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
  """[B, 3, 128, 128] in [-1, 1], twice → [B], on torchvision's AlexNet."""
  layers = _filled(torchvision.models.alexnet(weights=None).features)
  shift, scale = (torch.tensor(values)[:, None, None] for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
  x, y = (predicted - shift) / scale, (true - shift) / scale
  total, number = torch.zeros(len(x)), 0
  for layer in layers:
    x, y = layer(x.clone()), layer(y.clone())
    if isinstance(layer, nn.ReLU):
      importance = torch.from_numpy(np.abs(golden.weight(f'lin{number}', (x.shape[1],))))
      difference = functional.normalize(x, dim=1, eps=1e-10) - functional.normalize(y, dim=1, eps=1e-10)
      total += (difference**2 * importance[:, None, None]).sum(1).mean((1, 2))
      number += 1
  return total


def _filled(net: nn.Module) -> nn.Module:
  """With the recipe's weights, in evaluation mode."""
  net.load_state_dict(
    {key: torch.from_numpy(golden.weight(key, tuple(value.shape))) for key, value in net.state_dict().items()}
  )
  return net.eval()


def _inputs(name: str, shape: tuple[int, ...], scale: float) -> torch.Tensor:
  return torch.from_numpy(golden.inputs(name, shape, scale))


@torch.no_grad()
def main(folder: str) -> None:
  sync_net = _filled(SyncNet())
  seen, heard = sync_net(_inputs('sync/frames', (2, 3, 5, 224, 224), 60), _inputs('sync/rows', (2, 1, 13, 20), 10))
  # The name seeds the pictures.
  pictures = torch.from_numpy(golden.pictures('judges', 4)).permute(0, 3, 1, 2).float()
  answers = {
    'sync/seen': seen,
    'sync/heard': heard,
    'inception': inception_features(pictures[:2] / 255),
    'lpips': lpips(pictures[:2] / 127.5 - 1, pictures[2:] / 127.5 - 1),
  }
  pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
  np.savez_compressed(
    pathlib.Path(folder) / f'metric_networks_{golden.SEED}.npz',
    **{name: value.numpy() for name, value in answers.items()},
  )
  shapes = {
    'syncnet': sync_net,
    'inception': torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False),
  }
  (pathlib.Path(folder) / 'metric_networks.json').write_text(
    json.dumps(
      {name: {key: list(value.shape) for key, value in net.state_dict().items()} for name, net in shapes.items()}
    )
    + '\n'
  )


if __name__ == '__main__':
  main(*sys.argv[1:])
