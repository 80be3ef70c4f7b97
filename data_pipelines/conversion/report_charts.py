"""Charts for the report's page, as SVG in text: they need no other file and no library."""

import html
from collections.abc import Sequence

import numpy as np

_WIDTH, _HEIGHT = 320, 130  # of the drawing
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 64, 22, 20  # around it
_INK, _GREY = '#2f6690', '#999'
_COLORS = (_INK, '#d1495b', '#66a182', '#edae49', '#8d96a3', '#6f4e7c', '#9c755f', '#59a14f')


def histogram(values: Sequence[float], bins: int = 24) -> dict[str, list[float]]:
  """Counts of values in `bins` equal steps from the least to the most: {'edges': [bins + 1], 'counts': [bins]}."""
  low, high = float(min(values)), float(max(values))
  if low == high:  # NumPy would centre a bin of width 1 on it
    return {'edges': [low, high], 'counts': [len(values)]}
  counts, edges = np.histogram(values, bins=bins, range=(low, high))
  return {'edges': [round(float(edge), 4) for edge in edges], 'counts': [int(count) for count in counts]}


def bars(title: str, counts: dict[str, list[float]], unit: str) -> str:
  """A `histogram` as an SVG figure."""
  edges, heights = counts['edges'], counts['counts']
  low, high, most = edges[0], edges[-1], max(heights)
  span = high - low or 1.0
  shapes = []
  for left, right, height in zip(edges, edges[1:], heights):
    x = _LEFT + (left - low) / span * _WIDTH
    width = max(1.0, (right - left) / span * _WIDTH - 1) if high > low else 8.0
    tall = height / most * _HEIGHT
    shapes.append(
      f'<rect x="{x:.1f}" y="{_TOP + _HEIGHT - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" '
      f'fill="{_INK}"><title>{left:g} to {right:g}: {height}</title></rect>'
    )
  return _figure(title, shapes, (low, high), (0, most), unit)


def lines(
  title: str, x: Sequence[float], curves: dict[str, Sequence[float]], unit: str, mark: float | None = None
) -> str:
  """Curves over a common axis as an SVG figure, with a legend; `mark` draws a dashed upright line there."""
  low, high = min(x), max(x)
  bottom = min(0.0, *(min(curve) for curve in curves.values()))
  top = max(max(curve) for curve in curves.values())
  span = top - bottom or 1.0

  def place(value: float, height: float) -> tuple[float, float]:
    return _LEFT + (value - low) / (high - low) * _WIDTH, _TOP + (1 - (height - bottom) / span) * _HEIGHT

  shapes = []
  if mark is not None:
    (x0, y0), (_, y1) = place(mark, bottom), place(mark, top)
    shapes.append(f'<path d="M{x0:.1f} {y0:.1f}V{y1:.1f}" stroke="{_GREY}" stroke-dasharray="3 3"/>')
  for number, (name, curve) in enumerate(curves.items()):
    points = ' '.join('{:.1f},{:.1f}'.format(*place(*pair)) for pair in zip(x, curve))
    color = _COLORS[number % len(_COLORS)]
    shapes.append(
      f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{2 if not number else 1}">'
      f'<title>{html.escape(name)}</title></polyline>'
    )
    if len(curves) <= len(_COLORS):
      shapes.append(
        f'<text x="{_LEFT + _WIDTH + 6}" y="{_TOP + 12 + 13 * number}" fill="{color}">{html.escape(name[:9])}</text>'
      )
  return _figure(title, shapes, (low, high), (bottom, top), unit)


def _figure(title: str, shapes: list[str], across: tuple[float, float], up: tuple[float, float], unit: str) -> str:
  base = _TOP + _HEIGHT
  width, height = _LEFT + _WIDTH + _RIGHT, base + _BOTTOM
  return '\n'.join(
    [
      f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
      f'<text x="{_LEFT}" y="14" font-weight="bold">{html.escape(title)}</text>',
      *shapes,
      f'<path d="M{_LEFT} {_TOP}V{base}H{_LEFT + _WIDTH}" fill="none" stroke="{_GREY}"/>',
      f'<text x="{_LEFT - 4}" y="{base}" text-anchor="end">{up[0]:.3g}</text>',
      f'<text x="{_LEFT - 4}" y="{_TOP + 9}" text-anchor="end">{up[1]:.3g}</text>',
      f'<text x="{_LEFT}" y="{base + 14}">{across[0]:.4g}</text>',
      f'<text x="{_LEFT + _WIDTH / 2}" y="{base + 14}" text-anchor="middle" fill="#666">{html.escape(unit)}</text>',
      f'<text x="{_LEFT + _WIDTH}" y="{base + 14}" text-anchor="end">{across[1]:.4g}</text>',
      '</svg>',
    ]
  )
