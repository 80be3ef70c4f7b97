import pytest

from data_pipelines import work_shards
from data_pipelines.errors import InputError


def test_shards_are_parsed():
  assert work_shards.parse('2/3') == (2, 3)
  assert work_shards.parse(None) == (1, 1)


def test_the_shards_share_the_work():
  shares = [list(work_shards.parse(f'{i}/3').of(range(7))) for i in (1, 2, 3)]
  assert shares == [[0, 3, 6], [1, 4], [2, 5]]
  assert work_shards.parse(None).of('abc') == 'abc'


@pytest.mark.parametrize('text', ['', '1', '0/2', '3/2', '-1/2', '1/0', 'a/b', '1/2/3', '1.0/2'])
def test_what_is_no_shard_is_refused(text):
  with pytest.raises(InputError, match='use i/n with i from 1 to n'):
    work_shards.parse(text)
