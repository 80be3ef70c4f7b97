"""What the packaged nets make of the packaged portrait and speech, by every way there is.

Frames are taken before they are encoded. They lie in tests/golden/version_0_1/frames.npz, with the tiny video that is
dubbed, film.mp4, beside them:

  PYTHONPATH=.:tests python -m version_0_1_frames

makes the frames. Landmarks and film are those of version 0.1.0; the frames were made anew when VG-net and its warp
changed, so that mouths close. Later versions answer to the same files.
"""

import pathlib
import tempfile
import wave
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from atvg_jax import generate
from atvg_jax.generate import demo
from data_pipelines import features
from data_pipelines.media import audio, video_reader, video_writer

FOLDER = pathlib.Path(__file__).parent / 'golden' / 'version_0_1'
FILM = FOLDER / 'film.mp4'
AT = str(pathlib.Path(generate.__file__).parents[1] / 'assets' / 'at_small.npz')  # the default of that version
WAYS = ('crop', 'full', 'landmarks', 'gentle_crop', 'gentle_full', 'dubbed_crop', 'dubbed_full')

_SECONDS = 1.2
_BLINK = 59  # the frame in which a gentle head shuts its eyes for the first time
_EVERY = np.s_[::5]


def speech(folder: pathlib.Path, seconds: float = _SECONDS) -> str:
  """Writes the beginning of the packaged speech into `folder` as a WAV file, 16 kHz; returns its path."""
  path = folder / f'speech_{seconds}.wav'
  samples = audio.read_audio(demo.speech())[: round(seconds * features.SAMPLE_RATE)]
  with wave.open(str(path), 'wb') as file:
    file.setparams((1, 2, features.SAMPLE_RATE, 0, 'NONE', ''))
    file.writeframes(np.round(samples * 32767).astype('<i2').tobytes())
  return str(path)


@contextmanager
def written() -> Iterator[list[np.ndarray]]:
  """The frames that are handed to `video_writer.VideoWriter` meanwhile, as they are before they are encoded."""
  frames: list[np.ndarray] = []
  append = video_writer.VideoWriter.append

  def keeping(self: video_writer.VideoWriter, frame: np.ndarray, *moment: int) -> None:
    frames.append(frame.copy())
    append(self, frame, *moment)

  with mock.patch.object(video_writer.VideoWriter, 'append', keeping):
    yield frames


def _made(folder: pathlib.Path, image: str, seconds: float = _SECONDS, **options: Any) -> np.ndarray:
  """uint8 [T, H, W, 3]: all frames of the video that files become, by `generate.generate_video`."""
  with written() as frames:
    generate.generate_video(image, str(folder / 'out.mp4'), audio=speech(folder, seconds), weights=[AT], **options)
  return np.stack(frames)


def answer(way: str, folder: pathlib.Path) -> np.ndarray:
  """What one of the ways gives.

  Args:
    way: of WAYS, 'crop' and 'full' by the Python class, the others from file to file; or 'stream', from file to file
      too, which gives the frames of 'crop'.
    folder: an empty folder to write videos to.

  Returns:
    Some of the frames, uint8 [n, H, W, 3]; of 'full' and 'dubbed_full' whole pictures, of 'gentle_full' every third
    pixel. For 'landmarks' those of all frames, float32 [T, 136], normalised.
  """
  if way in ('crop', 'full'):
    samples = audio.read_audio(speech(folder))
    frames = generate.Generator.from_pretrained(AT)(video_reader.read_image(demo.portrait()), samples, frame=way)
    return frames[_EVERY] if way == 'crop' else frames[[10, 25]]
  if way == 'landmarks':
    _made(folder, demo.portrait(), save=('landmarks',))
    with np.load(folder / 'out.landmarks.npz') as arrays:
      return arrays['landmarks']
  if way == 'stream':
    return _made(folder, demo.portrait(), stream=True)[_EVERY]
  kind, frame = way.split('_')
  if kind == 'dubbed':
    return _made(folder, str(FILM), frame=frame)[_EVERY]
  frames = _made(folder, demo.portrait(), seconds=2.6, frame=frame, motion='gentle')
  return frames[[40, _BLINK]] if frame == 'crop' else frames[[_BLINK], ::3, ::3]


def load() -> dict[str, np.ndarray]:
  """What was answered, by way."""
  with np.load(FOLDER / 'frames.npz') as file:
    return {
      way: file[way] if way == 'landmarks' else np.cumsum(file[way], axis=0, dtype=np.uint8) + _known(way)
      for way in WAYS
    }


def _known(way: str) -> np.ndarray:
  """Pictures that the frames differ little from: uint8 [n, H, W, 3], or one for all of them."""
  if way == 'full':
    return video_reader.read_image(demo.portrait())
  if way == 'dubbed_full':
    return np.stack(list(video_reader.iter_video(str(FILM))))[_EVERY]
  return np.zeros((), np.uint8)


def make() -> None:
  """Writes down what every way but 'landmarks' gives: how it changes, modulo 256, which is small when compressed."""
  landmarks = load()['landmarks']
  made = {}
  for way in WAYS:
    with tempfile.TemporaryDirectory() as folder:
      made[way] = landmarks if way == 'landmarks' else answer(way, pathlib.Path(folder)) - _known(way)
    if way != 'landmarks':
      made[way][1:] = np.diff(made[way], axis=0)
  with zipfile.ZipFile(FOLDER / 'frames.npz', 'w', zipfile.ZIP_LZMA) as file:
    for way, values in made.items():
      with file.open(f'{way}.npy', 'w') as entry:
        np.lib.format.write_array(entry, values)


if __name__ == '__main__':
  make()
