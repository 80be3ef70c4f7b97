"""What the packaged default networks answer to the packaged portrait and speech, whole and live.

  PYTHONPATH=.:tests python -m packaged_answers

writes it to tests/golden/packaged.npz: for new weights, and never because libraries have new versions.
"""

import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from atvg_jax.generate import demo, generator, portrait, streaming, video_maker
from data_pipelines import features
from data_pipelines.media import audio, video_reader

FILE = pathlib.Path(__file__).parent / 'golden' / 'packaged.npz'
WINDOWS = {'whole': streaming.WINDOW, 'live': video_maker.LIVE_WINDOW}
SECONDS = 3
KEPT = {'landmarks': np.s_[::5], 'frames': np.s_[12::25, ::2, ::2]}


class Answer(NamedTuple):
  """What was made of the first seconds of the speech."""

  nets: generator.Generator
  portrait: portrait.Portrait
  landmarks: np.ndarray  # [T, 136]
  frames: np.ndarray  # uint8 [T, 128, 128, 3]


def answer(way: str, seconds: float = SECONDS) -> Answer:
  """The answer of the networks in this version, 'whole' or 'live'."""
  nets = generator.Generator.from_pretrained()
  face = nets.find_face(video_reader.read_image(demo.portrait()))
  samples = audio.read_audio(demo.speech())[: round(seconds * features.SAMPLE_RATE)]
  landmarks = list(nets.speech_landmarks(face, samples, WINDOWS[way]))
  frames = np.concatenate([piece.frames for piece in nets.draw(face, landmarks, WINDOWS[way])])
  return Answer(nets, face, np.concatenate(landmarks), frames)


def load(way: str) -> dict[str, np.ndarray]:
  """The answer that is kept: of `Answer` the fields of `KEPT`."""
  with np.load(FILE) as file:
    crop = file['crop']
    return {
      'landmarks': file[f'{way}_landmarks'],
      'frames': np.cumsum(file[f'{way}_frames'], axis=0, dtype=np.uint8) + crop,
    }


def make() -> None:
  """Writes down how frames change, modulo 256, which is small when compressed."""
  made = {}
  for way in WINDOWS:
    found = answer(way)
    made['crop'] = crop = found.portrait.crop[::2, ::2]
    made[f'{way}_landmarks'] = found.landmarks[KEPT['landmarks']]
    frames = found.frames[KEPT['frames']] - crop
    frames[1:] = np.diff(frames, axis=0)
    made[f'{way}_frames'] = frames
  with zipfile.ZipFile(FILE, 'w', zipfile.ZIP_LZMA) as file:
    for name, values in made.items():
      with file.open(f'{name}.npy', 'w') as entry:
        np.lib.format.write_array(entry, values)


if __name__ == '__main__':
  make()
