"""The comparison of simulated devices asks for the right runs and compares them by clip."""

import pytest

from atvg_jax import benchmarks
from atvg_jax.benchmarks import scaling
from data_pipelines.errors import InputError


def _rows(text: str) -> list[list[str]]:
  return [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('| ')]


def test_a_row_is_compared_clip_by_clip(capsys):
  costs = {(1, 4): scaling.Cost(2.0, 100), (4, 4): scaling.Cost(3.0, 1400), (4, 16): scaling.Cost(12.0, 150)}
  scaling.tabulate(list(costs), lambda devices, clips: costs[devices, clips])
  assert _rows(capsys.readouterr().out)[1:] == [
    ['1', '4', '2.000', '1.00', '100'],
    ['4', '4', '3.000', '1.50', '1,400'],
    ['4', '16', '12.000', '1.50', '150'],
  ]


@pytest.mark.parametrize(
  'options, sentence',
  [
    (['--scaling', '1,two'], 'is not a list of numbers'),
    (['--scaling', '0,2'], 'is not a list'),
    (['--scaling', '2,2'], 'is not a list'),
    (['--scaling', '1,2,3'], '3 cannot be divided among 2 devices'),
    (['--scaling', '1,4', '--batch-size', '6'], 'divided among 4 devices'),
    (['--config', 'vg_grid:large'], "'smoke' or nothing"),
  ],
)
def test_bad_lists_are_sentences(options, sentence):
  with pytest.raises(InputError, match=sentence):
    benchmarks.run(['train', *options])


@pytest.mark.slow
def test_devices_are_simulated(capsys):
  benchmarks.run(['train', '--config', 'release_vg:smoke', '--scaling', '1,2', '--window', '2', '--steps', '1'])
  rows = [row for row in _rows(capsys.readouterr().out) if row[0] != 'devices']
  assert [row[:2] for row in rows] == [['1', '2'], ['2', '2'], ['1', '1'], ['2', '2']]
  assert rows[1][2] == rows[3][2]  # measured once
  assert all(float(row[2]) > 0 and float(row[4].replace(',', '')) > 100 for row in rows)
