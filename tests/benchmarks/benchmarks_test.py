"""The benchmarks run and print figures that fit together."""

import json

import drawn_clips
import pytest
import random_nets

from atvg_jax import benchmarks, cli
from atvg_jax.benchmarks import device_benchmark, feed_benchmark
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
  with pytest.raises(InputError, match="one of batch, device, feed, .*prepare.*not 'speed'"):
    cli.run(['benchmark', 'speed'])
  with pytest.raises(InputError, match='needs one of'):
    benchmarks.run([])
  with pytest.raises(InputError, match='leaves no time'):
    cli.run(['benchmark', 'feed', '--data', 'x', '--seconds', '0'])
  cli.run(['benchmark', '--help'])
  assert 'feed' in capsys.readouterr().out


def test_what_is_run_on_an_accelerator_is_told_where_there_is_none(capsys):
  cli.run(['benchmark', 'device', '--list'])
  commands = capsys.readouterr().out.splitlines()
  for text in ('device --compare', 'batch --clips 64', 'train --batch-size', '--published-size', '--dtype bfloat16'):
    assert any(text in command for command in commands)
  for step in device_benchmark.steps():  # every command has the options that it is given
    assert step.arguments[0] in benchmarks.BENCHMARKS
    with pytest.raises(SystemExit):
      benchmarks.run([*step.arguments, '--help'])
  with pytest.raises(InputError, match='no accelerator'):
    cli.run(['benchmark', 'device'])


@pytest.mark.slow
def test_a_small_step_of_each_kind_runs_on_processors(tmp_path):
  cli.run(['benchmark', 'device', '--smoke', '--out', str(tmp_path / 'device.jsonl')])
  rows = [json.loads(line) for line in (tmp_path / 'device.jsonl').read_text().splitlines()]
  assert [row['status'] for row in rows] == ['done'] * 4 and all(row['figures'] for row in rows)


def test_a_batch_is_set_against_the_nets_alone(tmp_path, capsys):
  paths = random_nets.save(tmp_path)
  command = [
    'batch',
    '--weights',
    *paths,
    '--clips',
    '3',
    '--seconds',
    '0.2',
    '0.6',
    '--frame',
    'mixed',
    '--lanes',
    '2',
  ]
  cli.run(['benchmark', *command, '--windows', '2'])
  figures = _table(capsys.readouterr().out)
  assert figures['lanes'] == 2 and 0 < figures['lanes that were busy, share'] <= 1
  ratio = figures['from files to files, frames/s'] / figures['the nets alone, frames/s']
  assert figures['from files to files / the nets alone'] == pytest.approx(ratio, abs=0.02)
  with pytest.raises(InputError, match='1 or more'):
    cli.run(['benchmark', 'batch', '--clips', '0'])
