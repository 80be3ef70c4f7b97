"""The page of `atvg app` (extra `demo`): drop a face and some speech, watch, play, download.

It is served to this machine only and asks nothing of any other: no analytics, and a policy that forbids the browser
to load from elsewhere.
"""

import contextlib
import html
import os
import pathlib
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from atvg_jax.app import studio
from atvg_jax.generate import demo
from data_pipelines.errors import InputError, extra_command

PORT = 7860
_HOST = '127.0.0.1'
_QUEUE = 8  # who may wait; one video is made at a time
_SWEEP, _KEPT = 300, 3600  # seconds: how often old files are looked for, and how long a video can be downloaded

_POLICY = (
  "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
  "object-src 'none'; form-action 'self'; frame-ancestors 'none'"
)

_TITLE = 'A talking face'
_HEAD = f"""
# {_TITLE}
One picture and some speech become a video. Everything happens on this machine; pictures, sound and videos are
deleted after an hour, or when the program ends.
"""
_FOOT = """
At most {seconds} seconds of speech, files of {megabytes:.0f} MB and pictures of 50 megapixels. The video says in its
metadata that it is synthetic. Show people only as they would agree to be shown.
"""
_CSS = """
.gradio-container {max-width: 1080px !important; margin: 0 auto !important}
"""


def run(port: int = PORT, weights: Sequence[str] | None = None) -> None:
  """Serves the page until it is interrupted or terminated; leaves no file behind.

  Args:
    port: of 127.0.0.1.
    weights: see `generate_video`.

  Raises:
    InputError: the extra is missing, the port is taken, or the weights will not do.
  """
  if not 0 < port < 1 << 16:
    raise InputError(f'--port {port} is none: use a number from 1024 to 65535')
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  with tempfile.TemporaryDirectory(prefix='atvg-app-') as folder:
    page = launch(folder, port, weights)
    print(f'Open http://{_HOST}:{port} in a browser; Ctrl-C ends.', flush=True)
    try:
      threading.Event().wait()
    except KeyboardInterrupt:
      pass
    finally:
      page.close(verbose=False)


def launch(folder: str, port: int, weights: Sequence[str] | None = None) -> Any:
  """Starts to serve the page, from threads.

  Args:
    folder: for what is uploaded and made.
    port: of 127.0.0.1.
    weights: see `generate_video`.

  Returns:
    gradio.Blocks, to be closed.
  """
  gradio = _gradio(folder)
  from starlette.middleware import Middleware

  page = make_page(gradio, studio.Studio(weights))
  page.queue(max_size=_QUEUE, default_concurrency_limit=1)
  try:
    page.launch(
      server_name=_HOST,
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
      app_kwargs={'middleware': [Middleware(_Policy)]},
      theme=gradio.themes.Soft(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']),
    )
  except OSError as error:
    raise InputError(
      f'port {port} of {_HOST} cannot be used, something else may listen there: choose another --port'
    ) from error
  return page


def make_page(gradio: ModuleType, videos: studio.Studio) -> Any:
  """The page, not yet served."""
  with gradio.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(_SWEEP, _KEPT)) as page:
    gradio.Markdown(_HEAD)
    with gradio.Row():
      with gradio.Column():
        image, sound, frame, moving = _inputs()
        start = gradio.Button('Let it speak', variant='primary', elem_id='start')
      with gradio.Column():
        video = gradio.Video(label='Video', autoplay=True, height=420, buttons=['download'], elem_id='video')
        landmarks = gradio.Video(
          label='Landmarks', autoplay=True, loop=True, height=240, buttons=[], elem_id='landmarks'
        )
    gradio.Examples(
      [[demo.portrait(), demo.speech(), frame_] for frame_ in ('full', 'crop')],
      [image, sound, frame],
      label='Try one of these',
      cache_examples=False,
      api_visibility='private',
    )
    gradio.Markdown(_FOOT.format(seconds=studio.MAX_SECONDS, megabytes=studio.MAX_BYTES / 1e6))
    # Two steps of one queue: the landmarks are there to be watched while the frames are drawn.
    predict, draw = _steps(gradio, videos)
    predicted = gradio.State(False)
    options = {'api_visibility': 'private', 'concurrency_limit': 1, 'concurrency_id': 'nets'}
    start.click(predict, [image, sound], [landmarks, video, predicted], show_progress_on=landmarks, **options).then(
      draw, [image, sound, frame, moving, predicted], video, **options
    )
  return page


def _inputs() -> tuple[Any, Any, Any, Any]:
  """The components for face, speech, frame, and whether the head moves."""
  import gradio  # after `_gradio`, which sets it up

  # Who does not use the page but its protocol can name an address as a file, and gradio would ask for it.
  async def take_files_only(self: Any, url_or_file_path: Any) -> str | None:
    if '://' in str(url_or_file_path):
      raise gradio.Error('An address is no file: upload one.', print_exception=False)
    return await gradio.blocks.Block.async_move_resource_to_block_cache(self, url_or_file_path)

  # What is uploaded is not trusted, and gradio's own readers raise what nobody understands: the path is enough.
  class Picture(gradio.Image):
    is_template = True
    async_move_resource_to_block_cache = take_files_only

    def preprocess(self, payload: Any) -> str | None:
      return payload.path if payload else None

  class Sound(gradio.Audio):
    is_template = True
    async_move_resource_to_block_cache = take_files_only

  with contextlib.suppress(OSError):  # gradio writes a stub for such classes, which type checkers would then believe
    pathlib.Path(__file__).with_suffix('.pyi').unlink()
  image = Picture(
    label='Face',
    type='filepath',
    sources=['upload', 'webcam', 'clipboard'],
    height=300,
    buttons=['fullscreen'],
    elem_id='face',
  )
  sound = Sound(
    label='Speech', type='filepath', sources=['upload', 'microphone'], buttons=['download'], elem_id='speech'
  )
  frame = gradio.Radio([('The whole picture', 'full'), ('The face alone', 'crop')], value='full', label='Show')
  moving = gradio.Checkbox(False, label='Move the head a little, and blink', elem_id='moving')
  return image, sound, frame, moving


def _steps(gradio: ModuleType, videos: studio.Studio) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """What the button does: predict the landmarks, then draw the frames."""

  def predict(image: str | None, sound: str | None) -> Iterator[tuple[str | None, None, bool]]:
    try:
      for film in videos.landmarks(image, sound):
        yield film, None, True
    except InputError as error:
      gradio.Warning(html.escape(str(error)))
      yield None, None, False

  # gradio looks for a default of this kind.
  def draw(
    image: str | None,
    sound: str | None,
    frame: str,
    moving: bool,
    predicted: bool,
    progress: Any = gradio.Progress(),  # noqa: B008
  ) -> Iterator[str | None]:
    if not predicted:
      yield None
      return
    try:
      yield from videos.video(
        image, sound, frame, lambda done, total: progress((done, total), desc='Drawing', unit='frames'), moving
      )
    except InputError as error:
      gradio.Warning(html.escape(str(error)))
      yield None

  return predict, draw


class _Policy:
  """Middleware that adds `_POLICY` to every answer."""

  def __init__(self, app: Any):
    self._app = app

  async def __call__(self, scope, receive, send) -> None:
    async def send_with_policy(message):
      if message['type'] == 'http.response.start':
        message = message | {
          'headers': [
            *message.get('headers', ()),
            (b'content-security-policy', _POLICY.encode()),
            (b'referrer-policy', b'no-referrer'),
          ]
        }
      await send(message)

    await self._app(scope, receive, send_with_policy)


def _gradio(folder: str) -> ModuleType:
  """The library, set to call no other machine and to put its files in `folder`."""
  # Read when it is imported, and when parts of a page are made.
  os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_OFFLINE='1', GRADIO_TEMP_DIR=folder)
  try:
    import gradio
  except ImportError as error:
    raise InputError(f'the page needs the extra demo: {extra_command("demo")}') from error
  return gradio
