"""The house's rules about who may import whom, held by reading every file's imports."""

import ast
import pathlib

import pytest

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_JAX = {'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'dm_pix', 'chex'}
_TENSORFLOW = {'tensorflow', 'tensorflow_datasets'}

# A file of atvg_jax imports from its own floor and from below.
_FLOORS = (
    {'cepstra', 'landmarks', 'losses', 'metrics', 'sharpness', 'rng', 'optimizers', 'train_state', 'task',
     'flops', 'host_memory', 'unsharp'},
    {'models'},
    {'tasks'},
    {'parallel', 'programs', 'checkpoints', 'feed', 'metric_writers', 'pictures', 'step_log', 'run_config', 'weights',
     'fit_landmarks'},
    {'validation', 'train', 'plan', 'streaming', 'published', 'generator', 'generate', 'clip_scores',
     'score_tables', 'score_page', 'evaluate', 'robustness', 'robustness_report', 'judges', 'convert', 'demo', 'paste',
     'motion', 'dubbing', 'side_outputs', 'batch', 'export', 'say', 'app', 'studio', 'blinks',
     'ablate', 'ablation_scores', 'ablation_report'},
    {'benchmarks'},
    {'cli', '__main__'},
)


def _files(package):
  return sorted(path for path in (_ROOT / package).rglob('*.py'))


def _imports(path, *, top_level=False):
  """Dotted names of the modules that a file imports; names from a package count as its modules."""
  tree = ast.parse(path.read_text(encoding='utf-8'))
  for node in tree.body if top_level else ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path} imports by dots'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def _packages(path, **options):
  return {name.split('.')[0] for name in _imports(path, **options)}


def _floor(name):
  floors = [number for number, names in enumerate(_FLOORS) if name in names]
  assert floors, f'atvg_jax/{name} stands on no floor: add it to _FLOORS'
  return floors[0]


def test_data_pipelines_know_no_jax():
  for path in _files('data_pipelines'):
    assert not _packages(path) & (_JAX | {'atvg_jax', 'configs'}), path


@pytest.mark.parametrize('name', ['features', 'errors', 'audio', 'audio_stream', 'media', 'video_writer', 'faces', 'alignment'])
def test_what_generation_uses_of_data_pipelines_knows_no_tensorflow(name):
  assert not _packages(_ROOT / 'data_pipelines' / f'{name}.py') & _TENSORFLOW


def test_tensorflow_is_met_in_the_feed_only():
  for path in _files('atvg_jax'):
    if path.name == 'feed.py':
      assert not _packages(path, top_level=True) & _TENSORFLOW, 'feed.py imports TensorFlow where it is called only'
      continue
    assert not _packages(path) & _TENSORFLOW, path
    if path.name not in ('evaluate.py', 'robustness.py'):
      assert 'data_pipelines.input_pipeline' not in set(_imports(path)), path


def test_every_file_imports_from_below():
  for path in _files('atvg_jax'):
    parts = path.relative_to(_ROOT / 'atvg_jax').with_suffix('').parts
    if parts == ('__init__',):
      continue
    for name in _imports(path):
      package, _, rest = name.partition('.')
      module = rest.split('.')[0]
      if package == 'atvg_jax' and module and module != '__version__':
        assert _floor(module) <= _floor(parts[0]), f'{path} imports {name} from above'


@pytest.mark.parametrize('package, home', [('orbax', 'checkpoints.py'), ('tensorboardX', 'metric_writers.py')])
def test_some_packages_are_known_to_one_file(package, home):
  assert [path.name for path in _files('atvg_jax') if package in _packages(path)] == [home]


def test_pmap_and_meshes_are_known_to_parallel_only():
  for path in _files('atvg_jax'):
    if path.name != 'parallel.py':
      text = path.read_text(encoding='utf-8')
      assert not any(word in text for word in ('jax.pmap(', 'shard_map(', 'Mesh(', 'NamedSharding(')), path


def test_configs_are_plain():
  for path in _files('configs'):
    assert _packages(path) <= {'ml_collections', 'configs', 'data_pipelines'}, path


def test_no_file_is_too_long():
  for package in ('atvg_jax', 'data_pipelines', 'configs', 'tests'):
    for path in _files(package):
      assert len(path.read_text(encoding='utf-8').splitlines()) <= 400, path
