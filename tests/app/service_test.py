"""The page for programs: its endpoints by gradio's client and by curl, its limits, and its token."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import page_server
import pytest
import random_nets
from demo_samples import demo_speech

from atvg_jax import cli
from atvg_jax.app import guard
from atvg_jax.generate import demo, text_to_speech
from data_pipelines import features
from data_pipelines.media import video_reader

_TOKEN = 'a secret of sixteen characters or more, 100%'
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'service.md'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """A folder with FACE.jpg and half a second of SPEECH.wav."""
  folder = tmp_path_factory.mktemp('files')
  shutil.copy(demo.portrait(), folder / 'FACE.jpg')
  text_to_speech.save(demo_speech()[: features.SAMPLE_RATE // 2], str(folder / 'SPEECH.wav'))
  return folder


@pytest.fixture(scope='module')
def server(tmp_path_factory):
  pytest.importorskip('gradio', reason='the extra demo is not installed')
  nets = random_nets.save(tmp_path_factory.mktemp('nets'))
  with page_server.serve(nets, tmp_path_factory.mktemp('server'), '0.0.0.0', _TOKEN) as address:
    yield address


def _client_program(call):
  return (
    'import sys\nfrom gradio_client import Client, handle_file\n'
    "client = Client(sys.argv[1], headers={'Authorization': f'Bearer {sys.argv[2]}'}, verbose=False, "
    "download_files='got')\n"
    f'print(client.predict({call}))\n'
  )


def _by_client(server, files, call, token=_TOKEN):
  return subprocess.run(
    [sys.executable, '-c', _client_program(call), server, token],
    cwd=files,
    env=os.environ | {'NO_PROXY': '*'},
    capture_output=True,
    text=True,
    check=False,
  )


def test_a_picture_and_a_recording_become_a_video(server, files):
  done = _by_client(
    server, files, "handle_file('FACE.jpg'), handle_file('SPEECH.wav'), frame='crop', motion=True, api_name='/animate'"
  )
  assert done.returncode == 0, done.stderr
  clip = video_reader.read_video(files / done.stdout.strip())
  assert len(clip.frames) == 13 and clip.frames[0].shape == (128, 128, 3) and clip.has_audio


def test_a_picture_and_a_text_become_a_video(server, files):
  pytest.importorskip('espeakng_loader', reason='the extra tts is not installed')
  done = _by_client(server, files, "handle_file('FACE.jpg'), 'Hi', voice='de', frame='crop', api_name='/say'")
  assert done.returncode == 0, done.stderr
  assert video_reader.read_video(files / done.stdout.strip()).has_audio


def test_a_face_is_chosen_as_by_the_command(server, files):
  call = "handle_file('FACE.jpg'), handle_file('SPEECH.wav'), frame='crop', face='{}', api_name='/animate'"
  done = _by_client(server, files, call.format('2'))
  assert done.returncode == 1 and 'there is no face number 2: one face is seen' in done.stderr
  done = _by_client(server, files, call.format('the nice one'))
  assert done.returncode == 1 and "Face 'the nice one' is no choice of a face" in done.stderr


def test_the_mouth_moves_as_far_as_is_asked_for(server, files):
  call = "handle_file('FACE.jpg'), handle_file('SPEECH.wav'), frame='crop', expressiveness={}, api_name='/animate'"
  still, lively = (
    np.stack(video_reader.read_video(files / _by_client(server, files, call.format(factor)).stdout.strip()).frames)
    for factor in (0, 2)
  )
  assert len(still) == len(lively) == 13 and np.abs(still.astype(int) - lively).max() > 16
  done = _by_client(server, files, call.format(2.5))
  assert done.returncode == 1 and 'Expressiveness 2.5 is out of range: give 0' in done.stderr


def test_what_cannot_be_used_is_told_in_a_sentence(server, files):
  done = _by_client(server, files, "handle_file('SPEECH.wav'), handle_file('SPEECH.wav'), api_name='/animate'")
  assert done.returncode == 1 and 'The picture cannot be read as a picture' in done.stderr.splitlines()[-1]


@pytest.mark.skipif(not shutil.which('curl'), reason='there is no curl')
def test_curl_is_enough(server, files):
  block = next(part for part in _PAGE.read_text(encoding='utf-8').split('```') if '$server/upload' in part)
  program = 'set -e\n' + block.replace('http://127.0.0.1:7860', server)
  environment = os.environ | {'ATVG_TOKEN': _TOKEN, 'NO_PROXY': '*'}
  subprocess.run(['bash', '-c', program], cwd=files, env=environment, check=True, capture_output=True)
  assert len(video_reader.read_video(files / 'talking.mp4').frames) == 13


def test_without_its_token_nobody_comes_in(server, files):
  done = _by_client(server, files, "handle_file('FACE.jpg'), None, api_name='/animate'", token='x' * 20)
  assert done.returncode == 1 and 'talking.mp4' not in done.stdout
  for path in ('/', '/config', '/gradio_api/info', '/gradio_api/upload'):
    with pytest.raises(urllib.error.HTTPError) as refused:
      _DIRECT.open(server + path)
    assert refused.value.code == 401
    refused.value.close()
  request = urllib.request.Request(f'{server}/config', headers={'Authorization': f'Bearer {_TOKEN}'})
  with _DIRECT.open(request) as answer:
    names = {one['api_name'] for one in json.load(answer)['dependencies'] if one['api_visibility'] == 'public'}
  assert names == {'animate', 'say'}


@pytest.mark.parametrize(
  'arguments, token, reason',
  [
    (['--host', '0.0.0.0'], '', 'set ATVG_TOKEN'),
    (['--host', '::'], 'short', 'shorter than 16'),
    ([], 'short', 'shorter than 16'),
  ],
)
def test_other_machines_need_a_token(monkeypatch, capsys, arguments, token, reason):
  monkeypatch.setenv('ATVG_TOKEN', token)
  assert cli.main(['app', *arguments]) == 2
  assert reason in capsys.readouterr().err


def _answers(scope):
  """What the guard of a token sends, and whether it lets the request through."""
  sent, passed = [], []

  async def app(scope, receive, send):
    passed.append(scope)

  async def send(message):
    sent.append(message)

  with contextlib.suppress(StopIteration):
    guard.Token(app, _TOKEN)(scope, None, send).send(None)
  return sent, bool(passed)


def test_a_browser_brings_the_token_once_and_keeps_it_in_a_cookie():
  asked = {'type': 'http', 'path': '/', 'query_string': b'token=' + urllib.parse.quote(_TOKEN).encode(), 'headers': []}
  sent, passed = _answers(asked)
  headers = dict(sent[0]['headers'])
  assert not passed and sent[0]['status'] == 303 and headers[b'location'] == b'/'
  cookie = headers[b'set-cookie'].partition(b';')[0]
  assert _answers({'type': 'http', 'path': '/', 'headers': [(b'cookie', cookie)]}) == ([], True)
  sent, passed = _answers({'type': 'websocket', 'path': '/', 'headers': []})
  assert not passed and sent[0]['type'] == 'websocket.close'
