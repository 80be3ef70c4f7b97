"""What the buttons of the page and the endpoints of its API do."""

import html
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from atvg_jax.app import faces, studio
from data_pipelines.errors import InputError
from data_pipelines.faces import face_choice


class Steps:
  """The functions that gradio calls: `animate` and `say` are of the API, the others of the page."""

  def __init__(self, gradio: ModuleType, videos: studio.Studio):
    self._gradio, self._videos = gradio, videos
    self._stopped: set[str] = set()  # sessions whose video nobody wants any more

  def predict(self) -> Callable[..., Any]:
    """(picture, recording, text, voice, by text, face) → film of landmarks, no video, what went wrong, go on or not."""

    def predict(
      image: str | None, sound: str | None, text: str, voice: str, by_text: bool, face: str, request: Any = None
    ) -> Iterator[tuple[str | None, None, str, bool]]:
      self._stopped.discard(_session(request))
      speech = studio.Speech(text=text or '', voice=voice) if by_text else studio.Speech(sound)
      try:
        for film in self._videos.landmarks(image, speech, face):
          yield film, None, '', True
      except InputError as error:
        yield None, None, html.escape(str(error)), False

    return self._with_request(predict)

  def draw(self) -> Callable[..., Any]:
    """(those of `predict`, frame, moving, expressiveness, whether predicted) → video, what went wrong."""
    gradio = self._gradio

    # gradio looks for a default of this kind.
    def draw(
      image: str | None,
      sound: str | None,
      text: str,
      voice: str,
      by_text: bool,
      face: str,
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
        for film in self._videos.video(image, speech, frame, watch, moving, lively, face):
          yield film, ''
      except InputError as error:
        yield None, html.escape(str(error))

    return self._with_request(draw)

  def look(self) -> Callable[..., Any]:
    """The picture → that with its faces numbered, the numbers to choose from, and the frames; hidden for one face."""
    gradio = self._gradio

    def look(image: str | None) -> tuple[Any, Any, list[list[float]]]:
      found = self._videos.faces(image) if image else None
      numbered, boxes = found or (None, [])
      choices = [('the largest', face_choice.LARGEST), *((str(n), str(n)) for n in range(1, len(boxes) + 1))]
      which = gradio.Radio(choices=choices, value=face_choice.LARGEST, visible=bool(boxes))
      return gradio.Image(value=numbered, visible=bool(boxes)), which, boxes

    return look

  def click(self) -> Callable[..., Any]:
    """(frames, place in the numbered picture) → which face."""

    def click(boxes: list[list[float]], event: Any) -> str:
      return str(faces.clicked(boxes, *event.index)) if boxes else face_choice.LARGEST

    click.__annotations__['event'] = self._gradio.SelectData  # it is told by its type
    return click

  def stop(self) -> Callable[..., Any]:
    """→ a word; the video of this session ends at its next frame."""

    def stop(request: Any = None) -> str:
      self._stopped.add(_session(request))
      return 'Stopped.'

    return self._with_request(stop)

  def animate(self) -> Callable[..., Any]:
    """The endpoint `/animate`."""

    def animate(
      image: str | None, audio: str | None, frame: str, motion: bool, face: str, expressiveness: float
    ) -> Iterator[str]:
      """Makes a face speak a recording.

      Args:
        image: picture of a face.
        audio: recording of speech.
        frame: 'full' for the whole picture, 'crop' for the face alone, 128x128.
        motion: whether the head moves a little, and blinks.
        face: which of several: 'largest', 'left', 'right', a number from the left, or 'X,Y' in pixels.
        expressiveness: factor on how far the mouth moves, 0 to 2.
      """
      yield from self._made(image, studio.Speech(audio), frame, motion, face, expressiveness)

    return animate

  def say(self) -> Callable[..., Any]:
    """The endpoint `/say`."""

    def say(
      image: str | None, text: str, voice: str, frame: str, motion: bool, face: str, expressiveness: float
    ) -> Iterator[str]:
      """Makes a face speak a text.

      Args:
        image: picture of a face.
        text: what to say.
        voice: language of eSpeak NG, and how it is spoken, such as 'de' or 'en-us+f3'.
        frame: 'full' for the whole picture, 'crop' for the face alone, 128x128.
        motion: whether the head moves a little, and blinks.
        face: which of several: 'largest', 'left', 'right', a number from the left, or 'X,Y' in pixels.
        expressiveness: factor on how far the mouth moves, 0 to 2.
      """
      yield from self._made(image, studio.Speech(text=text or '', voice=voice), frame, motion, face, expressiveness)

    return say

  def _made(
    self, image: str | None, speech: studio.Speech, frame: str, moving: bool, face: str, lively: float
  ) -> Iterator[str]:
    try:
      yield from self._videos.video(image, speech, frame, lambda done, total: None, moving, lively, face)
    except InputError as error:
      raise self._gradio.Error(str(error), print_exception=False) from error

  def _with_request(self, function: Callable[..., Any]) -> Callable[..., Any]:
    """Has gradio pass its request, which it does to a parameter of that type."""
    function.__annotations__['request'] = self._gradio.Request
    return function


def _session(request: Any) -> str:
  return str(getattr(request, 'session_hash', '') or '')
