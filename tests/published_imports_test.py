"""What the documents of version 0.1.0 told people to import still imports, wherever the code has moved.

The names below are those of README.md and docs/ at version 0.1.0: they are not to follow a renaming.
"""

import functools
import importlib

import pytest

_STATEMENTS = (
  'from atvg_jax.generate import Generator',  # README.md, docs/generation.md
  'import json, pathlib',  # docs/generation.md, of exported programs
  'import jax, jax.export, numpy as np',
)

# Module, and the names in it.
_ATTRIBUTES = (
  ('atvg_jax', '__version__'),
  ('atvg_jax.generate', 'Generator'),
  ('atvg_jax.generate', 'Generator.from_pretrained'),
  ('atvg_jax.generate', 'Generator.__call__'),
  ('atvg_jax.batch', 'run'),
  ('atvg_jax.batch', 'from_folders'),
  ('atvg_jax.cli', 'main'),  # the command `atvg`
  ('data_pipelines.errors', 'InputError'),
  ('data_pipelines', 'faces'),
  ('data_pipelines', 'audio'),
  ('data_pipelines.faces', '__name__'),
  ('data_pipelines.audio', '__name__'),
  ('jax.export', 'deserialize'),
)

_CONFIGS = (
  'ablations',
  'at_grid',
  'at_lrw',
  'at_lrw_ar',
  'at_union',
  'common',
  'release_at',
  'release_vg',
  'vg_grid',
  'vg_lrw',
  'vg_lrw_ar',
  'vg_union',
)


@pytest.mark.parametrize('statement', _STATEMENTS)
def test_a_statement_of_the_documents_runs(statement):
  exec(statement, {})  # of the list above


@pytest.mark.parametrize('module, name', _ATTRIBUTES)
def test_a_name_of_the_documents_is_there(module, name):
  found = importlib.import_module(module)
  try:
    functools.reduce(getattr, name.split('.'), found)
  except AttributeError:
    importlib.import_module(f'{module}.{name}')  # a module of the package


@pytest.mark.parametrize('name', _CONFIGS)
def test_a_config_of_the_documents_is_there(name):
  importlib.import_module(f'configs.{name}')


def test_bad_input_raises_what_the_documents_say():
  from data_pipelines.errors import InputError

  assert issubclass(InputError, ValueError)


def test_the_package_and_its_module_are_one():
  """`from atvg_jax import batch` and `import atvg_jax.batch` give the same, and so does the generator's class."""
  from atvg_jax import batch, generate

  assert batch is importlib.import_module('atvg_jax.batch')
  assert generate.Generator is importlib.import_module('atvg_jax.generate').Generator
