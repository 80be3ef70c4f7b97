"""Two processes with two devices each train as one process with four does, and save one checkpoint together."""

import socket

import parallel_test


def _free_port() -> str:
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return str(listener.getsockname()[1])


def test_two_processes_and_one_train_alike(tmp_path):
  one, first, second = (tmp_path / f'{name}.npz' for name in ('one', 'first', 'second'))
  port = _free_port()
  parallel_test.finish(
      parallel_test.start('at', '4', str(one)), parallel_test.start('at', '2', str(first), '0', '2', port),
      parallel_test.start('at', '2', str(second), '1', '2', port))
  parallel_test.compare(one, first)
  parallel_test.compare(first, second, 0.0)
  assert sorted(path.name for path in (tmp_path / 'shared' / 'checkpoints').iterdir()) == ['3', '5']
