"""What the packaged default networks answer to the packaged portrait and speech, whole, live and by `atvg demo`.

  PYTHONPATH=.:tests python -m packaged_answers

writes it to tests/golden/packaged.npz: for new weights, and never because libraries have new versions.
"""

import pathlib
import tempfile
import zipfile
from typing import NamedTuple

import numpy as np
import version_0_1_frames

from atvg_jax.generate import demo, generator, portrait, streaming, video_maker
from data_pipelines import features
from data_pipelines.media import audio, video_reader

FILE = pathlib.Path(__file__).parent / 'golden' / 'packaged.npz'
WINDOWS = {'whole': streaming.WINDOW, 'live': video_maker.LIVE_WINDOW}
SECONDS = 3
KEPT = {'landmarks': np.s_[::5], 'frames': np.s_[12::25, ::2, ::2]}
_OF_DEMO = np.s_[40::75, ::2, ::2]


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


def demo_frames() -> np.ndarray:
  """Some frames of `atvg demo`, uint8 [n, 64, 64, 3], as they are before they are encoded."""
  with tempfile.TemporaryDirectory() as folder, version_0_1_frames.written() as frames:
    demo.run(f'{folder}/demo.mp4')
  return np.stack(frames)[_OF_DEMO]


def load(way: str) -> dict[str, np.ndarray]:
  """The answer that is kept: of `Answer` the fields of `KEPT`; of 'demo' the frames alone."""
  with np.load(FILE) as file:
    kept = {'frames': np.cumsum(file[f'{way}_frames'], axis=0, dtype=np.uint8) + file['crop']}
    return kept if way == 'demo' else kept | {'landmarks': file[f'{way}_landmarks']}


def make() -> None:
  """Writes down how frames change, modulo 256, which is small when compressed."""
  made = {}
  for way in WINDOWS:
    found = answer(way)
    made['crop'] = crop = found.portrait.crop[::2, ::2]
    made[f'{way}_landmarks'] = found.landmarks[KEPT['landmarks']]
    made[f'{way}_frames'] = _changes(found.frames[KEPT['frames']] - crop)
  made['demo_frames'] = _changes(demo_frames() - crop)
  with zipfile.ZipFile(FILE, 'w', zipfile.ZIP_LZMA) as file:
    for name, values in made.items():
      with file.open(f'{name}.npy', 'w') as entry:
        np.lib.format.write_array(entry, values)


def _changes(frames: np.ndarray) -> np.ndarray:
  """The first frame, and by how much each differs from the one before, modulo 256."""
  return np.concatenate([frames[:1], np.diff(frames, axis=0)])


if __name__ == '__main__':
  make()
