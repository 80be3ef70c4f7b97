"""Facts of a record for the report: from the record itself, and from what only its conversion knows."""

from typing import Any

import numpy as np

from data_pipelines import features
from data_pipelines.conversion import sound_sync
from data_pipelines.faces import face_alignment

_QUIETEST = 1e-5  # of full scale: -100 dB

SYNC = 'sync'  # a clip's `sound_sync.row`


def measure(fields: dict[str, Any]) -> dict[str, Any]:
  """Facts that follow from a record's fields, as plain values.

  Returns:
    `frames`; `mouth_opening_range` in eye distances; `chin_lowest`, in pixels of the crop; `sound_level`, dB below full
    scale (root mean square); `mouth_motion`, mean change of the mouth's opening from frame to frame, in eye distances;
    `sync`.
  """
  landmarks = fields[features.LANDMARKS]
  sound = features.sound_to_float(fields[features.AUDIO])
  opening = face_alignment.mouth_opening(landmarks)
  level = 20 * np.log10(max(_QUIETEST, float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))))
  return {
    'sound_level': round(float(level), 1),
    'mouth_motion': round(float(np.abs(np.diff(opening)).mean()), 4),
    SYNC: [float(f'{value:.5g}') for value in sound_sync.row(landmarks, sound)],
    'frames': len(landmarks),
    'mouth_opening_range': round(float(opening.max() - opening.min()), 4),
    'chin_lowest': round(float(face_alignment.denormalise(landmarks)[:, 8, 1].max()), 1),
  }


def of_conversion(
  *,
  source_fps: float,
  source_size: tuple[int, int],
  points: np.ndarray,
  yaw: np.ndarray,
  faces_seen: int,
  frames_without_face: int,
  frames_trimmed: int,
  sound_peak: float,
  sound_advance: float,
) -> dict[str, Any]:
  """Facts that the record does not hold, as plain values.

  Args:
    source_fps: frame rate of the file.
    source_size: (height, width) of its pictures.
    points: [T, 68, 2], the face in pixels of these pictures.
    yaw: degrees, of any number of frames.
    faces_seen: the largest number of faces at once.
    frames_without_face: frames whose landmarks were interpolated.
    frames_trimmed: frames cut off at the ends.
    sound_peak: of full scale.
    sound_advance: seconds by which the sound was advanced.
  """
  return {
    'source_fps': round(source_fps, 3),
    'source_size': f'{source_size[1]}x{source_size[0]}',
    'faces_seen': faces_seen,
    'frames_without_face': frames_without_face,
    'frames_trimmed': frames_trimmed,
    'eye_distance': round(float(np.median(face_alignment.eye_distance(points))), 1),
    'yaw': round(float(np.median(yaw)), 1),
    'sound_peak': round(sound_peak, 3),
    'sound_advance': sound_advance,
  }
