"""Colours of every matrix and range are read alike, written back as they were, and HDR is mapped to a usual screen."""

import av
import numpy as np
import pytest

from data_pipelines.media import frame_colours, source_video, tone_mapping, video_reader, video_writer

RGB = (95, 163, 220)
_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # of red and blue
_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def patch(rgb, matrix, *, full=False, bits=8, primaries=2, transfer=2, size=(64, 64)) -> av.VideoFrame:
  """A frame of one colour, 0 to 1, with its tags; without a matrix it is BT.709 in the size of HD, else BT.601."""
  red, blue = _WEIGHTS[matrix if matrix != 2 else 1 if size[0] >= 720 else 5]
  r, g, b = rgb
  y = red * r + (1 - red - blue) * g + blue * b
  chroma = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
  if full:
    most = (1 << bits) - 1
    values = [most * y, *(most * c + (1 << bits - 1) for c in chroma)]
  else:
    values = [(219 * y + 16) * (1 << bits - 8), *((224 * c + 128) * (1 << bits - 8) for c in chroma)]
  frame = av.VideoFrame(size[1], size[0], 'yuv420p' if bits == 8 else 'yuv420p10le')
  for plane, value in zip(frame.planes, values):
    kind = np.dtype('u1' if bits == 8 else '<u2')
    plane.update(np.full(plane.buffer_size // kind.itemsize, round(value), kind).tobytes())
  frame.colorspace, frame.color_range = matrix, 2 if full else 1
  frame.color_primaries, frame.color_trc = primaries, transfer
  return frame


def film(path, frame: av.VideoFrame, count: int = 3) -> str:
  """A film of one frame, with its tags."""
  with av.open(str(path), 'w') as container:
    video = container.add_stream('libx264', rate=25, options={'qp': '1'})
    video.width, video.height, video.pix_fmt = frame.width, frame.height, frame.format.name
    codec = video.codec_context
    codec.colorspace, codec.color_range = frame.colorspace, frame.color_range
    codec.color_primaries, codec.color_trc = frame.color_primaries, frame.color_trc
    for index in range(count):
      frame.pts = index
      container.mux(video.encode(frame))
    container.mux(video.encode())
  return str(path)


def coded(transfer: str, rgb: np.ndarray | tuple[int, int, int] = RGB) -> np.ndarray:
  """Colours [..., 3] as HDR has them: their white at 203 cd/m², of a screen as in BT.1886.

  FFmpeg's zscale (npl=203) gives the same codes, HLG with agamma=0 only: else it takes the 1.2th power of each channel.
  """
  light = (np.array(rgb) / 255) ** 2.4 @ _TO_2020.T * 203
  if transfer == 'PQ':
    power = (light / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
  light = light / 1000
  scene = light * (light @ np.array([0.2627, 0.6780, 0.0593]))[..., None] ** (1 / 1.2 - 1)
  a, b, c = 0.17883277, 0.28466892, 0.55991073
  return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


@pytest.mark.parametrize('matrix', [1, 5, 6, 9])
@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize('bits', [8, 10])
def test_matrix_and_range_are_obeyed(matrix, full, bits):
  picture = frame_colours.to_rgb(patch(np.array(RGB) / 255, matrix, full=full, bits=bits))
  assert np.abs(picture[30, 30].astype(int) - RGB).max() <= 2


@pytest.mark.parametrize('size', [(64, 64), (720, 64)])
def test_without_a_tag_the_matrix_is_the_one_that_players_assume(size):
  picture = frame_colours.to_rgb(patch(np.array(RGB) / 255, 2, size=size))
  assert np.abs(picture[30, 30].astype(int) - RGB).max() <= 2


@pytest.mark.parametrize('transfer, number', [('PQ', 16), ('HLG', 18)])
def test_hdr_is_mapped_to_the_colours_of_a_usual_screen(tmp_path, transfer, number):
  path = film(tmp_path / 'a.mp4', patch(coded(transfer), 9, bits=10, primaries=9, transfer=number))
  video = source_video.SourceVideo(path)
  assert video.look.hdr == transfer and video.look.colours == (1, 1, 1)
  for picture in (next(video.frames()).picture, video_reader.read_video(path).frames[0]):
    assert np.abs(picture[30, 30].astype(int) - RGB).max() <= 4


@pytest.mark.parametrize('transfer', ['PQ', 'HLG'])
def test_every_colour_below_the_bright_ones_is_kept(transfer):
  colours = np.random.default_rng(0).integers(16, 205, (1, 4000, 3))
  mapped = tone_mapping.map_to_screen(np.round(65535 * coded(transfer, colours)).astype(np.uint16), transfer)
  off = np.abs(mapped.astype(int) - colours)
  assert off.max() <= 4 and off.mean() < 0.1


@pytest.mark.parametrize('transfer, number', [('PQ', 16), ('HLG', 18)])
def test_what_is_brighter_than_white_is_pressed_together_in_order(transfer, number):
  greys = [
    int(frame_colours.to_rgb(patch((level,) * 3, 9, bits=10, primaries=9, transfer=number))[30, 30].mean())
    for level in np.linspace(0, 1, 30)
  ]
  assert greys[0] == 0 and greys[-1] == 255 and greys == sorted(greys)
  white = {'PQ': 0.5806, 'HLG': 0.75}[transfer]  # reference white
  level = frame_colours.to_rgb(patch((white,) * 3, 9, bits=10, primaries=9, transfer=number))[30, 30].mean()
  assert 240 <= level <= 250


@pytest.mark.parametrize('matrix, primaries, transfer', [(1, 1, 1), (6, 6, 6), (9, 9, 14), (2, 2, 2)])
def test_a_film_that_looks_like_another_has_its_tags_and_colours(tmp_path, matrix, primaries, transfer):
  path = film(tmp_path / 'a.mp4', patch(np.array(RGB) / 255, matrix, primaries=primaries, transfer=transfer))
  video = source_video.SourceVideo(path)
  with video_writer.VideoWriter(tmp_path / 'b.mp4', video.size, look=video.look) as writer:
    for frame in video.frames():
      writer.append(frame.stored, frame.ticks)
  with av.open(str(tmp_path / 'b.mp4')) as container:
    written = next(container.decode(video=0))
  assert (int(written.colorspace), int(written.color_primaries), int(written.color_trc)) == (
    matrix,
    primaries,
    transfer,
  )
  assert np.abs(frame_colours.to_rgb(written)[30, 30].astype(int) - RGB).max() <= 4
