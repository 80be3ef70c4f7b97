"""A video says something else: its frames stay but for the mouth, and its length is kept."""

import numpy as np
import pytest
import random_nets
from PIL import Image

from atvg_jax import cli
from atvg_jax.generate import demo, dubbing, video_maker
from atvg_jax.generate.generator import Generator
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_landmarker
from data_pipelines.media import audio, video_reader, video_writer


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
  return random_nets.save(tmp_path_factory.mktemp('nets'))


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  """A face that moves sideways for 12 frames."""
  path = str(tmp_path_factory.mktemp('film') / 'film.mp4')
  picture = Image.fromarray(video_reader.read_image(demo.portrait())).resize((256, 300))
  with video_writer.VideoWriter(path, (300, 256), np.zeros(100, np.float32)) as writer:
    for shift in range(12):
      writer.append(np.roll(np.asarray(picture), 2 * shift, axis=1))
  return path


@pytest.mark.parametrize('frame', ['full', 'crop'])
def test_the_film_keeps_its_length_and_its_background(nets, film, tmp_path, frame):
  out = tmp_path / 'out.mp4'
  video_maker.generate_video(film, str(out), audio=demo.speech(), frame=frame, weights=nets)
  before, after = video_reader.read_video(film), video_reader.read_video(out)
  assert len(after.frames) == 12 and after.has_audio
  speech = audio.read_audio(demo.speech())
  assert np.corrcoef(after.samples[1000:7000], speech[1000:7000])[0, 1] > 0.9
  if frame == 'crop':
    assert after.frames[0].shape == (128, 128, 3)
  else:
    for ours, theirs in zip(after.frames, before.frames, strict=True):
      assert np.abs(ours[:90].astype(int) - theirs[:90]).mean() < 3  # encoded twice


def test_only_what_speaks_is_replaced(nets, film):
  generator = Generator.from_pretrained(*nets)
  track = dubbing.follow(film, face_landmarker.FaceLandmarker())
  predicted = np.stack(list(dubbing.predict_landmarks(generator, track, [audio.read_audio(demo.speech())])))
  assert predicted.shape == track.landmarks.shape == (12, features.LANDMARK_SIZE)
  change = (predicted - track.landmarks).reshape(-1, features.NUM_LANDMARKS, 2)
  assert np.abs(change[:, features.STEADY]).max() < 1e-3 < np.abs(change[:, features.MOUTH]).max()
  pieces = list(dubbing.redraw(generator, film, track, predicted, True))
  frames = np.concatenate([piece.frames for piece in pieces])
  assert len(frames) == 12
  for frame, picture in zip(frames, video_reader.iter_video(film), strict=True):
    assert (frame[:90] == picture[:90]).all() and (frame != picture).any()


def test_what_cannot_be_dubbed_is_told(nets, film, tmp_path, capsys):
  argv = ['generate', '--image', film, '--out', str(tmp_path / 'a.mp4'), '--weights', *nets]
  for more in (['--driving', film], ['--audio', demo.speech(), '--motion', 'gentle']):
    assert cli.main([*argv, *more]) == 2
    assert 'is a video' in capsys.readouterr().err
  with video_writer.VideoWriter(tmp_path / 'nobody.mp4', (64, 64)) as writer:
    for _ in range(3):
      writer.append(np.zeros((64, 64, 3), np.uint8))
  with pytest.raises(InputError, match=r'nobody.mp4: no face'):
    video_maker.generate_video(str(tmp_path / 'nobody.mp4'), str(tmp_path / 'a.mp4'), audio=demo.speech(), weights=nets)
  assert not (tmp_path / 'a.mp4').exists()
