"""Files in, a video out: a picture of a face and a recording of speech, or a video to follow."""

import contextlib
import functools
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

import atvg_jax
from atvg_jax.checkpoints import weights
from atvg_jax.checkpoints.weights import load_nets
from atvg_jax.generate import dubbing, side_outputs, streaming
from atvg_jax.generate.effects import blinks, head_motion
from atvg_jax.generate.generator import FRAMES, Generator, check_loudness
from atvg_jax.generate.portrait import Portrait
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_landmarker
from data_pipelines.media import audio as audio_io
from data_pipelines.media import audio_stream, video_reader, video_writer

__all__ = ['Generator', 'Job', 'Maker', 'Result', 'generate_video']

PIPE = '-'  # as the name of a file: standard input, or standard output

# Frames in a window where somebody waits for the first of them.
_LIVE_WINDOW = 5

# Above this, H.264 has no level and few players play: a larger picture is shrunk.
_MAX_SIDE, _MAX_PIXELS = 8192, 35_000_000


class Job(NamedTuple):
  """One video to make.

  Attributes:
    image: picture of a face, or a video of one, which then says `audio` instead of what it said.
    out: the video to write; it gets its name when it is whole. '-' streams to standard output.
    audio: speech; '-' reads standard input. With `driving`, the sound of the video only.
    driving: video whose face's mouth is followed instead of the sound; its sound is used where `audio` is None.
    frame: 'crop' for the face alone (128x128), 'full' for the whole picture.
    motion: 'gentle', or a video whose face's small movements and blinks the head follows; None for a head that is
      still and does not blink.
    save: side outputs, of `side_outputs.KINDS`.
    stream: write the video while it is made.
    raw: standard input is 16-bit samples at 16 kHz mono.
  """

  image: str
  out: str
  audio: str | None = None
  driving: str | None = None
  frame: str = 'crop'
  motion: str | None = None
  save: tuple[str, ...] = ()
  stream: bool = False
  raw: bool = False


class Result(NamedTuple):
  """A video that was written."""

  path: str
  num_frames: int
  seconds: float  # that it took, from the first window on


def generate_video(image: str, out: str, *, nets: Sequence[str] | None = None, **options: Any) -> Result:
  """Reads the files, makes the face speak and writes the video; shows progress on standard error.

  Args:
    image: picture of a face.
    out: the video to write.
    nets: weights, see `load_nets`.
    **options: other fields of `Job`.

  Raises:
    InputError: any of the files will not do, in one sentence.
  """
  job = Job(image, out, **options)
  check(job)
  if not dubbing.is_video(image):
    video_reader.read_image(image)  # before the nets are loaded: people should not wait for a misspelt name
  return Maker(nets).make(job)


def check(job: Job) -> None:
  """Raises InputError where a job is wrong before any file is read."""
  if job.audio is None and job.driving is None:
    raise InputError('there is nothing to say: give --audio SPEECH, or --driving VIDEO to follow a video')
  if job.frame not in FRAMES:
    raise InputError(f'frame {job.frame!r} is unknown: use one of {", ".join(FRAMES)}')
  side_outputs.check(job.save)
  if dubbing.is_video(job.image) and (job.driving is not None or job.motion or job.save):
    raise InputError(
      f'{job.image} is a video: it can be given another sound by --audio, but without --driving, --motion and --save'
    )
  if job.out == PIPE:
    if job.save:
      raise InputError(
        'a video that goes to standard output has no place for what --save writes beside it: give --out a file name'
      )
    return
  for source in (job.image, job.audio, job.driving, job.motion):
    known = source not in (None, PIPE) and os.path.exists(job.out) and os.path.exists(source)
    if known and os.path.samefile(source, job.out):
      raise InputError(f'--out {job.out} would overwrite what is read: choose another name')
  video_writer.check_name(job.out)
  _check_writable(job.out)


class Maker:
  """Makes videos one after the other, with the nets loaded and compiled once."""

  def __init__(self, nets: Sequence[str] | None = None):
    """Loads the weights, see `load_nets`."""
    self.generator = Generator(*load_nets(nets))
    self.landmarker = face_landmarker.FaceLandmarker()
    self._portrait = functools.lru_cache(maxsize=4)(self._find_face)

  def face(self, name: str) -> tuple[Portrait, np.ndarray]:
    """The face in a picture file, and the picture uint8 [H, W, 3]; looked for once, as long as the file stays the same.

    Raises:
      InputError: the file is no picture, or shows no face.
    """
    return self._portrait(name, _version(name))

  def make(self, job: Job, *, progress: bool = True, watch: Callable[[int], None] | None = None) -> Result:
    """Makes one video.

    Args:
      job: what to make.
      progress: show a bar on standard error.
      watch: is told after every frame how many there are (of a picture, not of a video); what it raises ends the work.

    Raises:
      InputError: any of the files will not do, in one sentence.
    """
    check(job)
    if dubbing.is_video(job.image):
      return self._dub(job, progress)
    portrait, picture = self.face(job.image)
    heard, sound, num_frames = self._sound(job)
    live = job.stream or PIPE in (job.audio, job.out)
    window = _LIVE_WINDOW if live else streaming.WINDOW
    if live:
      self._warm_up(portrait, window)
    if job.driving is None:
      landmarks = self.generator.speech_landmarks(portrait, heard, window)
    else:
      moved = self.generator.transferred_landmarks(portrait, _followed(job.driving, self.landmarker).landmarks)
      num_frames = len(moved)
      landmarks = (moved[start : start + window] for start in range(0, len(moved), window))
    moves, closed = self._motion(job)
    size = picture.shape[:2] if job.frame == 'full' else (features.IMAGE_SIZE, features.IMAGE_SIZE)
    out = sys.stdout.buffer if job.out == PIPE else job.out
    with contextlib.ExitStack() as stack:
      writer = stack.enter_context(video_writer.VideoWriter(out, size, sound, comment=self.comment, stream=live))
      if job.save:
        saver = stack.enter_context(side_outputs.Saver(job.out, job.save, portrait))
        drawn = saver.tap(self.generator, portrait, landmarks, window)
      else:
        pieces, shown = itertools.tee(landmarks)
        drawn = zip(self.generator.frames(portrait, pieces, window), shown, strict=True)
      if job.frame == 'full':
        pieces = self.generator.pasted(picture, portrait, drawn)
      else:
        pieces = (frames for frames, _ in drawn)
      frames = itertools.chain.from_iterable(pieces)
      if job.motion:
        points = face_alignment.denormalise(portrait.landmarks)
        if job.frame == 'full':
          frames = blinks.blinking(frames, face_alignment.apply(face_alignment.invert(portrait.matrix), points), closed)
          frames = head_motion.moved_pictures(frames, portrait, moves)
        else:
          frames = head_motion.moved_crops(blinks.blinking(frames, points, closed), moves)
      seconds = _write(writer, frames, num_frames, progress, watch)
    return Result(job.out, writer.num_frames, seconds)

  def _motion(self, job: Job) -> tuple[Iterator[np.ndarray], Iterator[float]]:
    """How the head moves, a similarity of the crop for every frame, and how far the eyes are closed."""
    if job.motion in (None, head_motion.GENTLE):
      return head_motion.gentle(), blinks.natural()
    followed = _followed(job.motion, self.landmarker)
    return head_motion.of_track(followed.matrices), blinks.of_track(followed.landmarks)

  def _dub(self, job: Job, progress: bool) -> Result:
    """A video with another sound, as long as the video."""
    heard, sound, num_frames = self._sound(job)
    followed = _followed(job.image, self.landmarker)
    length = len(followed.landmarks)
    if num_frames is not None and num_frames > length:
      seconds = (num_frames - length) / features.FPS
      _say(f'{job.audio} is {seconds:.1f} seconds longer than {job.image}: the rest is cut')
    landmarks = dubbing.spoken(self.generator, followed, heard)
    frames = dubbing.frames(self.generator, job.image, followed, landmarks, job.frame == 'full')
    first = next(frames)
    out = sys.stdout.buffer if job.out == PIPE else job.out
    with video_writer.VideoWriter(out, first.shape[:2], sound, comment=self.comment, stream=job.stream) as writer:
      seconds = _write(writer, itertools.chain([first], frames), length, progress)
    return Result(job.out, writer.num_frames, seconds)

  @functools.cached_property
  def comment(self) -> dict[str, Any]:
    """What is written into every file: that it was generated, and by what."""
    return {
      'generated_by': f'atvg_jax {atvg_jax.__version__}',
      'synthetic': True,
      'note': 'The face in this video was made to speak by a neural network; it is not a recording.',
      'weights': {kind: weights.describe(bundle) for kind, bundle in self.generator.bundles.items()},
    }

  def _find_face(self, name: str, version: Any) -> tuple[Portrait, np.ndarray]:
    """The face in a picture, and the picture."""
    del version  # a file that was changed is read again
    picture = _shrunk(video_reader.read_image(name), name)
    try:
      portrait = self.generator.find_face(picture, self.landmarker)
    except InputError as error:
      raise _about(name, error) from error
    if portrait.faces_seen > 1:
      _say(f'{name} shows {portrait.faces_seen} faces: taking the largest')
    return portrait, picture

  def _sound(self, job: Job) -> tuple[Iterator[np.ndarray] | None, Iterator[np.ndarray] | None, int | None]:
    """The sound twice, in pieces, to hear and to write, and the number of frames where it is known."""
    if job.audio is not None:
      num_frames = None
      if job.audio == PIPE:
        pieces = audio_stream.pipe_pieces(sys.stdin.buffer, job.raw)
      else:
        # Once through the file before anything is drawn: is it whole, does anybody speak, how long?
        measure = audio_stream.measure(job.audio)
        if job.driving is None:
          check_loudness(measure.peak, job.audio)
        num_frames = -(-measure.num_samples // features.SAMPLES_PER_FRAME)
        pieces = audio_stream.read_pieces(job.audio)
      if job.driving is not None:
        return None, pieces, num_frames
      # What was heard waits until its frames are drawn: seconds, however long the sound is.
      return *itertools.tee(pieces), num_frames
    with audio_io.open_media(job.driving) as container:
      if not container.streams.video:
        raise InputError(f'{job.driving} has no picture in it: give a video file, or use --audio')
      if not container.streams.audio:
        return None, None, None
    return None, audio_stream.read_pieces(job.driving), None

  def _warm_up(self, portrait: Portrait, window: int) -> None:
    """Compiles both nets before the first sound is read, and says when they are ready."""
    silence = np.zeros(window * features.SAMPLES_PER_FRAME, np.float32)
    pieces = self.generator.speech_landmarks(portrait, silence, window)
    list(self.generator.frames(portrait, pieces, window))
    _say('ready')


def _write(
  writer: video_writer.VideoWriter,
  frames: Iterator[np.ndarray],
  total: int | None,
  progress: bool,
  watch: Callable[[int], None] | None = None,
) -> float:
  """Draws and writes all frames; returns how many seconds that took."""
  start = time.perf_counter()
  with tqdm(total=total, unit='frame', desc='preparing the nets', dynamic_ncols=True, disable=not progress) as bar:
    for frame in frames:
      bar.set_description('drawing', refresh=False)
      writer.append(frame)
      bar.update()
      if watch is not None:
        watch(writer.num_frames)
  return time.perf_counter() - start


def _version(path: str) -> tuple[int, int] | None:
  """Changes when a file does."""
  try:
    status = os.stat(path)
  except (OSError, ValueError):
    return None
  return status.st_mtime_ns, status.st_size


def _shrunk(picture: np.ndarray, name: str) -> np.ndarray:
  """The picture, or a smaller one where no video could be as large."""
  height, width = picture.shape[:2]
  scale = min(1.0, _MAX_SIDE / max(height, width), (_MAX_PIXELS / (height * width)) ** 0.5)
  if scale == 1:
    return picture
  size = (max(1, int(width * scale)), max(1, int(height * scale)))
  _say(f'{name} is {width}x{height} pixels, larger than a video can be: drawing on {size[0]}x{size[1]}')
  return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _followed(path: str, landmarker: face_landmarker.FaceLandmarker) -> dubbing.Followed:
  """The face in a video."""
  try:
    followed = dubbing.follow(path, landmarker)
  except InputError as error:
    raise _about(path, error) from error
  if followed.faces_seen > 1:
    _say(f'{path} shows {followed.faces_seen} faces: following the largest')
  return followed


def _about(path: str, error: InputError) -> InputError:
  """The error with the name of the file that it is about."""
  sentence = str(error)
  return error if path in sentence else InputError(f'{path}: {sentence[:1].lower()}{sentence[1:]}')


def _check_writable(path: str) -> None:
  """Raises InputError where no file can be made beside `path`: better now than after the drawing."""
  try:
    tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(path))).close()
  except OSError as error:
    raise InputError(f'{path} cannot be written ({error.strerror}): choose another folder') from error


def _say(sentence: str) -> None:
  print(f'atvg: {sentence}', file=sys.stderr)
