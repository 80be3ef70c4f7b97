"""The TFLite nets of Google's face landmarker, out of the packaged bundle."""

import contextlib
import os
import pathlib
import threading
import zipfile

import numpy as np

ASSETS = pathlib.Path(__file__).parent.parent / 'assets'


class Net:
  """A TFLite net with one input. One thread; not thread-safe."""

  def __init__(self, content: bytes):
    from ai_edge_litert.interpreter import Interpreter

    self._interpreter = Interpreter(model_content=content, num_threads=1)
    self._interpreter.allocate_tensors()
    self._input = self._interpreter.get_input_details()[0]['index']
    self._outputs = [detail['index'] for detail in self._interpreter.get_output_details()]

  def __call__(self, values: np.ndarray) -> list[np.ndarray]:
    """One input without its batch axis → all outputs, as the net has them."""
    self._interpreter.set_tensor(self._input, values[None])
    self._interpreter.invoke()
    return [self._interpreter.get_tensor(index) for index in self._outputs]


def load(name: str) -> Net:
  """A net of the bundle: 'face_detector', 'face_landmarks_detector' or 'face_blendshapes'."""
  with _silence(), zipfile.ZipFile(ASSETS / 'face_landmarker.task') as bundle:
    return Net(bundle.read(f'{name}.tflite'))


# Of two threads at once the second would save, and later restore, the first one's silence.
_silencing = threading.Lock()


@contextlib.contextmanager
def _silence():
  """TFLite writes a line on which delegate it uses straight to the process' standard error."""
  with _silencing:
    saved = os.dup(2)
    try:
      with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
        yield
    finally:
      os.dup2(saved, 2)
      os.close(saved)
