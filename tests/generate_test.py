"""Files in, a video with sound out, and nothing that TensorFlow is needed for."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from atvg_jax import demo, generate
from data_pipelines import audio, features, media
import random_nets


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
  return random_nets.save(tmp_path_factory.mktemp('nets'))


@pytest.fixture(scope='module')
def image():
  return media.read_image(demo.portrait())


def _speech(seconds):
  return audio.read_audio(demo.speech())[:int(seconds * features.SAMPLE_RATE)]


def test_a_driving_video_gives_its_length_and_its_sound(nets, image, tmp_path):
  driving, out = str(tmp_path / 'driving.mp4'), str(tmp_path / 'out.mp4')
  samples = _speech(0.4)
  small = np.asarray(Image.fromarray(image).resize((256, 304)))
  with media.VideoWriter(driving, small.shape[:2], samples) as writer:
    for _ in range(10):
      writer.append(small)
  result = generate.generate_video(demo.portrait(), out, driving=driving, nets=nets)
  assert result.num_frames == 10
  clip = media.read_video(out)
  assert len(clip.frames) == 10 and clip.has_audio
  assert np.corrcoef(clip.samples[:6000], samples[:6000])[0, 1] > 0.9


def test_generation_imports_no_tensorflow(nets, tmp_path):
  out = tmp_path / 'out.mp4'
  program = (
      'import sys\n'
      'from atvg_jax import cli\n'
      f'status = cli.main(["generate", "--image", {demo.portrait()!r}, "--audio", {demo.speech()!r}, '
      f'"--out", {str(out)!r}, "--weights", *{nets!r}])\n'
      'assert status == 0, status\n'
      'heavy = {name.split(".")[0] for name in sys.modules} & {"tensorflow", "tensorflow_datasets", "orbax"}\n'
      'assert not heavy, heavy\n')
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, env=os.environ | {
      'PYTHONPATH': os.pathsep.join(sys.path)}, check=False)
  assert done.returncode == 0, done.stderr
  assert str(out) in done.stdout and 'frames/s' in done.stdout
  clip = media.read_video(str(out))
  speech = audio.read_audio(demo.speech())
  assert len(clip.frames) == audio.num_frames(speech)
  assert abs(len(clip.samples) - len(speech)) < 0.1 * features.SAMPLE_RATE
  assert os.listdir(tmp_path) == ['out.mp4']
