"""What the report wants to know of a record beside what its conversion knew: from the record itself."""

from typing import Any

import numpy as np

from data_pipelines import features
from data_pipelines.conversion import sound_sync
from data_pipelines.faces import face_alignment

_QUIETEST = 1e-5  # of full scale: -100 dB

SYNC = 'sync'  # a clip's `sound_sync.row`


def measure(fields: dict[str, Any]) -> dict[str, Any]:
  """Facts of a record, as plain values.

  Returns:
    `sound_level`, dB below full scale (root mean square); `mouth_motion`, mean change of the mouth's opening from frame
    to frame, in eye distances; `sync`.
  """
  landmarks = fields[features.LANDMARKS]
  sound = fields[features.AUDIO] / np.float32(32767)
  opening = face_alignment.mouth_opening(landmarks)
  level = 20 * np.log10(max(_QUIETEST, float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))))
  return {
    'sound_level': round(float(level), 1),
    'mouth_motion': round(float(np.abs(np.diff(opening)).mean()), 4),
    SYNC: [float(f'{value:.5g}') for value in sound_sync.row(landmarks, sound)],
  }
