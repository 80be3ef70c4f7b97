"""What the buttons do, without a page."""

import types

import pytest

from atvg_jax.app import studio
from atvg_jax.app.steps import Steps
from data_pipelines.errors import InputError


class _Told(Exception):
  """gradio's error."""

  def __init__(self, message, print_exception):
    super().__init__(message)


_GRADIO = types.SimpleNamespace(
  Request=object, Progress=lambda: lambda *args, **options: None, Error=_Told, skip=lambda: 'as it was'
)


class _Videos:
  """A studio that draws three frames."""

  def __init__(self):
    self.said, self.faces, self.factors, self.between = [], [], [], lambda: None

  def landmarks(self, image, speech, face):
    self.said.append(speech)
    self.faces.append(face)
    if image is None:
      raise InputError('There is no <picture> yet.')
    yield 'landmarks.mp4'

  def video(self, image, speech, frame, watch, moving=False, expressiveness=1.0, face='largest'):
    self.faces.append(face)
    self.factors.append(expressiveness)
    for done in range(1, 4):
      watch(done, 3)
      self.between()
    yield 'talking.mp4'


def _request(name='session'):
  return types.SimpleNamespace(session_hash=name)


def test_a_recording_or_else_a_text_is_said():
  steps = Steps(_GRADIO, videos := _Videos())
  given = ('face.png', 'speech.wav', 'Hello', 'de')
  assert list(steps.predict()(*given, False, 'largest', _request())) == [('landmarks.mp4', None, '', True)]
  list(steps.predict()(*given, True, 'largest', _request()))
  assert videos.said == [studio.Speech('speech.wav'), studio.Speech(text='Hello', voice='de')]


def test_what_is_missing_is_told_and_nothing_is_drawn():
  steps = Steps(_GRADIO, _Videos())
  told = list(steps.predict()(None, None, '', 'de', False, 'largest', _request()))
  assert told == [(None, None, 'There is no &lt;picture&gt; yet.', False)]
  given = (None, None, '', 'de', False, 'largest')
  drawn = list(steps.draw()(*given, 'full', False, 1, False, _request(), _GRADIO.Progress()))
  assert drawn == [(None, 'as it was')]


@pytest.mark.parametrize('who, video', [('session', None), ('another', 'talking.mp4')])
def test_stop_ends_the_video_of_its_own_session_only(who, video):
  steps = Steps(_GRADIO, videos := _Videos())
  videos.between = lambda: steps.stop()(_request(who))
  given = ('face.png', 'speech.wav', '', 'de', False, '2')
  draw = steps.draw()
  assert next(iter(draw(*given, 'full', False, 1, True, _request(), _GRADIO.Progress())))[0] == video
  videos.between = lambda: None
  list(steps.predict()(*given, _request()))  # the next one is not stopped
  assert list(draw(*given, 'full', False, 1, True, _request(), _GRADIO.Progress())) == [('talking.mp4', '')]
  assert videos.faces == ['2'] * 3


def test_programs_get_an_error_with_the_sentence():
  steps = Steps(_GRADIO, videos := _Videos())
  assert list(steps.animate()('face.png', 'speech.wav', 'crop', False, 'left', 0.5)) == ['talking.mp4']

  def fail():
    raise InputError('This picture cannot be used.')

  videos.between = fail
  with pytest.raises(_Told, match='cannot be used'):
    list(steps.say()('face.png', 'Hello', 'de', 'crop', False, '310,200', 1.5))
  assert videos.faces == ['left', '310,200'] and videos.factors == [0.5, 1.5]
