"""From a video to one person's weights: what is left in the folder, what speaks from it, and kills leave no trace."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import drawn_clips
import numpy as np
import pytest
import random_nets

from atvg_jax import cli
from atvg_jax.checkpoints import weights
from atvg_jax.generate import demo, person
from atvg_jax.personalise import personalise, vg_adaptation
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader

_LEFT = 'at.npz', 'vg.npz', person.EXAMPLE, person.OWN_VIDEO, person.ABOUT, 'scores.json'
_KILLS = 8


def test_steps_follow_from_minutes_and_from_how_much_there_is():
  assert vg_adaptation.num_steps(20, 100_000) == 20 * vg_adaptation.STEPS_A_MINUTE
  assert vg_adaptation.num_steps(20, 200) < vg_adaptation.num_steps(20, 1000) < vg_adaptation.num_steps(40, 100_000)
  assert vg_adaptation.num_steps(1, 1) >= 8


def test_a_folder_of_something_else_is_left_alone(tmp_path):
  at, vg = (random_nets.bundle(kind) for kind in ('at', 'vg'))
  video = tmp_path / 'me.mp4'
  video.write_bytes(b'video')
  plans = [personalise._plan([str(video)], minutes, '', at, vg) for minutes in (20.0, 5.0)]
  with personalise._folder(str(tmp_path / 'me'), plans[0]) as work:
    assert os.path.isdir(work)
    with (
      pytest.raises(InputError, match='another run is writing'),
      personalise._folder(str(tmp_path / 'me'), plans[0]),
    ):
      pass
  with personalise._folder(str(tmp_path / 'me'), plans[0]):
    pass
  for folder, sentence in (
    ('me', 'was begun with other minutes'),
    ('full', 'holds something else'),
    ('me.mp4', 'is a file'),
  ):
    (tmp_path / 'full').mkdir(exist_ok=True)
    (tmp_path / 'full' / 'letter.txt').touch()
    with pytest.raises(InputError, match=sentence), personalise._folder(str(tmp_path / folder), plans[1]):
      pass
  assert os.listdir(tmp_path / 'full') == ['letter.txt']


def test_weights_of_nobody_have_no_face_of_their_own(tmp_path, capsys):
  paths = random_nets.save(tmp_path)
  for given in ([], ['--weights', *paths], ['--weights', str(tmp_path)]):
    for command in (['generate', '--audio', demo.speech()], ['say', 'Good morning.']):
      assert cli.main([*command, '--out', str(tmp_path / 'out.mp4'), *given]) == 2
      assert 'there is nobody to speak' in capsys.readouterr().err
  (tmp_path / person.ABOUT).write_text('{}')
  assert person.face([str(tmp_path)], 'crop') == (str(tmp_path / person.EXAMPLE), False)
  assert person.face([str(tmp_path)], 'full') == (str(tmp_path / person.OWN_VIDEO), True)


@pytest.fixture(scope='module')
def given(tmp_path_factory):
  """A video of ten seconds and a tiny VG-net: (folder, arguments of the command without --out)."""
  folder = tmp_path_factory.mktemp('given')
  video = drawn_clips.write_speaker(folder / 'me.mp4', 10.0)
  _, vg = random_nets.save(folder)
  return folder, [str(video), '--weights', vg, '--minutes', '1', '--consent-note', 'I am drawn.']


@pytest.fixture(scope='module')
def made(given):
  folder, arguments = given
  began = time.monotonic()
  assert cli.main(['personalise', *arguments, '--out', str(folder / 'whole')]) == 0
  (folder / 'seconds').write_text(str(time.monotonic() - began))
  return folder / 'whole'


@pytest.mark.slow
def test_a_person_is_learnt_and_speaks(given, made, tmp_path, capsys):
  at, vg = weights.load_nets([str(made)])
  for bundle in (at, vg):
    assert bundle.provenance['consent'] == 'I am drawn.' and 'one person' in bundle.provenance['person']
    assert bundle.provenance['licence'], 'as those of the weights that it started from'
    assert str(given[0]) not in json.dumps(bundle.config), 'no folder of the run'
  about = json.loads((made / person.ABOUT).read_text())
  assert about['seconds'] == 8 and about['held_out_seconds'] >= 1.9 and len(about['rest_shape']) == 136
  np.testing.assert_allclose(about['rest_shape'], at.basis.mean, atol=1e-5)
  for net in ('at', 'vg'):
    assert weights.load(str(made / f'{net}.npz')).provenance['adapted'] == about[net]['adapted']
  page = (made / 'report.html').read_text()
  assert 'I am drawn.' in page and page.count('<video') == 2 and 'before' in page and 'after' in page

  packed = (made / 'at.npz').read_bytes()
  assert cli.main(['personalise', *given[1], '--out', str(made)]) == 0
  assert 'is finished' in capsys.readouterr().out and (made / 'at.npz').read_bytes() == packed

  for frame, size in (('crop', (128, 128)), ('full', (drawn_clips.SIZE,) * 2)):
    out = tmp_path / f'{frame}.mp4'
    argv = ['generate', '--weights', str(made), '--audio', demo.speech(), '--frame', frame, '--out', str(out)]
    assert cli.main(argv) == 0
    clip = video_reader.read_video(out)
    assert clip.frames[0].shape[:2] == size and len(clip.frames) == pytest.approx(8.97 * 25, abs=1)


@pytest.mark.slow
def test_kills_leave_no_trace(given, made):
  folder, arguments = given
  out = folder / 'killed'
  command = [sys.executable, '-m', 'atvg_jax.cli', 'personalise', *arguments, '--out', str(out)]
  environment = os.environ | {'PYTHONPATH': str(pathlib.Path(__file__).resolve().parents[2])}
  chance, kills = random.Random(0), 0
  whole = float((folder / 'seconds').read_text())
  while kills < _KILLS:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
      end = time.monotonic() + whole * chance.uniform(0.1, 0.5)
      while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
      if process.poll() is not None:
        break
      process.kill()
      kills += 1
  subprocess.run(command, env=environment, check=True, capture_output=True)
  assert kills >= 2
  for name in _LEFT:
    assert (out / name).read_bytes() == (made / name).read_bytes(), name
  assert sorted(os.listdir(out)) == sorted(os.listdir(made))
  shutil.rmtree(out)
