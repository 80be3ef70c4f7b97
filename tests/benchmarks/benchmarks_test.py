"""The benchmarks run and print figures that fit together."""

import drawn_clips
import pytest

from atvg_jax import benchmarks, cli
from atvg_jax.benchmarks import feed_benchmark
from data_pipelines.errors import InputError


def _table(text: str) -> dict[str, float]:
  return {
    name.strip(): float(value.replace(',', ''))
    for name, _, value in (line.rpartition('  ') for line in text.splitlines())
  }


def test_feeding():
  figures = feed_benchmark.measure([str(drawn_clips.converted('grid'))], window=4, batch_size=2, seconds=1.5)
  assert figures['frames'] > 0 and figures['frames'] % 8 == 0
  assert figures['frames/s'] == pytest.approx(8 * figures['batches/s'])
  assert figures['memory, MB'] > 50


def test_conversion(tmp_path, capsys):
  source = drawn_clips.write_grid(tmp_path / 'source', clips=3)
  cli.run(['benchmark', 'prepare', 'grid', '--source', str(source), '--workers', '1'])
  figures = _table(capsys.readouterr().out)
  assert figures['clips'] == 3 and figures['frames of a clip, mean'] == 21
  assert 0 < figures['seconds to the first clip'] < figures['seconds']
  assert figures['clips/s, steady'] > figures['clips/s, all in all'] > 0


def test_what_is_there_is_told(capsys):
  with pytest.raises(InputError, match="one of feed, .*prepare.*not 'speed'"):
    cli.run(['benchmark', 'speed'])
  with pytest.raises(InputError, match='needs one of'):
    benchmarks.run([])
  with pytest.raises(InputError, match='leaves no time'):
    cli.run(['benchmark', 'feed', '--data', 'x', '--seconds', '0'])
  cli.run(['benchmark', '--help'])
  assert 'feed' in capsys.readouterr().out
