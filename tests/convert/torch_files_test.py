"""Files of tensors are read, whatever their age; anything else is refused in a sentence, and its code never run."""

import collections
import os
import sys
import warnings

import numpy as np
import pytest

from atvg_jax.convert.torch_files import load_state_dict
from data_pipelines.errors import InputError


class _Malicious:
  def __reduce__(self):
    return (os.mkdir, (os.environ['ATVG_TEST_MARK'],))


def _save(content, path, *, legacy):
  """Saves as PyTorch 1.6 and later do, or as those before did: the released files are of 2019."""
  torch = pytest.importorskip('torch')
  torch.save(content, path, _use_new_zipfile_serialization=not legacy)
  return str(path)


@pytest.mark.parametrize('legacy', [True, False])
def test_tensors_come_through(tmp_path, legacy):
  torch = pytest.importorskip('torch')
  entries = collections.OrderedDict(
    weight=torch.arange(6.0).reshape(2, 3).T, half=torch.ones(2).half(), num_batches_tracked=torch.tensor(7)
  )
  read = load_state_dict(_save(entries, tmp_path / 'weights.pth', legacy=legacy))
  np.testing.assert_array_equal(read['weight'], np.arange(6.0).reshape(2, 3).T)
  assert read['half'].dtype == np.float32 and read['num_batches_tracked'] == 7


def test_without_torch_it_says_how_to_get_it(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(InputError, match=r'pip install -e "\.\[torch\]"'):
    load_state_dict(str(tmp_path / 'at.pth'))


@pytest.mark.parametrize('legacy', [True, False])
def test_code_is_never_run(monkeypatch, tmp_path, legacy):
  mark = tmp_path / 'mark'
  monkeypatch.setenv('ATVG_TEST_MARK', str(mark))
  path = _save({'weight': _Malicious()}, tmp_path / 'malicious.pth', legacy=legacy)
  with pytest.raises(InputError, match='holds something else than tensors, and none of it was run') as caught:
    load_state_dict(path)
  assert '\n' not in str(caught.value) and not mark.exists()


@pytest.mark.parametrize('content', ['list', 'nested'])
def test_other_contents_are_told(tmp_path, content):
  torch = pytest.importorskip('torch')
  content = {'list': [torch.zeros(2)], 'nested': {'state_dict': {'weight': torch.zeros(2)}}}[content]
  with pytest.raises(InputError, match='does not hold a state dict'):
    load_state_dict(_save(content, tmp_path / 'weights.pth', legacy=False))


def test_what_is_no_such_file_is_told(tmp_path):
  pytest.importorskip('torch')
  for name, content, sentence in (
    ('page', b'\n<!DOCTYPE html><html>', 'is a web page'),
    ('empty', b'', 'is damaged'),
    ('text', b'not weights', 'holds something else|is damaged'),
  ):
    path = tmp_path / f'{name}.pth'
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
      load_state_dict(str(path))
  for path in (tmp_path / 'missing.pth', tmp_path):
    with pytest.raises(InputError, match='there is no file'):
      load_state_dict(str(path))


@pytest.mark.parametrize('legacy', [True, False])
def test_damage_is_one_sentence(tmp_path, legacy):
  torch = pytest.importorskip('torch')
  whole = _save({'a': torch.zeros(20), 'b': torch.ones(3, 4)}, tmp_path / 'whole.pth', legacy=legacy)
  with open(whole, 'rb') as file:
    content = file.read()
  rng, refused = np.random.default_rng(0), 0
  for length in (1, 3, *range(10, len(content), 97)):
    damaged = bytearray(content)
    damaged[rng.integers(len(content))] ^= int(rng.integers(1, 256))
    for name, part in (('short', content[:length]), ('changed', damaged)):
      path = tmp_path / f'{name}.pth'
      path.write_bytes(part)
      with warnings.catch_warnings():
        warnings.simplefilter('error')
        try:
          load_state_dict(str(path))  # a changed number is a number
        except InputError as error:
          refused += 1
          assert '\n' not in str(error)
        else:
          assert name == 'changed'
  assert refused
