"""A folder of one person's weights, as `atvg personalise` leaves it, and what it keeps of that person's video."""

import os
from collections.abc import Sequence

from data_pipelines.errors import InputError

EXAMPLE, OWN_VIDEO, ABOUT = 'example.png', 'own.mp4', 'person.json'


def face(weights: Sequence[str] | None, frame: str) -> tuple[str, bool]:
  """Whose face speaks where nobody else's is given: (picture or video, whether it is a video to repeat).

  For the whole frame it is the person's own video, whose head moves and whose eyes blink; else the example frame.

  Args:
    weights: as for `load_nets`.
    frame: 'crop' or 'full'.

  Raises:
    InputError: the weights are nobody's in particular.
  """
  folders = [path for path in weights or () if os.path.exists(os.path.join(path, ABOUT))]
  if not folders:
    raise InputError(
      'there is nobody to speak: give --image FACE (or, to atvg generate, --manifest FILE for many videos), or '
      '--weights DIR of `atvg personalise`'
    )
  name = OWN_VIDEO if frame == 'full' else EXAMPLE
  return os.path.join(folders[0], name), name == OWN_VIDEO
