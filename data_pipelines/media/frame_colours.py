"""Decoded frames of any colour space as 8-bit RGB, and how what is drawn goes back into the file's colours."""

from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

UNSPECIFIED = 2  # in all of the tags
BT_709, BT_601 = 1, 5
LIMITED = 1  # the range of numbers that broadcasting uses
_HDR = {18: 'HLG', 16: 'PQ'}  # transfer characteristics of ITU-T H.273
_MATRICES = (1, 4, 5, 6, 7, 9, 10)  # of H.273: those of YCbCr
_HD_HEIGHT = 720  # from here on players take an untagged video for BT.709, below for BT.601


class Colours(NamedTuple):
  """What a file says of its colours, as numbers of ITU-T H.273."""

  matrix: int = BT_601
  primaries: int = UNSPECIFIED
  transfer: int = UNSPECIFIED


def hdr_transfer(frame: av.VideoFrame) -> str:
  """'HLG' or 'PQ' of a frame in high dynamic range, else ''."""
  return _HDR.get(int(frame.color_trc), '')


def matrix_of(matrix: int, height: int) -> int:
  """The matrix of YCbCr, and where a file does not say, the one that players assume."""
  return matrix if matrix in _MATRICES else BT_709 if height >= _HD_HEIGHT else BT_601


def of_drawn(frame: av.VideoFrame) -> Colours:
  """How a video is tagged whose frames were read by `to_rgb`: as `frame` is, or BT.709 where that is HDR."""
  if hdr_transfer(frame):
    return Colours(BT_709, BT_709, BT_709)
  matrix = int(frame.colorspace)
  if matrix not in (*_MATRICES, UNSPECIFIED):  # RGB itself, say
    matrix = matrix_of(matrix, frame.height)
  return Colours(matrix, int(frame.color_primaries), int(frame.color_trc))


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter | None = None, width: int | None = None) -> np.ndarray:
  """uint8 [H, W, 3]; HDR is tone-mapped.

  Args:
    frame: of any format.
    reformatter: one for a whole video saves time.
    width: the picture's, where it is to be another.
  """
  reformatter = reformatter or VideoReformatter()
  transfer = hdr_transfer(frame)
  options = {}
  if not frame.format.is_rgb:
    options['src_colorspace'] = matrix_of(int(frame.colorspace), frame.height)
  # More threads would give the same picture, and wait for one another longer than they work.
  form = 'rgb48le' if transfer else 'rgb24'
  array = reformatter.reformat(frame, width=width, format=form, threads=1, **options).to_ndarray()
  if transfer:
    from data_pipelines.media import tone_mapping  # here, for it compiles

    return tone_mapping.map_to_screen(array, transfer)
  return array


def to_yuv(picture: av.VideoFrame, colours: Colours, reformatter: VideoReformatter) -> av.VideoFrame:
  """An RGB frame as yuv420p in limited range, with the tags of `colours`."""
  frame = reformatter.reformat(
    picture,
    format='yuv420p',
    dst_colorspace=matrix_of(colours.matrix, picture.height),
    dst_color_range=LIMITED,
    threads=1,
  )
  frame.colorspace, frame.color_range = colours.matrix, LIMITED
  frame.color_primaries, frame.color_trc = colours.primaries, colours.transfer
  return frame
