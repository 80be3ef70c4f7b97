"""Files in, a video with sound out, and nothing that TensorFlow is needed for."""

import json
import os
import subprocess
import sys
import wave

import av
import numpy as np
import pytest
import random_nets
from PIL import Image

from atvg_jax.generate import demo, video_maker
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio, video_reader, video_writer


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
  return random_nets.save(tmp_path_factory.mktemp('nets'))


@pytest.fixture(scope='module')
def image():
  return video_reader.read_image(demo.portrait())


def _speech(seconds):
  return audio.read_audio(demo.speech())[: int(seconds * features.SAMPLE_RATE)]


def test_a_driving_video_gives_its_length_and_its_sound(nets, image, tmp_path):
  driving, out = str(tmp_path / 'driving.mp4'), str(tmp_path / 'out.mp4')
  samples = _speech(0.4)
  small = np.asarray(Image.fromarray(image).resize((256, 304)))
  with video_writer.VideoWriter(driving, small.shape[:2], samples) as writer:
    for _ in range(10):
      writer.append(small)
  result = video_maker.generate_video(demo.portrait(), out, driving=driving, weights=nets)
  assert result.num_frames == 10
  clip = video_reader.read_video(out)
  assert len(clip.frames) == 10 and clip.has_audio
  assert np.corrcoef(clip.samples[:6000], samples[:6000])[0, 1] > 0.9


def test_generation_imports_nothing_that_it_can_do_without(nets, tmp_path):
  out = tmp_path / 'out.mp4'
  program = (
    'import sys\n'
    'from atvg_jax import cli\n'
    f'status = cli.main(["generate", "--image", {demo.portrait()!r}, "--audio", {demo.speech()!r}, '
    f'"--out", {str(out)!r}, "--weights", *{nets!r}])\n'
    'assert status == 0, status\n'
    'heavy = {"tensorflow", "tensorflow_datasets", "orbax", "optax", "librosa", "scipy.ndimage"} & set(sys.modules)\n'
    'assert not heavy, heavy\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert str(out) in done.stdout and 'frames/s' in done.stdout
  clip = video_reader.read_video(str(out))
  speech = audio.read_audio(demo.speech())
  assert len(clip.frames) == audio.num_frames(speech)
  assert abs(len(clip.samples) - len(speech)) < 0.1 * features.SAMPLE_RATE
  assert os.listdir(tmp_path) == ['out.mp4']


def test_a_stream_equals_the_whole_and_begins_before_the_sound_ends(nets, tmp_path):
  samples = _speech(2)
  whole, streamed = str(tmp_path / 'whole.mp4'), tmp_path / 'streamed.mp4'
  _write_sound(tmp_path / 'speech.wav', samples)
  video_maker.generate_video(demo.portrait(), whole, audio=str(tmp_path / 'speech.wav'), weights=nets)
  command = [
    sys.executable,
    '-m',
    'atvg_jax.cli',
    'generate',
    '--image',
    demo.portrait(),
    '--audio',
    '-',
    '--raw',
    '--out',
    '-',
    '--weights',
    *nets,
  ]
  content = np.round(samples * 32767).astype('<i2').tobytes()
  with subprocess.Popen(
    command,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
  ) as process:
    known = 2 * 17 * features.SAMPLES_PER_FRAME  # bytes of what the first window needs
    process.stdin.write(content[:known])
    process.stdin.flush()
    begun = b''
    while b'mdat' not in begun:  # the first frames, while nothing more is said
      more = process.stdout.read1(4096)
      assert more, 'it ended before it began'
      begun += more
    rest, _ = process.communicate(content[known:])
    assert process.returncode == 0
  streamed.write_bytes(begun + rest)
  clips = [video_reader.read_video(path) for path in (whole, str(streamed))]
  assert len(clips[0].frames) == len(clips[1].frames) == 50 and clips[1].has_audio
  # One is encoded for size, the other for speed: what they show is the same.
  assert np.abs(np.stack(clips[0].frames).astype(int) - np.stack(clips[1].frames)).mean() < 4
  assert np.corrcoef(clips[0].samples[2000:30000], clips[1].samples[2000:30000])[0, 1] > 0.99


def test_windows_of_a_stream_draw_the_frames_of_the_whole(nets, image):
  generator = video_maker.Generator.from_pretrained(*nets)
  portrait = generator.find_face(image)
  frames = []
  for sound, window in ((_speech(1.5), 32), (np.array_split(_speech(1.5), 40), 8)):
    landmarks = generator.speech_landmarks(portrait, sound, window)
    frames.append(np.concatenate([piece.frames for piece in generator.draw(portrait, landmarks, window)]))
  assert frames[0].shape == frames[1].shape == (38, 128, 128, 3)
  assert np.abs(frames[0].astype(int) - frames[1]).max() <= 1


def test_what_is_kept_beside_and_told_in_the_file(nets, tmp_path):
  _write_sound(tmp_path / 'speech.wav', _speech(0.5))
  out = tmp_path / 'out.mp4'
  video_maker.generate_video(
    demo.portrait(),
    str(out),
    audio=str(tmp_path / 'speech.wav'),
    weights=nets,
    frame='full',
    save=('landmarks', 'attention', 'motion'),
  )
  assert sorted(os.listdir(tmp_path)) == [
    'out.attention.mp4',
    'out.landmarks.npz',
    'out.motion.mp4',
    'out.mp4',
    'speech.wav',
  ]
  clips = {name: video_reader.read_video(tmp_path / f'out{name}.mp4') for name in ('', '.attention', '.motion')}
  assert {len(clip.frames) for clip in clips.values()} == {13}
  picture = video_reader.read_image(demo.portrait())
  assert clips[''].frames[0].shape == picture.shape and clips['.motion'].frames[0].shape == (128, 128, 3)
  assert np.abs(clips[''].frames[5][:100].astype(int) - picture[:100]).mean() < 3
  with np.load(tmp_path / 'out.landmarks.npz') as arrays:
    points = arrays['points_in_picture']
  assert points.shape == (13, 68, 2) and 200 < points[:, features.MOUTH, 0].mean() < 320
  with av.open(str(out)) as container:
    comment = json.loads(container.metadata['comment'])
  assert comment['synthetic'] and comment['generated_by'].startswith('atvg_jax')
  assert comment['weights']['at']['name'] == 'at.npz' and len(comment['weights']['vg']['sha256']) == 64


def test_the_whole_picture_from_python(nets, image):
  generator = video_maker.Generator.from_pretrained(*nets)
  small = np.asarray(Image.fromarray(image).resize((256, 300)))
  frames = generator(small, _speech(0.2), frame='full')
  assert frames.shape == (5, 300, 256, 3)
  assert (frames[:, :60] == small[:60]).all() and (frames[:, -20:] == small[-20:]).all()
  with pytest.raises(InputError, match='unknown'):
    generator(small, _speech(0.2), frame='half')


def test_a_picture_on_its_head_is_taken_upright_and_told(nets, image, tmp_path, capsys):
  for turns in (0, 2):
    Image.fromarray(np.rot90(image, turns)).save(tmp_path / f'{turns}.png')
  maker = video_maker.VideoMaker(nets)
  (upright, _), (turned, picture) = (maker.face(str(tmp_path / f'{turns}.png')) for turns in (0, 2))
  np.testing.assert_array_equal(picture, image)
  np.testing.assert_array_equal(turned.crop, upright.crop)
  assert '2.png is turned by 180 degrees' in capsys.readouterr().err


def _write_sound(path, samples):
  with wave.open(str(path), 'wb') as file:
    file.setparams((1, 2, features.SAMPLE_RATE, 0, 'NONE', ''))
    file.writeframes(np.round(samples * 32767).astype('<i2').tobytes())
