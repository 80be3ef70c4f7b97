"""Damaged and hostile files end in a sentence, or are read for what they are; nothing crashes or is fetched."""

import io
import pathlib
import struct
import wave
import zlib

import av
import numpy as np
import PIL
import pytest
import random_nets
from PIL import Image

from atvg_jax.generate import demo, generator, video_maker
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment
from data_pipelines.media import audio, audio_stream, video_reader


@pytest.fixture(scope='module')
def face():
  return Image.fromarray(video_reader.read_image(demo.portrait())).resize((256, 300))


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
  return generator.Generator.from_pretrained(*random_nets.save(tmp_path_factory.mktemp('nets')))


def _png(width, height, data=b''):
  def chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

  header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(data)) + chunk(b'IEND', b'')


def _wave(samples, rate=16_000, kind=1, bits=16):
  content = samples.tobytes()
  return (
    b'RIFF'
    + struct.pack('<I', 36 + len(content))
    + b'WAVEfmt '
    + struct.pack('<IHHIIHH', 16, kind, 1, rate, rate * bits // 8, bits // 8, bits)
    + b'data'
    + struct.pack('<I', len(content))
    + content
  )


@pytest.mark.parametrize(
  'content, reason',
  [
    (_png(20_000, 20_000), 'more than 50 megapixels'),
    (_png(10_000, 10_001), 'more than 50 megapixels'),
    (_png(49_000_000, 1), 'a strip'),
    (_png(2**31 - 1, 2**31 - 1), '50 megapixels|cannot be read'),
    (_png(300, 300, b'\0' * 50), 'cannot be read'),
    (_png(0, 0), 'cannot be read'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n(/etc/passwd) run\n', 'cannot be read'),
    (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/"/></svg>', 'cannot be read'),
    (b'GIF89a' + b'\xff' * 500, 'cannot be read|megapixels'),
    (b'\xff\xd8\xff\xe0' + bytes(2000), 'cannot be read'),
  ],
)
def test_pictures_that_are_bombs_or_no_pictures(tmp_path, content, reason):
  path = tmp_path / 'a.png'
  path.write_bytes(content)
  with pytest.raises(InputError, match=reason):
    video_reader.read_image(path)


def test_random_damage_to_a_picture_gives_a_picture_or_a_sentence(tmp_path, face):
  rng = np.random.default_rng(0)
  for form in ('JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF'):
    whole = io.BytesIO()
    face.save(whole, form)
    for _ in range(15):
      content = bytearray(whole.getvalue())
      for place in rng.integers(0, len(content), 20):
        content[place] = rng.integers(256)
      path = tmp_path / 'a'
      path.write_bytes(content[: rng.integers(len(content) // 2, len(content) + 1)])
      try:
        assert video_reader.read_image(path).dtype == np.uint8
      except InputError as error:
        assert '\n' not in str(error)


@pytest.mark.parametrize(
  'mode, name, options',
  [
    ('CMYK', 'a.jpg', {}),
    ('LA', 'a.png', {}),
    ('P', 'a.png', {'transparency': 3}),
    ('1', 'a.png', {}),
    ('I;16', 'a.png', {}),
    ('P', 'a.gif', {'save_all': True}),
    ('RGBA', 'a.png', {'save_all': True}),
    pytest.param(
      'YCbCr',
      'a.tiff',
      {},
      marks=pytest.mark.skipif(
        int(PIL.__version__.split('.')[0]) < 13, reason='Pillow 12 cannot read its own YCbCr TIFF'
      ),
    ),
    ('RGB', 'a.webp', {'save_all': True}),
  ],
)
def test_pictures_of_every_kind_show_their_face(nets, tmp_path, face, mode, name, options):
  picture = face
  if mode == 'I;16':
    picture = Image.fromarray(np.asarray(face.convert('L')).astype(np.uint16) * 257)
  elif mode != 'RGB':
    picture = face.convert(mode)
  if options.get('save_all'):
    options = options | {'append_images': [Image.new(picture.mode, picture.size)] * 3}
  picture.save(tmp_path / name, **options)
  if mode == '1':
    video_reader.read_image(tmp_path / name)  # a face of dots need not be found
    return
  assert nets.find_face(video_reader.read_image(tmp_path / name)).faces_seen == 1


def test_a_turned_photograph_is_upright(nets, tmp_path, face):
  exif = Image.Exif()
  exif[0x0112] = 8
  face.transpose(Image.Transpose.ROTATE_270).save(tmp_path / 'a.jpg', exif=exif, quality=95)
  portrait = nets.find_face(video_reader.read_image(tmp_path / 'a.jpg'))
  assert portrait.matrix[0, 0] > 0.5 and abs(portrait.matrix[0, 1]) < 0.2


def test_a_picture_as_phones_save_them_is_read(face):
  picture = video_reader.read_image(pathlib.Path(__file__).parents[1] / 'golden' / 'phone.heic')
  assert np.abs(picture.astype(int) - np.asarray(face)).mean() < 4


@pytest.mark.parametrize(
  'content, reason',
  [
    (_wave(np.full(16_000, np.nan, '<f4'), kind=3, bits=32), None),
    (_wave(np.full(16_000, np.inf, '<f4'), kind=3, bits=32), None),
    (_wave(np.ones(100_000, '<i2'), rate=1), 'samples a second|cannot be read|nothing in it'),
    (_wave(np.ones(1_000, '<i2'), rate=0), 'samples a second|cannot be read|nothing in it'),
    (_wave(np.ones(1_000, '<i2'), bits=0), 'cannot be read|nothing in it|no sound'),
    (_wave(np.ones(1_000, '<i2'))[:60], None),
    (b'RIFF\xff\xff\xff\xffWAVE' + bytes(200), 'cannot be read|no sound|nothing in it'),
    (b'OggS' + bytes(500), 'cannot be read|no sound|nothing in it'),
    (b'#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n', 'cannot be|list'),
  ],
)
def test_sound_that_is_odd_or_none(tmp_path, content, reason):
  path = tmp_path / 'a.wav'
  path.write_bytes(content)
  if reason is None:
    samples = audio.read_audio(path)
    assert np.isfinite(samples).all() and np.abs(samples).max(initial=0) <= 1
    return
  for read in (audio.read_audio, audio_stream.measured):
    with pytest.raises(InputError, match=reason):
      read(path)


def test_random_damage_to_sound_from_a_pipe(tmp_path):
  rng = np.random.default_rng(1)
  whole = io.BytesIO()
  with wave.open(whole, 'wb') as file:
    file.setparams((2, 3, 22_050, 0, 'NONE', ''))
    file.writeframes(rng.bytes(6 * 22_050))
  for _ in range(40):
    content = bytearray(whole.getvalue())
    for place in rng.integers(0, 60, 4):
      content[place] = rng.integers(256)
    try:
      for piece in audio_stream.pipe_pieces(io.BytesIO(bytes(content[: rng.integers(20, len(content))]))):
        assert np.isfinite(piece).all()
    except InputError as error:
      assert '\n' not in str(error)


def test_a_film_whose_clock_jumps_by_years(tmp_path):
  path = tmp_path / 'a.mkv'
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=25, options={'bf': '0'})
    stream.width = stream.height = 64
    stream.pix_fmt = 'yuv420p'
    for stamp in (0, 1, 2, 25 * 1_000_000):
      frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format='rgb24')
      frame.pts = stamp
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  with pytest.raises(InputError, match='damaged'):
    sum(1 for _ in video_reader.iter_video(path))


@pytest.mark.parametrize('shape', [(0, 0, 3), (1, 1, 3), (1, 3000, 3), (5000, 2, 3), (40, 40, 3), (10, 10), (9, 9, 4)])
def test_arrays_that_are_no_portraits(nets, shape):
  with pytest.raises(InputError):
    nets(np.zeros(shape, np.uint8), np.full(features.SAMPLE_RATE, 0.1, np.float32))


@pytest.mark.parametrize('shape', [(1, 100_000, 3), (20_000, 2, 3), (60, 9000, 3)])
def test_pictures_that_are_strips_show_nobody(nets, shape):
  strip = np.zeros(shape, np.uint8)
  for picture in (strip, video_maker._shrunk(strip, 'strip.png')):
    with pytest.raises(InputError, match='No face'):
      nets.find_face(picture)


def test_a_face_in_a_panorama_is_found(nets, face):
  panorama = np.zeros((face.height, 9000, 3), np.uint8)
  panorama[:, 6000 : 6000 + face.width] = np.asarray(face)
  found = nets.find_face(panorama)
  middle = face_alignment.apply(face_alignment.invert(found.matrix), np.array([[64.0, 64.0]]))[0]
  assert found.faces_seen == 1 and 6000 < middle[0] < 6000 + face.width
