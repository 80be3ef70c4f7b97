"""The page of `atvg app` (extra `demo`): drop a face and some speech, watch, play, download; and the same for programs.

It is served to this machine unless told otherwise, and asks nothing of any other: no analytics, and a policy that
forbids the browser to load from elsewhere.
"""

import contextlib
import importlib.resources
import os
import pathlib
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from atvg_jax.app import guard, studio
from atvg_jax.app.steps import Steps
from atvg_jax.generate import demo, text_to_speech
from atvg_jax.runtime import ending
from data_pipelines import atomic_files
from data_pipelines.errors import InputError, extra_command
from data_pipelines.faces import face_choice

PORT = 7860
HOST = '127.0.0.1'
_OWN = (HOST, 'localhost', '::1')
_SHORTEST_TOKEN = 16
_QUEUE = 8  # who may wait; one video is made at a time
_ONE: dict[str, Any] = {'concurrency_limit': 1, 'concurrency_id': 'nets'}
_SWEEP, _KEPT = 300, 3600  # seconds: how often old files are looked for, and how long a video can be downloaded

_TITLE = 'A talking face'
_HEAD = f"""
# {_TITLE}
One picture and some speech become a video. Everything happens on this machine; pictures, sound and videos are
deleted after an hour, or when the program ends.
"""
_FOOT = """
At most {seconds} seconds of speech or {characters} characters, files of {megabytes:.0f} MB and pictures of 50
megapixels; one video at a time, and {queue} may wait. The video says in its metadata that it is synthetic. Show people
only as they would agree to be shown.
"""
_CSS = """
.gradio-container {max-width: 1080px !important; margin: 0 auto !important}
"""


def run(port: int = PORT, weights: Sequence[str] | None = None, host: str = HOST) -> None:
  """Serves the page until it is interrupted or ended; leaves no file behind.

  Args:
    port: of `host`.
    weights: see `generate_video`.
    host: address to listen at. Others than this machine's own want a secret in the environment variable ATVG_TOKEN,
      which everybody must then bring.

  Raises:
    InputError: the extra is missing, the port is taken, there is no token where one is needed, or the weights will not
      do.
  """
  if not 0 < port < 1 << 16:
    raise InputError(f'--port {port} is none: use a number from 1024 to 65535')
  token = _token(host)
  with atomic_files.temporary_folder('atvg-app-') as folder:
    page = launch(folder, port, weights, host, token)
    print(f'Open http://{host}:{port}{"/?token=..." if token else ""} in a browser; Ctrl-C ends.', flush=True)
    try:
      threading.Event().wait()
    except (KeyboardInterrupt, ending.Ended):
      pass
    finally:
      page.close(verbose=False)


def _token(host: str) -> str:
  """The secret of the environment, or '' where none is needed."""
  token = os.environ.get('ATVG_TOKEN', '')
  if token and len(token) < _SHORTEST_TOKEN:
    raise InputError(f'ATVG_TOKEN is shorter than {_SHORTEST_TOKEN} characters: take a longer secret')
  if not token and host not in _OWN:
    raise InputError(
      f'--host {host} opens the page to other machines: set ATVG_TOKEN to a secret of {_SHORTEST_TOKEN} characters or '
      'more, which they must bring'
    )
  return token


def launch(folder: str, port: int, weights: Sequence[str] | None = None, host: str = HOST, token: str = '') -> Any:
  """Starts to serve the page, from threads.

  Args:
    folder: for what is uploaded and made.
    port: of `host`.
    weights: see `generate_video`.
    host: address to listen at.
    token: what everybody must bring; '' for nothing.

  Returns:
    gradio.Blocks, to be closed.
  """
  gradio = _gradio(folder)
  from starlette.middleware import Middleware

  page = make_page(gradio, studio.Studio(weights))
  guards = [Middleware(guard.Policy)] + ([Middleware(guard.Token, token=token)] if token else [])
  page.queue(max_size=_QUEUE, default_concurrency_limit=1)
  try:
    page.launch(
      server_name=host,
      server_port=port,
      share=False,
      inline=False,
      inbrowser=False,
      prevent_thread_lock=True,
      quiet=True,
      max_file_size=studio.MAX_BYTES,
      footer_links=[],
      ssr_mode=False,
      mcp_server=False,
      pwa=False,
      enable_monitoring=False,
      run_history=False,
      css=_CSS,
      app_kwargs={'middleware': guards},
      theme=gradio.themes.Soft(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']),
    )
  except OSError as error:
    raise InputError(
      f'port {port} of {host} cannot be used, something else may listen there: choose another --port'
    ) from error
  return page


def make_page(gradio: ModuleType, videos: studio.Studio) -> Any:
  """The page, not yet served."""
  steps = Steps(gradio, videos)
  with gradio.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(_SWEEP, _KEPT)) as page:
    gradio.Markdown(_HEAD)
    with gradio.Row():
      with gradio.Column():
        picture = _picture()
        face = _face_choice(gradio, steps, picture)
        by_text, sound, text, voice = _speech(gradio)
        with gradio.Row():
          frame = gradio.Radio([('Whole picture', 'full'), ('Face alone', 'crop')], value='full', label='Framing')
          moving = gradio.Checkbox(False, label='Move the head a little, and blink', elem_id='moving')
        lively = gradio.Slider(0, 2, 1, step=0.1, label='How far the mouth moves', elem_id='expressiveness')
      with gradio.Column():
        with gradio.Row():  # here they are in sight however high the window is
          start = gradio.Button('Let it speak', variant='primary', elem_id='start', scale=3)
          stop = gradio.Button('Stop', variant='stop', elem_id='stop', scale=1)
        told = gradio.Markdown('', elem_id='told')
        video = gradio.Video(label='Video', autoplay=True, height=360, buttons=['download'], elem_id='video')
        landmarks = gradio.Video(
          label='Landmarks', autoplay=True, loop=True, height=200, buttons=[], elem_id='landmarks'
        )
    gradio.Examples(
      [
        [demo.portrait(), demo.speech(), 'full'],
        [_nobody(), demo.speech(), 'full'],
        [_nobody(), demo.speech(), 'crop'],
      ],
      [picture, sound, frame],
      label='Try one of these',
      cache_examples=False,
      api_visibility='private',
    )
    gradio.Markdown(
      _FOOT.format(
        seconds=studio.MAX_SECONDS, characters=studio.MAX_CHARACTERS, megabytes=studio.MAX_BYTES / 1e6, queue=_QUEUE
      )
    )
    # Two steps of one queue: the landmarks are there to be watched while the frames are drawn.
    predicted = gradio.State(False)
    said = [picture, sound, text, voice, by_text, face]
    first = start.click(
      steps.predict(),
      said,
      [landmarks, video, told, predicted],
      show_progress_on=landmarks,
      api_visibility='private',
      **_ONE,
    )
    second = first.then(
      steps.draw(), [*said, frame, moving, lively, predicted], [video, told], api_visibility='private', **_ONE
    )
    stop.click(steps.stop(), None, told, queue=False, cancels=[first, second], api_visibility='private')
    for given in (picture, sound, text):  # what was missing may be here now
      given.change(lambda: '', None, told, queue=False, api_visibility='private')
    _endpoints(gradio, steps, (picture, sound, text, voice, frame, moving), video)
  return page


def _endpoints(gradio: ModuleType, steps: Steps, inputs: tuple[Any, ...], video: Any) -> None:
  """What programs call: the same limits, and the same queue."""
  picture, sound, text, voice, frame, moving = inputs
  hidden = gradio.Button(visible=False)
  face = gradio.Textbox(face_choice.LARGEST, label='Face', visible=False)  # the page's takes only what it shows
  lively = gradio.Number(1, label='Expressiveness', visible=False)  # without limits: ours are told in a sentence
  how = [frame, moving, face, lively]
  hidden.click(steps.animate(), [picture, sound, *how], video, api_name='animate', **_ONE)
  hidden.click(steps.say(), [picture, text, voice, *how], video, api_name='say', **_ONE)


def _speech(gradio: ModuleType) -> tuple[Any, Any, Any, Any]:
  """Whether a text is said, the recording, the text, and its voice."""
  by_text = gradio.State(False)
  with gradio.Tabs():
    with gradio.Tab('Recording') as recorded:
      sound = _sound()
    with gradio.Tab('Text', elem_id='by_text') as written:
      text = gradio.Textbox(
        label='Text', lines=2, max_lines=4, max_length=studio.MAX_CHARACTERS, placeholder='What to say', elem_id='text'
      )
      voice = gradio.Textbox(
        text_to_speech.VOICE, label='Voice', info='A language, and how it is spoken: de, en-us+f3', max_length=40
      )
  recorded.select(lambda: False, None, by_text, queue=False, api_visibility='private')
  written.select(lambda: True, None, by_text, queue=False, api_visibility='private')
  return by_text, sound, text, voice


def _picture() -> Any:
  """The component for the face, whose value is the path of a file."""
  import gradio  # after `_gradio`, which sets it up

  # What is uploaded is not trusted, and gradio's own readers raise what nobody understands: the path is enough.
  class Picture(gradio.Image):
    is_template = True
    async_move_resource_to_block_cache = _take_files_only

    def preprocess(self, payload: Any) -> str | None:
      return payload.path if payload else None

  _forget_stubs()
  return Picture(
    label='Face',
    type='filepath',
    sources=['upload', 'webcam', 'clipboard'],
    height=240,
    buttons=['fullscreen'],
    elem_id='face',
  )


def _face_choice(gradio: ModuleType, steps: Steps, picture: Any) -> Any:
  """The component for which face is meant; it is shown, with the numbered picture, where there are several."""
  numbered = gradio.Image(
    label='Click on who is to speak', interactive=False, visible=False, buttons=[], elem_id='numbered'
  )
  face = gradio.Radio(
    [face_choice.LARGEST], label='Face, from the left', value=face_choice.LARGEST, visible=False, elem_id='which'
  )
  boxes = gradio.State([])
  options: dict[str, Any] = {'show_progress': 'hidden', 'api_visibility': 'private'}
  picture.change(steps.look(), picture, [numbered, face, boxes], **options, **_ONE)
  numbered.select(steps.click(), boxes, face, queue=False, **options)
  return face


def _sound() -> Any:
  """The component for the recording, whose value is the path of a file."""
  import gradio

  class Sound(gradio.Audio):
    is_template = True
    async_move_resource_to_block_cache = _take_files_only

  _forget_stubs()
  return Sound(
    label='Recording', type='filepath', sources=['upload', 'microphone'], buttons=['download'], elem_id='speech'
  )


async def _take_files_only(component: Any, url_or_file_path: Any) -> str | None:
  """Who does not use the page but its protocol can name an address as a file, and gradio would ask for it."""
  import gradio

  if '://' in str(url_or_file_path):
    raise gradio.Error('An address is no file: upload one.', print_exception=False)
  return await gradio.blocks.Block.async_move_resource_to_block_cache(component, url_or_file_path)


def _forget_stubs() -> None:
  """Gradio writes a stub for such classes, which type checkers would then believe."""
  with contextlib.suppress(OSError):
    pathlib.Path(__file__).with_suffix('.pyi').unlink()


def _nobody() -> str:
  """A second face to try: docs/gallery.md says how it was drawn."""
  return str(importlib.resources.files('atvg_jax') / 'assets' / 'nobody.jpg')


def _gradio(folder: str) -> ModuleType:
  """The library, set to call no other machine and to put its files in `folder`."""
  # Read when it is imported, and when parts of a page are made.
  os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_OFFLINE='1', GRADIO_TEMP_DIR=folder)
  try:
    import gradio
  except ImportError as error:
    raise InputError(f'the page needs the extra demo: {extra_command("demo")}') from error
  return gradio
