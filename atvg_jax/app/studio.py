"""What happens behind the page of `atvg app`: a stranger's picture and recording, within limits, become a video."""

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from atvg_jax.app import faces
from atvg_jax.generate import fitness, text_to_speech, video_maker
from atvg_jax.generate.effects import head_motion
from atvg_jax.generate.generator import check_loudness
from atvg_jax.generate.portrait import Portrait, own_landmarker
from atvg_jax.train import pictures
from data_pipelines import atomic_files, features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_choice
from data_pipelines.media import audio, audio_stream, video_reader, video_writer

MAX_BYTES = 20_000_000  # of a file
MAX_SECONDS = 60  # of sound
MAX_CHARACTERS = 1000  # of a text: about that long
_PATIENCE = 600  # seconds that one video may take: others wait

_ENLARGED = 3  # the crop, where landmarks are drawn in it
_LINE = (255, 138, 76)


class Speech(NamedTuple):
  """What is to be said: a recording, or else a text."""

  recording: str | None = None  # a file
  text: str | None = None
  voice: str = text_to_speech.VOICE


class Studio:
  """Makes videos one after the other."""

  def __init__(self, weights: Sequence[str] | None = None):
    """Loads the weights, see `generate_video`."""
    self._maker = video_maker.VideoMaker(weights)

  def faces(self, image: str | None) -> tuple[np.ndarray, list[list[float]]] | None:
    """The picture with its faces numbered and where they are (`faces.find`); None where there are not several."""
    try:
      picture = video_reader.read_image(_check_size(image, 'the picture', ''))
      found = faces.find(own_landmarker(), picture)
    except InputError:
      return None  # it is said when the face is to speak
    return found if len(found[1]) > 1 else None

  def landmarks(self, image: str | None, speech: Speech, face: str = face_choice.LARGEST) -> Iterator[str]:
    """The film of the landmarks: the path of a file that lives until the iterator goes on.

    Args:
      image: picture of a face; None where there is none yet.
      speech: what is said.
      face: which of several, as in `video_maker.Job`.

    Raises:
      InputError: in words for who looks at a page: without the names of temporary files.
    """
    with _kept_files(image, speech) as folder:
      picture, _, samples = _check(image, speech, folder)
      out = os.path.join(folder, 'landmarks.mp4')
      self._draw_landmarks(self._maker.face(picture, face)[0], samples, out)
      yield out

  def video(
    self,
    image: str | None,
    speech: Speech,
    frame: str,
    watch: Callable[[int, int], None],
    moving: bool = False,
    expressiveness: float = 1.0,
    face: str = face_choice.LARGEST,
  ) -> Iterator[str]:
    """The film of the face, as `landmarks`.

    Args:
      image: picture of a face.
      speech: what is said.
      frame: one of `generator.FRAMES`.
      watch: called with the number of frames that are drawn, and of all.
      moving: move the head a little, and blink.
      expressiveness: factor on the movement of the mouth.
      face: which of several, as in `video_maker.Job`.

    Raises:
      InputError: as above, or this takes too long.
    """
    with _kept_files(image, speech) as folder:
      picture, recording, samples = _check(image, speech, folder)
      total, out = audio.num_frames(samples), os.path.join(folder, 'talking.mp4')
      end = time.monotonic() + _PATIENCE

      def watch_time(done: int) -> None:
        if time.monotonic() > end:
          raise InputError(
            f'this video takes longer than {_PATIENCE // 60} minutes: take a smaller picture or a shorter recording'
          )
        watch(done, total)

      motion = head_motion.GENTLE if moving else None
      job = video_maker.Job(
        picture, out, recording, frame=frame, motion=motion, expressiveness=expressiveness, face=face
      )
      self._maker.make(job, progress=False, watch=watch_time)
      yield out

  def _draw_landmarks(self, portrait: Portrait, samples: np.ndarray, out: str) -> None:
    """Writes a silent film of the landmarks as lines, over the face in grey."""
    generator = self._maker.generator
    side = _ENLARGED * features.IMAGE_SIZE
    background = Image.fromarray(portrait.crop).convert('L').resize((side, side), Image.Resampling.BICUBIC)
    background = background.point(lambda value: value // 2).convert('RGB')
    with video_writer.VideoWriter(out, (side, side), comment=self._maker.comment) as writer:
      for piece in generator.speech_landmarks(portrait, samples):
        for points in generator.normalisation.points(portrait.landmarks, piece):
          drawn = background.copy()
          draw = ImageDraw.Draw(drawn)
          for run, closed in pictures.LINES:
            line = points[run]
            line = np.concatenate([line, line[:1]]) if closed else line
            draw.line([tuple(point) for point in (line + 0.5) * _ENLARGED], fill=_LINE, width=2, joint='curve')
          writer.append(np.asarray(drawn))


@contextlib.contextmanager
def _kept_files(image: str | None, speech: Speech) -> Iterator[str]:
  """A folder for a while; errors name the two files 'the picture' and 'the recording', and no option of a command."""
  try:
    with atomic_files.temporary_folder('atvg-video-') as folder:
      yield folder
  except InputError as error:
    sentence = str(error).removesuffix(fitness.GO_ON)
    for path, name in ((image, 'the picture'), (speech.recording, 'the recording')):
      sentence = sentence.replace(path, name) if path else sentence
    raise InputError(sentence[:1].upper() + sentence[1:].rstrip('.') + '.') from error
  except Exception as error:  # an unforeseen failure is a sentence too; its traceback goes to whoever serves the page
    traceback.print_exc()
    raise InputError('This picture and this recording cannot be used: try others.') from error


def _check(image: str | None, speech: Speech, folder: str) -> tuple[str, str, np.ndarray]:
  """The paths of picture and sound, and the sound, float32 [n], if all will do; a text is spoken into the folder."""
  picture = _check_size(image, 'the picture', 'drop or photograph a face first')
  if speech.text is None:
    recording = _check_size(speech.recording, 'the recording', 'drop or record some speech first')
  else:
    recording = _spoken(speech.text, speech.voice, folder)
  video_reader.read_image(picture)  # whatever its name says: a page takes no videos
  return picture, recording, _read_sound(recording)


def _spoken(text: str, voice: str, folder: str) -> str:
  """The path of a text's speech."""
  if not text.strip():
    raise InputError('there is no text yet: write what to say first')
  if len(text) > MAX_CHARACTERS:
    raise InputError(
      f'the text has {len(text)} characters, more than {MAX_CHARACTERS}: shorten it, or use atvg say, which takes more'
    )
  path = os.path.join(folder, 'speech.wav')
  text_to_speech.save(text_to_speech.speak(text, voice), path)
  return path


def _check_size(path: str | None, name: str, missing: str) -> str:
  """The path, if there is one and its file is not too large."""
  if not path:
    raise InputError(f'there is no {name.removeprefix("the ")} yet: {missing}')
  if os.path.exists(path) and os.path.getsize(path) > MAX_BYTES:
    raise InputError(f'{name} is larger than {MAX_BYTES / 1e6:.0f} MB: make it smaller first')
  return path


def _read_sound(path: str) -> np.ndarray:
  """float32 [n]; of what is too long, no more is read than it takes to know."""
  pieces, count = [], 0
  for piece in audio_stream.read_pieces(path):
    pieces.append(piece)
    count += len(piece)
    if count > MAX_SECONDS * features.SAMPLE_RATE:
      raise InputError(
        f'the recording is longer than {MAX_SECONDS} seconds: cut it, or use atvg generate, which takes any length'
      )
  if not count:
    raise InputError('the recording holds no sound: record it again')
  samples = np.concatenate(pieces)
  check_loudness(float(np.abs(samples).max()), 'the recording')
  return samples
