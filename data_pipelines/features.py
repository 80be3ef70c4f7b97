"""The data contract: rates, sizes, windows and key names. Every other file imports them from here.

Conventions, said once:

* Video is [T, H, W, 3], time before height before width before channels, 25 frames a second.
  It is uint8 in records and on its way to the device, [-1, 1] inside the nets, [0, 1] in metrics.
* Sound is 16 kHz mono, float32 in [-1, 1]; frame t covers the samples [640 t, 640 (t + 1)).
* Landmarks are 68 points (the iBUG order), flattened as x0 y0 x1 y1 ... to 136 numbers. Their unit is
  half a crop, their origin its middle: a crop's left and upper edges are -1, its right and lower edges 1.
* For frame t the nets take 28 MFCC rows of 10 ms as input, 280 ms centred on the middle of the frame.
"""

from typing import Any

FPS = 25
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
PEAK = 32767  # of int16 sound, which is 1 in float32

IMAGE_SIZE = 128
NUM_LANDMARKS = 68
LANDMARK_SIZE = 2 * NUM_LANDMARKS

MFCC_COEFFICIENTS = 12  # of 13: the first, the energy, is dropped
MFCC_HOP = 160  # samples between two rows
MFCC_ROWS_PER_FRAME = SAMPLES_PER_FRAME // MFCC_HOP
MFCC_WINDOW = 28  # rows that the nets take as input for one frame
MFCC_CONTEXT = (MFCC_WINDOW - MFCC_ROWS_PER_FRAME) // 2  # rows before and after the frame's own four

# Points of the face, as slices of the 68.
JAW = slice(0, 17)
BROWS = slice(17, 27)
NOSE = slice(27, 36)
EYES = slice(36, 48)
RIGHT_EYE = slice(36, 42)  # the person's right, on the left of the picture
LEFT_EYE = slice(42, 48)
MOUTH = slice(48, 68)
INNER_LIPS = slice(60, 68)
STEADY = slice(27, 48)  # nose and eyes: what the alignment holds still

# (upper, lower) points of the inner lips, whose distance is the opening of the mouth.
INNER_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))

# Point i of a mirrored face is point MIRROR[i] of the face.
MIRROR = (
  *range(16, -1, -1),
  *range(26, 16, -1),
  *range(27, 31),
  *range(35, 30, -1),
  45,
  44,
  43,
  42,
  47,
  46,
  39,
  38,
  37,
  36,
  41,
  40,
  *range(54, 47, -1),
  *range(59, 54, -1),
  *range(64, 59, -1),
  67,
  66,
  65,
)

# Keys of a record (one clip) and of a batch.
CLIP_ID = 'clip_id'  # text
SPEAKER = 'speaker'  # text
VIDEO = 'video'  # record [T] JPEG; batch [B, T, H, W, 3] uint8
LANDMARKS = 'landmarks'  # [T, 136] float32
REST_LANDMARKS = 'rest_landmarks'  # [136] float32: the clip's face with its mouth at rest
AUDIO = 'audio'  # record [640 T] int16; batch of nets that take sound, and of evaluation, [B, 640 T]
MFCC_ROWS = 'mfcc_rows'  # record [4 T + 24, 12] float32
MFCC = 'mfcc'  # batch [B, T, 28, 12] float32
EXAMPLE_IMAGE = 'example_image'  # batch [B, H, W, 3] uint8
EXAMPLE_LANDMARKS = 'example_landmarks'  # batch [B, 136] float32
MASK = 'mask'  # batch [B] float32: 0 marks padding
VOICES = 'voices'  # evaluation batch [B, V, 640 T] int16: other people's sound
FRAME_MASK = 'frame_mask'  # evaluation batch [B, T] float32: 0 marks padding; training batch with sound: weights
REST_GAPS = 'rest_gaps'  # training batch with sound [B, T] float32: lips' gap in the rest of each frame's clip


def to_float(pixels: Any) -> Any:
  """uint8 pixels → float32 in [-1, 1]; NumPy or JAX, any shape."""
  return pixels.astype('float32') / 127.5 - 1


def to_bytes(values: Any) -> Any:
  """The inverse of `to_float`: floats in [-1, 1] → uint8, rounded and clipped; NumPy or JAX, any shape."""
  return ((values + 1) * 127.5).round().clip(0, 255).astype('uint8')


def sound_to_float(samples: Any) -> Any:
  """int16 sound → float32 in [-1, 1]; NumPy or JAX, any shape."""
  return samples.astype('float32') / PEAK


def sound_to_int16(samples: Any) -> Any:
  """The inverse of `sound_to_float`: floats in [-1, 1] → int16, rounded and clipped; NumPy or JAX, any shape."""
  return (samples * PEAK).round().clip(-PEAK, PEAK).astype('int16')


def inner_lip_gaps(points: Any) -> Any:
  """How far the inner lips are apart at each of INNER_LIP_PAIRS: [..., 68, 2] → [..., 3]; NumPy or JAX.

  Differences of y in the unit of the points, negative where the lips overlap.
  """
  uppers, lowers = slice(61, 64), slice(67, 64, -1)
  return points[..., lowers, 1] - points[..., uppers, 1]
