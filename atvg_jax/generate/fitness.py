"""Whether a picture shows a face well enough to be made to speak."""

from atvg_jax.generate.portrait import Portrait
from data_pipelines.conversion import face_stretches
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, lips

GO_ON = ', or go on with --force'  # ends its sentences; for who has that option


def check(portrait: Portrait) -> None:
  """Raises InputError where the nets were not trained on such a face.

  Args:
    portrait: the face.
  """
  if abs(portrait.yaw) > face_stretches.MAX_YAW:
    raise InputError(
      f'the head is turned by {abs(portrait.yaw):.0f} degrees, {face_stretches.MAX_YAW:.0f} are allowed: give a '
      f'picture from the front{GO_ON}'
    )
  if lips.covered_in_crop(portrait.crop, face_alignment.denormalise(portrait.landmarks)):
    raise InputError(f'the mouth seems to be covered, by a mask or a hand: give a picture that shows it{GO_ON}')
  if portrait.eye_distance < face_stretches.MIN_EYE_DISTANCE:
    raise InputError(
      f'the face is too small, {portrait.eye_distance:.1f} pixels between the eyes where '
      f'{face_stretches.MIN_EYE_DISTANCE:.0f} are needed: give a larger picture{GO_ON}'
    )
