"""HDR pictures (HLG, PQ) as a usual screen shows them.

Light is measured in HDR's reference white, 203 cd/m² (ITU-R BT.2408), which becomes the white of BT.709. Below 0.8 of
it nothing is changed; what is brighter, up to 1000 cd/m², is pressed into the rest without a change of hue. The screen
is that of ITU-R BT.1886: light is the 2.4th power of what the file holds.
"""

import functools
from typing import NamedTuple

import numpy as np

from data_pipelines.media.jit import compiled

_WHITE, _PEAK = 203.0, 1000.0  # cd/m²
_KNEE = 0.8
_GAMMA = 2.4
_BITS = 12  # of a colour before it is mapped
_CODES = 4096  # of the table back, at equal steps of the root of light
# From the primaries of BT.2020 to those of BT.709 (ITU-R BT.2087).
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_LUMA = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020


class _Curve(NamedTuple):
  """How a file's numbers are light."""

  light: np.ndarray  # float32 [4096]
  # float32 [4096], at equal steps of the root of a pixel's luminance (1: the peak): a factor on its light. HLG is of
  # the scene; the screen's light is its 1.2th power, of the luminance, so that no hue changes.
  system: np.ndarray


def map_to_screen(rgb: np.ndarray, transfer: str) -> np.ndarray:
  """HDR colours to a usual screen's.

  Args:
    rgb: uint16 [H, W, 3], BT.2020 with `transfer`, full range.
    transfer: 'HLG' (ARIB STD-B67) or 'PQ' (SMPTE ST 2084), both as in ITU-R BT.2100.

  Returns:
    uint8 [H, W, 3], BT.709.
  """
  curve = _curve(transfer)
  out = np.empty(rgb.shape, np.uint8)
  _map(np.ascontiguousarray(rgb).reshape(-1), curve.light, curve.system, _TO_709, _codes(), out.reshape(-1))
  return out


@functools.cache
def _curve(transfer: str) -> _Curve:
  value = np.linspace(0, 1, 1 << _BITS)
  if transfer == 'HLG':
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return _Curve((scene * _PEAK / _WHITE).astype(np.float32), np.linspace(0, 1, _CODES, dtype=np.float32) ** 0.4)
  m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
  power = value ** (1 / m2)
  light = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
  return _Curve((light / _WHITE).astype(np.float32), np.ones(_CODES, np.float32))


@functools.cache
def _codes() -> np.ndarray:
  """uint8 [4096]: the root of light → what the screen takes."""
  return np.round(255 * np.linspace(0, 1, _CODES) ** (2 / _GAMMA)).astype(np.uint8)


def _map_loop(
  rgb: np.ndarray, light: np.ndarray, system: np.ndarray, matrix: np.ndarray, codes: np.ndarray, out: np.ndarray
) -> None:
  most = _PEAK / _WHITE
  reach = (most - _KNEE) / (1 - _KNEE)
  for k in range(0, rgb.size, 3):
    r, g, b = light[rgb[k] >> 4], light[rgb[k + 1] >> 4], light[rgb[k + 2] >> 4]
    luminance = min((_LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b) / most, 1.0)
    factor = system[int(np.sqrt(luminance) * (_CODES - 1) + 0.5)]
    r, g, b = r * factor, g * factor, b * factor
    red = max(matrix[0, 0] * r + matrix[0, 1] * g + matrix[0, 2] * b, 0.0)
    green = max(matrix[1, 0] * r + matrix[1, 1] * g + matrix[1, 2] * b, 0.0)
    blue = max(matrix[2, 0] * r + matrix[2, 1] * g + matrix[2, 2] * b, 0.0)
    brightest = max(red, max(green, blue))
    scale = 1.0
    if brightest > _KNEE:
      over = (min(brightest, most) - _KNEE) / (1 - _KNEE)
      scale = (_KNEE + (1 - _KNEE) * over * (1 + over / reach**2) / (1 + over)) / brightest
    out[k] = codes[int(np.sqrt(min(red * scale, 1.0)) * (_CODES - 1) + 0.5)]
    out[k + 1] = codes[int(np.sqrt(min(green * scale, 1.0)) * (_CODES - 1) + 0.5)]
    out[k + 2] = codes[int(np.sqrt(min(blue * scale, 1.0)) * (_CODES - 1) + 0.5)]


_map = compiled(_map_loop)
