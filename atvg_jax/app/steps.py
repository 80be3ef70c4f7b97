"""What the buttons of the page and the endpoints of its API do."""

import html
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from atvg_jax.app import studio
from data_pipelines.errors import InputError


class Steps:
  """The functions that gradio calls: of the page, `predict`, `draw` and `stop`; of the API, `animate` and `say`."""

  def __init__(self, gradio: ModuleType, videos: studio.Studio):
    self._gradio, self._videos = gradio, videos
    self._stopped: set[str] = set()  # sessions whose video nobody wants any more

  def predict(self) -> Callable[..., Any]:
    """(face, recording, text, voice, by text) → film of the landmarks, no video, what went wrong, whether to go on."""

    def predict(
      image: str | None, sound: str | None, text: str, voice: str, by_text: bool, request: Any = None
    ) -> Iterator[tuple[str | None, None, str, bool]]:
      self._stopped.discard(_session(request))
      speech = studio.Speech(text=text or '', voice=voice) if by_text else studio.Speech(sound)
      try:
        for film in self._videos.landmarks(image, speech):
          yield film, None, '', True
      except InputError as error:
        yield None, None, html.escape(str(error)), False

    return self._with_request(predict)

  def draw(self) -> Callable[..., Any]:
    """(face, recording, text, voice, by text, frame, moving, expressiveness, predicted) → video, what went wrong."""
    gradio = self._gradio

    # gradio looks for a default of this kind.
    def draw(
      image: str | None,
      sound: str | None,
      text: str,
      voice: str,
      by_text: bool,
      frame: str,
      moving: bool,
      lively: float,
      predicted: bool,
      request: Any = None,
      progress: Any = gradio.Progress(),  # noqa: B008
    ) -> Iterator[tuple[str | None, str]]:
      if not predicted:
        yield None, gradio.skip()
        return
      session = _session(request)

      def watch(done: int, total: int) -> None:
        if session in self._stopped:
          raise InputError('stopped')
        progress((done, total), desc='Drawing', unit='frames')

      speech = studio.Speech(text=text or '', voice=voice) if by_text else studio.Speech(sound)
      try:
        for film in self._videos.video(image, speech, frame, watch, moving, lively):
          yield film, ''
      except InputError as error:
        yield None, html.escape(str(error))

    return self._with_request(draw)

  def stop(self) -> Callable[..., Any]:
    """→ a word; the video of this session ends at its next frame."""

    def stop(request: Any = None) -> str:
      self._stopped.add(_session(request))
      return 'Stopped.'

    return self._with_request(stop)

  def animate(self) -> Callable[..., Any]:
    """The endpoint `/animate`."""

    def animate(image: str | None, audio: str | None, frame: str, motion: bool) -> Iterator[str]:
      """Makes a face speak a recording.

      Args:
        image: picture of a face.
        audio: recording of speech.
        frame: 'full' for the whole picture, 'crop' for the face alone, 128x128.
        motion: whether the head moves a little, and blinks.
      """
      yield from self._made(image, studio.Speech(audio), frame, motion)

    return animate

  def say(self) -> Callable[..., Any]:
    """The endpoint `/say`."""

    def say(image: str | None, text: str, voice: str, frame: str, motion: bool) -> Iterator[str]:
      """Makes a face speak a text.

      Args:
        image: picture of a face.
        text: what to say.
        voice: language of eSpeak NG, and how it is spoken, such as 'de' or 'en-us+f3'.
        frame: 'full' for the whole picture, 'crop' for the face alone, 128x128.
        motion: whether the head moves a little, and blinks.
      """
      yield from self._made(image, studio.Speech(text=text or '', voice=voice), frame, motion)

    return say

  def _made(self, image: str | None, speech: studio.Speech, frame: str, moving: bool) -> Iterator[str]:
    try:
      yield from self._videos.video(image, speech, frame, lambda done, total: None, moving)
    except InputError as error:
      raise self._gradio.Error(str(error), print_exception=False) from error

  def _with_request(self, function: Callable[..., Any]) -> Callable[..., Any]:
    """Has gradio pass its request, which it does to a parameter of that type."""
    function.__annotations__['request'] = self._gradio.Request
    return function


def _session(request: Any) -> str:
  return str(getattr(request, 'session_hash', '') or '')
