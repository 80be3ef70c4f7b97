"""What JAX says of devices that are asked for and are not there, in a sentence."""

import os
import traceback


def missing(error: BaseException) -> str | None:
  """The sentence for a failure of JAX to start on the devices that the environment asks for; None for other errors.

  JAX raises a `RuntimeError` that quotes the platform, or, where its plug-in is not installed, fails an assertion
  without a word.
  """
  frames = traceback.extract_tb(error.__traceback__)
  if not any(frame.filename.endswith('xla_bridge.py') and frame.name == 'backends' for frame in frames):
    return None
  asked = os.environ.get('JAX_PLATFORMS', '')
  if asked:
    reason = f': {str(error).splitlines()[0]}'.split(' (set JAX')[0].rstrip('.') if str(error) else ''
    return (
      f'JAX_PLATFORMS={asked} asks for devices that JAX cannot use here{reason}; unset it, set it '
      'to cpu, or install what JAX needs for them (extras cuda and tpu)'
    )
  return (
    f'JAX cannot use the devices of this machine ({str(error).splitlines()[0]}): set JAX_PLATFORMS=cpu to do without'
  )
