"""The house's rules about who may import whom, held by reading every file's imports."""

import ast
import pathlib
import subprocess

import pytest

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_JAX = {'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'dm_pix', 'chex'}
_TENSORFLOW = {'tensorflow', 'tensorflow_datasets'}

# The rooms of each package, from the ground up: a file imports from its own room and from lower floors only.
_FLOORS = {
  'atvg_jax': (
    {'landmarks', 'metrics', 'audio', 'runtime'},
    {'models', 'tools'},
    {'checkpoints'},
    {'train'},
    {'generate'},
    {'convert', 'app'},
    {'evaluate'},
    {'ablate', 'personalise'},
    {'benchmarks', 'cli_options'},
    {'cli', '__main__', 'batch'},
  ),
  'data_pipelines': (
    {'errors', 'features'},
    {'atomic_files', 'text_tables'},
    {'batch_iterator', 'clip_source', 'media', 'work_shards'},
    {'faces', 'audio'},
    {'records', 'augmentation'},
    {'conversion', 'scene_stream'},
    {'datasets', 'input_pipeline'},
    {'prepare'},
  ),
}
_MOST_MODULES = 12  # directly in a package


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


def _floor(package, room):
  floors = [number for number, rooms in enumerate(_FLOORS[package]) if room in rooms]
  assert floors, f'{package}/{room} stands on no floor: add it to _FLOORS'
  return floors[0]


def test_data_pipelines_know_no_jax():
  for path in _files('data_pipelines'):
    assert not _packages(path) & (_JAX | {'atvg_jax', 'configs'}), path


@pytest.mark.parametrize(
  'name',
  [
    'atomic_files',
    'features',
    'errors',
    'work_shards',
    'media/audio',
    'media/audio_stream',
    'media/video_reader',
    'media/video_writer',
    'faces/face_landmarker',
    'faces/face_alignment',
  ],
)
def test_what_generation_uses_of_data_pipelines_knows_no_tensorflow(name):
  assert not _packages(_ROOT / 'data_pipelines' / f'{name}.py') & _TENSORFLOW


def test_tensorflow_is_met_in_the_feed_only():
  for path in _files('atvg_jax'):
    if path.name == 'feed.py':
      assert not _packages(path, top_level=True) & _TENSORFLOW, 'feed.py imports TensorFlow where it is called only'
      continue
    assert not _packages(path) & _TENSORFLOW, path
    assert 'data_pipelines.input_pipeline' not in set(_imports(path)), path


@pytest.mark.parametrize('package', _FLOORS)
def test_every_room_imports_from_lower_floors_only(package):
  for path in _files(package):
    room = path.relative_to(_ROOT / package).with_suffix('').parts[0]
    if room == '__init__':
      continue
    for name in _imports(path):
      home, _, rest = name.partition('.')
      other = rest.split('.')[0]
      if home != package or other in ('', room, '__version__'):
        continue
      assert _floor(package, other) < _floor(package, room), f'{path} imports {name} from above'


@pytest.mark.parametrize('package', _FLOORS)
def test_a_package_holds_rooms_and_few_modules(package):
  modules = [path.name for path in (_ROOT / package).glob('*.py') if path.name != '__init__.py']
  assert len(modules) <= _MOST_MODULES, modules


def test_no_modules_import_each_other_in_a_circle():
  files = {path.relative_to(_ROOT).with_suffix(''): path for package in _FLOORS for path in _files(package)}
  names = {'.'.join(name.parts).removesuffix('.__init__'): path for name, path in files.items()}

  def imported(path):
    for name in _imports(path):
      module = name if name in names else name.rpartition('.')[0]
      if module in names and names[module] != path:
        yield module

  imports = {name: set(imported(path)) for name, path in names.items()}
  while leaves := {name for name, needed in imports.items() if not needed & imports.keys()}:
    imports = {name: needed for name, needed in imports.items() if name not in leaves}
  assert not imports, f'modules of a circle, and what imports them: {sorted(imports)}'


@pytest.mark.parametrize('package, home', [('orbax', 'orbax_checkpoints.py'), ('tensorboardX', 'metric_writers.py')])
def test_some_packages_are_known_to_one_file(package, home):
  assert [path.name for path in _files('atvg_jax') if package in _packages(path)] == [home]


def test_pmap_and_meshes_are_known_to_parallel_only():
  for path in _files('atvg_jax'):
    if path.name != 'parallel.py':
      text = path.read_text(encoding='utf-8')
      assert not any(word in text for word in ('jax.pmap(', 'shard_map(', 'Mesh(', 'NamedSharding(')), path


def test_configs_are_plain():
  listed = subprocess.run(['git', '-C', _ROOT, 'ls-files', 'configs'], capture_output=True, text=True, check=False)
  ours = {_ROOT / line for line in listed.stdout.splitlines()} or {*_files('configs')}
  for path in ours & {*_files('configs')}:  # one of somebody's own may stand beside them
    assert _packages(path) <= {'ml_collections', 'configs', 'data_pipelines'}, path


def test_no_file_is_too_long():
  for package in ('atvg_jax', 'data_pipelines', 'configs', 'tests'):
    for path in _files(package):
      assert len(path.read_text(encoding='utf-8').splitlines()) <= 400, path
