"""The page: what is behind it on good and damaged files, its server, and all of it in headless Chromium."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import wave

import drawn_clips
import numpy as np
import page_server
import pytest
import random_nets
from PIL import Image

from atvg_jax import cli
from atvg_jax.app import faces, studio
from atvg_jax.generate import demo, video_maker
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio, video_reader


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
  return random_nets.save(tmp_path_factory.mktemp('nets'))


@pytest.fixture(scope='module')
def maker(nets):
  return studio.Studio(nets)


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _sound(path, samples):
  with wave.open(str(path), 'wb') as file:
    file.setparams((1, 2, features.SAMPLE_RATE, 0, 'NONE', ''))
    file.writeframes((np.asarray(samples) * 32767).astype('<i2').tobytes())
  return str(path)


def _short(folder):
  return _sound(folder / 'short.wav', audio.read_audio(demo.speech())[: features.SAMPLE_RATE])


@pytest.mark.parametrize('frame, size, moving', [('crop', (128, 128), True), ('full', (600, 512), False)])
def test_films_are_whole_and_removed(maker, tmp_path, monkeypatch, frame, size, moving):
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
  counts, sound = [], _short(tmp_path)
  for path in maker.landmarks(demo.portrait(), studio.Speech(sound)):
    film = video_reader.read_video(path).frames
    assert len(film) == features.FPS and film[0].shape == (384, 384, 3)
    assert any((one != film[0]).any() for one in film[1:])
  for path in maker.video(
    demo.portrait(), studio.Speech(sound), frame, lambda done, total: counts.append((done, total)), moving
  ):
    clip = video_reader.read_video(path)
    assert len(clip.frames) == features.FPS and clip.frames[0].shape == (*size, 3) and clip.has_audio
  assert counts == [(done, features.FPS) for done in range(1, features.FPS + 1)]
  assert os.listdir(tmp_path) == ['short.wav']


def _text(folder):
  (folder / 'face.jpg').write_text('not a picture')
  return str(folder / 'face.jpg'), demo.speech()


def _giant(folder):
  Image.new('1', (10_000, 10_001)).save(folder / 'giant.png')
  return str(folder / 'giant.png'), demo.speech()


def _nobody(folder):
  Image.new('RGB', (200, 200), 'gray').save(folder / 'nobody.png')
  return str(folder / 'nobody.png'), demo.speech()


def _far(folder):
  page = Image.new('RGB', (700, 500), 'gray')
  page.paste(Image.open(demo.portrait()).resize((64, 75)), (300, 200))
  page.save(folder / 'far.png')
  return str(folder / 'far.png'), demo.speech()


def _heavy(folder):
  with open(folder / 'heavy.png', 'wb') as file:
    file.truncate(studio.MAX_BYTES + 1)
  return str(folder / 'heavy.png'), demo.speech()


def _film(folder):
  shutil.copy(demo.speech(), folder / 'face.mp4')
  return str(folder / 'face.mp4'), demo.speech()


def _with_sound(samples):
  return lambda folder: (demo.portrait(), _sound(folder / 'a.wav', samples))


def _nan(folder):
  import scipy.io.wavfile

  scipy.io.wavfile.write(folder / 'nan.wav', features.SAMPLE_RATE, np.full(8000, np.nan, np.float32))
  return demo.portrait(), str(folder / 'nan.wav')


def _zero_bytes(folder):
  (folder / 'a.wav').touch()
  return demo.portrait(), str(folder / 'a.wav')


@pytest.mark.parametrize(
  'files, reason',
  [
    (_text, '^The picture cannot be read as a picture'),
    (_giant, '^The picture is 10000x10001 pixels, more than 50'),
    (_nobody, '^The picture: no face'),
    (_heavy, '^The picture is larger than 20 MB'),
    (_film, '^The picture cannot'),
    (_with_sound([]), '^The recording'),
    (_with_sound(np.zeros(9000)), '^The recording is silent'),
    (_with_sound(np.full(61 * 16000, 0.1)), '^The recording is longer than 60 seconds'),
    (_nan, '^The recording is silent'),
    (_zero_bytes, '^The recording is empty'),
    (lambda folder: (demo.portrait(), demo.portrait()), '^The picture'),
    (lambda folder: (None, demo.speech()), '^There is no picture yet'),
    (lambda folder: (demo.portrait(), None), '^There is no recording yet'),
    (lambda folder: (str(folder), demo.speech()), '^The picture is a directory'),
    (_far, 'too small, .* give a larger picture.$'),  # and no word of an option of the command
  ],
)
def test_damaged_and_hostile_files_end_in_a_sentence_without_a_path(maker, tmp_path, files, reason):
  image, sound = files(tmp_path)
  speech = studio.Speech(sound)
  for films in (maker.landmarks(image, speech), maker.video(image, speech, 'crop', lambda done, total: None)):
    with pytest.raises(InputError, match=reason) as error:
      list(films)
    assert str(tmp_path) not in str(error.value) and str(error.value).endswith('.')


@pytest.mark.parametrize(
  'text, reason',
  [
    ('', '^There is no text yet'),
    ('a' * 1001, '^The text has 1001 characters'),
    ('...', '^The text holds nothing'),
    ('word ' * 199, '^The recording is longer than 60 seconds'),
  ],
)
def test_texts_that_cannot_be_said_end_in_a_sentence(maker, text, reason):
  pytest.importorskip('espeakng_loader', reason='the extra tts is not installed')
  with pytest.raises(InputError, match=reason):
    list(maker.landmarks(demo.portrait(), studio.Speech(text=text, voice='en-gb')))


def test_who_takes_too_long_makes_room(maker, tmp_path, monkeypatch):
  monkeypatch.setattr(studio, '_PATIENCE', 0)
  with pytest.raises(InputError, match='^This video takes longer'):
    list(maker.video(demo.portrait(), studio.Speech(_short(tmp_path)), 'crop', lambda done, total: None))


def test_an_unforeseen_failure_is_a_sentence_too(maker, tmp_path, monkeypatch, capsys):
  def fail(path):
    raise MemoryError(path)

  monkeypatch.setattr('data_pipelines.media.video_reader.read_image', fail)
  with pytest.raises(InputError, match='^This picture and this recording cannot be used'):
    list(maker.landmarks(demo.portrait(), studio.Speech(_short(tmp_path))))
  assert 'MemoryError' in capsys.readouterr().err


def test_what_watches_can_end_the_work_and_nothing_is_left(nets, tmp_path):
  def stop(done):
    raise InputError(f'{done} is enough')

  job = video_maker.Job(demo.portrait(), str(tmp_path / 'out.mp4'), _short(tmp_path))
  with pytest.raises(InputError, match='^1 is enough'):
    video_maker.VideoMaker(nets).make(job, progress=False, watch=stop)
  assert os.listdir(tmp_path) == ['short.wav']


def test_a_missing_extra_is_told(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'gradio', None)
  for name in ('GRADIO_ANALYTICS_ENABLED', 'HF_HUB_OFFLINE', 'GRADIO_TEMP_DIR'):
    monkeypatch.setenv(name, '')
  assert cli.main(['app']) == 2
  assert 'extra demo' in capsys.readouterr().err
  assert cli.main(['app', '--port', '99999']) == 2


@pytest.fixture(scope='module')
def server(nets, tmp_path_factory):
  pytest.importorskip('gradio', reason='the extra demo is not installed')
  with page_server.serve(nets, tmp_path_factory.mktemp('server')) as address:
    yield f'{address}/'


def test_the_page_is_for_this_machine_and_calls_nobody(server):
  with _DIRECT.open(server) as answer:
    assert "connect-src 'self'" in answer.headers['content-security-policy']
    assert 'fonts.googleapis.com/css' not in answer.read().decode()
  with _DIRECT.open(server + 'config') as answer:
    config = json.load(answer)
  assert config['analytics_enabled'] is False and config['space_id'] is None


def test_a_taken_port_is_told(server, nets):
  done = subprocess.run(
    [sys.executable, '-m', 'atvg_jax.cli', 'app', '--port', server.rstrip('/').rsplit(':')[-1], '--weights', *nets],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2 and 'choose another --port' in done.stderr and 'Traceback' not in done.stderr


def test_an_address_is_no_file(server):
  with _DIRECT.open(f'{server}config') as answer:
    function = next(one['id'] for one in json.load(answer)['dependencies'] if one['api_name'] == 'predict')
  picture = {'path': 'http://192.0.2.1/face.png', 'meta': {'_type': 'gradio.FileData'}}
  content = {'data': [picture, None, '', 'en-gb', None, 'largest'], 'fn_index': function, 'session_hash': 'a'}
  _DIRECT.open(
    urllib.request.Request(
      f'{server}gradio_api/queue/join', json.dumps(content).encode(), {'Content-Type': 'application/json'}
    )
  ).close()
  with _DIRECT.open(f'{server}gradio_api/queue/data?session_hash=a', timeout=60) as answer:
    told = next(line for line in answer if b'process_completed' in line)
  assert b'An address is no file' in told


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
  webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
  driver, program = shutil.which('chromedriver'), shutil.which('chromium') or shutil.which('google-chrome')
  if not driver or not program:
    pytest.skip('there is no Chromium with its driver')
  options = webdriver.ChromeOptions()
  options.binary_location = program
  for flag in (
    'headless',
    'no-sandbox',
    'disable-gpu',
    'disable-quic',
    'no-first-run',
    'disable-background-networking',
    'disable-component-update',
    'disable-sync',
    'no-proxy-server',
    'window-size=1280,900',
    f'user-data-dir={tmp_path_factory.mktemp("profile")}',
  ):
    options.add_argument(f'--{flag}')
  options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
  opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
  yield opened
  opened.quit()


def _wait(browser, script, seconds=600):
  end = time.monotonic() + seconds
  while not (found := browser.execute_script(f'return {script}')):
    assert time.monotonic() < end, f'{script}\n{browser.find_element("tag name", "body").text}'
    time.sleep(0.2)
  return found


def _press_start(browser, seconds=20):
  from selenium.common.exceptions import ElementClickInterceptedException

  end = time.monotonic() + seconds
  while True:
    try:
      browser.find_element('id', 'start').click()
      return
    except ElementClickInterceptedException:  # what is above it is still growing
      assert time.monotonic() < end
      time.sleep(0.2)


@pytest.mark.slow
def test_in_a_browser_a_face_speaks_and_bad_files_are_told(server, browser, tmp_path):
  from selenium.webdriver.common.by import By

  browser.get(server)
  _wait(browser, "document.querySelector('#start')")
  _press_start(browser)
  assert 'no picture yet' in _wait(browser, "document.querySelector('#told')?.innerText")
  assert browser.execute_script("return document.querySelector('#start').getBoundingClientRect().bottom < innerHeight")

  (tmp_path / 'face.jpg').write_text('not a picture')
  browser.find_element(By.CSS_SELECTOR, '#face input[type=file]').send_keys(str(tmp_path / 'face.jpg'))
  browser.find_element(By.CSS_SELECTOR, '#speech input[type=file]').send_keys(_short(tmp_path))
  _wait(browser, "document.querySelector('#speech audio, #speech #waveform')")
  _wait(browser, "document.querySelector('#face img')")
  _wait(browser, "!document.querySelector('#told')?.innerText")  # there is a picture now
  _press_start(browser)
  told = _wait(browser, "document.querySelector('#told')?.innerText")
  assert 'The picture cannot be read' in told and 'Traceback' not in told

  browser.find_element(By.CSS_SELECTOR, '.gallery-item, tbody tr').click()
  _wait(browser, "document.querySelector('#face img')?.naturalWidth == 512")
  _press_start(browser)
  _wait(browser, "document.querySelector('#landmarks video')?.videoWidth == 384")
  assert _wait(browser, "document.querySelector('#video video')?.videoWidth") == 512
  assert _wait(browser, "document.querySelector('#video video').duration") == pytest.approx(9, abs=0.2)
  assert _wait(browser, "document.querySelector('#video a[download]')?.href").startswith(server)

  asked = {
    json.loads(entry['message'])['message']['params'].get('request', {}).get('url', '')
    for entry in browser.get_log('performance')
    if '"Network.requestWillBeSent"' in entry['message']
  }
  away = [url for url in asked if url.startswith(('http', 'ws')) and not url.startswith(server)]
  assert any(url.startswith(server) for url in asked) and not away
  if folder := os.environ.get('ATVG_SCREENSHOTS'):
    browser.save_screenshot(os.path.join(folder, 'app.png'))


def test_faces_are_numbered_and_clicked_and_one_alone_needs_no_choice(maker, tmp_path):
  assert maker.faces(demo.portrait()) is None and maker.faces(None) is None
  assert maker.faces(_text(tmp_path)[0]) is None
  picture = np.concatenate([drawn_clips.face(), drawn_clips.face(0.03)], axis=1)
  Image.fromarray(picture).save(tmp_path / 'two.png')
  shown, boxes = maker.faces(str(tmp_path / 'two.png'))
  assert shown.shape == picture.shape and (shown != picture).any() and len(boxes) == 2
  assert [faces.clicked(boxes, *place) for place in ((90, 100), (290, 90), (200, 5), (0, 0))] == [1, 2, 2, 1]


@pytest.mark.slow
def test_in_a_browser_a_click_chooses_the_face(server, browser, tmp_path):
  from selenium.webdriver.common.action_chains import ActionChains

  Image.fromarray(np.concatenate([drawn_clips.face(), drawn_clips.face(0.03)], axis=1)).save(tmp_path / 'two.png')
  browser.get(server)
  _wait(browser, "document.querySelector('#face input[type=file]')")
  browser.find_element('css selector', '#face input[type=file]').send_keys(str(tmp_path / 'two.png'))
  picture = _wait(browser, "document.querySelector('#numbered img')")
  _wait(browser, "document.querySelector('#which input')")
  ActionChains(browser).move_to_element_with_offset(picture, picture.size['width'] // 4, 0).click().perform()
  assert _wait(browser, "document.querySelector('#which input:checked')?.value != 'largest'")
  assert browser.execute_script("return document.querySelector('#which input:checked').value") == '2'
  if folder := os.environ.get('ATVG_SCREENSHOTS'):
    browser.save_screenshot(os.path.join(folder, 'faces.png'))
