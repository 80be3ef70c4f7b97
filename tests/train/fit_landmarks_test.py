"""The command fits what training fits, says what it found and draws it."""

import drawn_clips
import numpy as np
import pytest
import synthetic
from PIL import Image

from atvg_jax import cli
from atvg_jax import landmarks as lm
from atvg_jax.train import fit_landmarks, pictures
from data_pipelines.errors import InputError


def test_the_command_fits_what_training_keeps(tmp_path, capsys):
  folder = str(drawn_clips.converted('grid'))
  cli.run(['fit-landmarks', '--data', folder, '--out', str(tmp_path / 'basis'), '--num-components', '3'])
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 1 + 3 + 1 and str(tmp_path / 'basis') in lines[-1]
  stored = lm.load(str(tmp_path / 'basis' / lm.BASIS_FILE))
  config = synthetic.config('at_grid', data__dirs=(folder,), landmarks__num_components=3)
  kept = fit_landmarks.landmark_basis(config, str(tmp_path))
  for mine, trained in zip(stored, kept):
    np.testing.assert_array_equal(mine, trained)
  picture = np.asarray(Image.open(tmp_path / 'basis' / fit_landmarks.PICTURE_FILE))
  assert picture.shape[0] > 300 and (picture < 255).any()


def test_deviations_are_those_of_the_coefficients():
  rng = np.random.default_rng(0)
  deviation = rng.normal(size=(5000, 136)) * np.linspace(0.1, 0.01, 136)
  sums = {'count': 5000, 'rest_count': 1, 'rest_sum': np.zeros(136), 'deviation_outer': deviation.T @ deviation}
  basis = lm.fit(sums, 4, points='all', symmetric=False)
  moved = deviation @ basis.components.T
  np.testing.assert_allclose(lm.deviations(basis), moved.std(axis=0), rtol=0.02)
  assert pictures.landmark_modes(basis).shape[2] == 3


def test_bad_options_are_told(tmp_path):
  for arguments, message in (
    ((['a', 'b'],), 'name a folder with --out'),
    (([str(tmp_path)],), 'atvg prepare'),
    (([str(tmp_path)], None), 'atvg prepare'),
  ):
    with pytest.raises(InputError, match=message):
      fit_landmarks.run(*arguments)
  with pytest.raises(InputError, match='num-components=0'):
    fit_landmarks.run([str(tmp_path)], num_components=0)
