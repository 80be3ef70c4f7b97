"""Films whose frames carry their number, shown at any time stamps: for tests of readers and cutters."""

import fractions

import av
import numpy as np


def numbered(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
  """Frames that carry their number as grey: 10 + 4 i."""
  return [np.full((height, width, 3), 10 + 4 * index, np.uint8) for index in range(count)]


def numbers(frames: list[np.ndarray]) -> list[int]:
  """The numbers that frames carry."""
  return [round((float(frame.mean()) - 10) / 4) for frame in frames]


def write_stamped(path, frames, stamps, *, rate=25, sound=None, sound_start=0.0, rotation=None, aspect=1) -> None:
  """A film whose frame i is shown at `stamps[i]` seconds, and sound from `sound_start` seconds on."""
  with av.open(str(path), 'w') as container:
    video = container.add_stream('libx264', rate=rate)
    video.height, video.width = frames[0].shape[:2]
    video.pix_fmt = 'yuv420p'
    video.codec_context.sample_aspect_ratio = aspect
    video.codec_context.time_base = fractions.Fraction(1, 90_000)
    if rotation is not None:
      video.set_display_rotation(rotation)
    if sound is not None:
      audio = container.add_stream('aac', rate=16_000, layout='mono')
      frame = av.AudioFrame.from_ndarray(sound[None], format='fltp', layout='mono')
      frame.sample_rate = 16_000
      frame.pts = round(sound_start * 16_000)
      frame.time_base = fractions.Fraction(1, 16_000)
      container.mux(audio.encode(frame))
      container.mux(audio.encode())
    for array, stamp in zip(frames, stamps):
      frame = av.VideoFrame.from_ndarray(array, format='rgb24')
      frame.pts = round(stamp * 90_000)
      frame.time_base = fractions.Fraction(1, 90_000)
      container.mux(video.encode(frame))
    container.mux(video.encode())
