"""Files in, a video out: a picture of a face and a recording of speech, or a video to follow."""

import fractions
import functools
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

import atvg_jax
from atvg_jax.checkpoints.weights import describe, load_nets
from atvg_jax.generate import dubbing, fitness, followed_video, footage, side_outputs, streaming, who_speaks
from atvg_jax.generate.effects import blinks, head_motion
from atvg_jax.generate.followed_video import about, notify
from atvg_jax.generate.generator import FRAMES, Drawer, Generator, check_expressiveness, check_loudness
from atvg_jax.generate.pieces import Piece
from atvg_jax.generate.portrait import Portrait, own_landmarker
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_choice, upright
from data_pipelines.media import audio as audio_io
from data_pipelines.media import audio_stream, video_reader, video_writer
from data_pipelines.media.source_video import Look

__all__ = ['Generator', 'Job', 'Result', 'VideoMaker', 'generate_video']

PIPE = '-'  # as the name of a file: standard input, or standard output

# Frames in a window where somebody waits for the first of them.
LIVE_WINDOW = 5

# Above this, H.264 has no level and few players play: a larger picture is shrunk.
_MAX_SIDE, _MAX_PIXELS = 8192, 35_000_000


class Job(NamedTuple):
  """One video to make.

  Attributes:
    image: picture of a face, or a video of one, whose speech is then replaced by `audio`.
    out: the video to write; it gets its name when it is whole. '-' streams to standard output.
    audio: speech; '-' reads standard input. With `driving`, the sound of the video only.
    driving: video whose face's mouth is followed instead of the sound; its sound is used where `audio` is None.
    frame: 'crop' for the face alone (128x128), 'full' for the whole picture.
    motion: 'gentle', or a video whose face's small movements and blinks the head follows; None for a static head
      that does not blink.
    save: side outputs, of `side_outputs.KINDS`.
    face: which of several faces of `image`, as `face_choice.parse` reads it; 'speaking' in a video only.
    force: go on with a face that is turned too far, too small or covered.
    stream: write the video while it is made.
    raw: standard input is 16-bit samples at 16 kHz mono.
    expressiveness: factor on the movement of mouth and jaw from rest, see `landmarks.express`.
    loop: show a video over and over, for as long as the sound lasts.
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
  face: str = face_choice.LARGEST
  force: bool = False
  expressiveness: float = 1.0
  loop: bool = False


class Result(NamedTuple):
  """A video that was written."""

  path: str
  num_frames: int
  seconds: float  # that it took, from the first window on
  fps: float = features.FPS  # of the video


def generate_video(image: str, out: str, *, weights: Sequence[str] | None = None, **options: Any) -> Result:
  """Reads the files, makes the face speak and writes the video; shows progress on standard error.

  Args:
    image: picture of a face.
    out: the video to write.
    weights: of AT-net and of VG-net, see `load_nets`; None stands for the packaged ones.
    **options: other fields of `Job`.

  Raises:
    InputError: any of the files will not do, in one sentence.
  """
  job = Job(image, out, **options)
  check(job)
  if not dubbing.is_video(image):
    video_reader.read_image(image)  # before the nets are loaded: people should not wait for a misspelt name
  return VideoMaker(weights).make(job)


def check(job: Job) -> None:
  """Raises InputError where a job is wrong before any file is read."""
  if job.audio is None and job.driving is None:
    raise InputError('there is nothing to say: give --audio SPEECH, or --driving VIDEO to follow a video')
  if job.frame not in FRAMES:
    raise InputError(f'frame {job.frame!r} is unknown: use one of {", ".join(FRAMES)}')
  check_expressiveness(job.expressiveness)
  side_outputs.check(job.save, job.out)
  if face_choice.parse(job.face).kind == face_choice.SPEAKING and not dubbing.is_video(job.image):
    raise InputError(
      f'face {job.face!r} follows who speaks in a video, and {job.image} is a picture: choose another way'
    )
  if dubbing.is_video(job.image) and (job.driving is not None or job.motion or job.save):
    raise InputError(
      f'{job.image} is a video: it can be given another sound by --audio, but without --driving, --motion and --save'
    )
  if job.loop and job.audio == PIPE:
    raise InputError('--audio - has no end that is known, and the video is shown until there: give a file')
  if job.out == PIPE:
    if job.save:
      raise InputError(
        'a video that goes to standard output has no place for what --save writes beside it: give --out a file name'
      )
    return
  for source in filter(None, (job.image, job.audio, job.driving, job.motion)):
    if os.path.exists(job.out) and os.path.exists(source) and os.path.samefile(source, job.out):
      raise InputError(f'--out {job.out} would overwrite what is read: choose another name')
  video_writer.check_name(job.out)
  _check_writable(job.out)


class VideoMaker:
  """Makes videos, with the nets loaded and compiled once."""

  def __init__(self, weights: Sequence[str] | None = None):
    """Loads the weights, see `load_nets`."""
    self.generator = Generator(*load_nets(weights))
    self._portrait = functools.lru_cache(maxsize=4)(self._find_face)

  def face(self, name: str, which: str = face_choice.LARGEST, force: bool = False) -> tuple[Portrait, np.ndarray]:
    """A face in a picture file, and the picture uint8 [H, W, 3]; looked for once, as long as the file stays the same.

    Args:
      name: the file.
      which: of several, as in `Job`.
      force: take it even where little can be made of it.

    Raises:
      InputError: the file is no picture, or shows no such face, or not well enough.
    """
    return self._portrait(name, _version(name), which, force)

  def make(
    self, job: Job, *, progress: bool = True, watch: Callable[[int], None] | None = None, drawer: Drawer | None = None
  ) -> Result:
    """Makes one video; with lanes to draw it, several threads may make videos at the same time.

    Args:
      job: what to make.
      progress: show a bar on standard error.
      watch: called after every frame with the number of frames so far; what it raises ends the work.
      drawer: what draws it; None is the generator, for this video alone.

    Raises:
      InputError: any of the files will not do, in one sentence.
    """
    check(job)
    self.generator.check_expressiveness(job.expressiveness)
    if dubbing.is_video(job.image):
      return self._dub(job, progress, watch, drawer)
    portrait, picture = self.face(job.image, job.face, job.force)
    sound, num_frames = _sound(job)
    live = job.stream or PIPE in (job.audio, job.out)
    window = LIVE_WINDOW if live else streaming.default_window()
    if live:
      self._warm_up(portrait, window)
    if job.driving is None:
      speech, sound = _fork(sound)
      speak = (drawer or self.generator).speak
      draw = functools.partial(speak, portrait, speech, window, expressiveness=job.expressiveness)
    else:
      transferred = self._transferred_landmarks(job.driving, portrait, job.expressiveness)
      num_frames = len(transferred)
      landmarks = (transferred[start : start + window] for start in range(0, num_frames, window))
      draw = functools.partial((drawer or self.generator).draw, portrait, landmarks, window)
    animate = self._animation(job, portrait)
    size = picture.shape[:2] if job.frame == 'full' else (features.IMAGE_SIZE, features.IMAGE_SIZE)
    saver = side_outputs.Saver(job.out, job.save, portrait, self.generator.normalisation)
    with saver, self._writer(job, size, sound, live) as writer:
      pieces: Iterator[Piece] = saver.keep(draw(saver.needs_maps))
      if job.frame == 'full':
        pieces = self.generator.paste(picture, portrait, pieces)
      seconds = _write(writer, animate(_frames(pieces)), num_frames, progress, watch)
      saver.finish()  # all files are whole before any has its name
    return Result(job.out, writer.num_frames, seconds)

  def _animation(self, job: Job, portrait: Portrait) -> Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]:
    """Frames → frames with a head that moves and blinks, where the job wants it."""
    if job.motion is None:
      return lambda frames: frames
    if job.motion == head_motion.GENTLE:
      motion, closed = head_motion.gentle(), blinks.natural()
    else:
      track = followed_video.follow(job.motion, own_landmarker())
      motion, closed = head_motion.of_track(track.matrices), blinks.of_track(track.landmarks)
    points = face_alignment.denormalise(portrait.landmarks)
    if job.frame == 'full':
      points = face_alignment.apply(face_alignment.invert(portrait.matrix), points)
      return lambda frames: head_motion.moved_pictures(blinks.blinking(frames, points, closed), portrait, motion)
    return lambda frames: head_motion.moved_crops(blinks.blinking(frames, points, closed), motion)

  def _transferred_landmarks(self, driving: str, portrait: Portrait, expressiveness: float) -> np.ndarray:
    """[T, 136]: the movement of the mouth in a video on this face."""
    track = followed_video.follow(driving, own_landmarker())
    return self.generator.transfer(portrait, track.landmarks, expressiveness)

  def _dub(self, job: Job, progress: bool, watch: Callable[[int], None] | None, drawer: Drawer | None) -> Result:
    """A video with another sound, as long as the video, or, where that is shown over and over, as the sound."""
    sound, num_frames = _sound(job)
    speech, sound = _fork(sound)
    seen = self._footage(job, num_frames / features.FPS if job.loop and num_frames else None)
    length = seen.seconds
    if num_frames is not None and (over := num_frames / features.FPS - length) > 1 / features.FPS:
      notify(f'{job.audio} is {over:.1f} seconds longer than {job.image}: the rest is cut')
    coefficients = who_speaks.mouths(self.generator, speech, seen.times)
    frames = dubbing.redraw(self.generator, seen, coefficients, job.frame == 'full', job.expressiveness, drawer)
    first = next(frames)
    look = seen.video.look
    if job.frame == 'crop':
      look = look._replace(aspect=fractions.Fraction(1))
    with self._writer(job, first.shape[:2], sound, job.stream, look) as writer:
      moments = zip(seen.ticks.tolist(), seen.durations.tolist())
      seconds = _write(writer, itertools.chain([first], frames), len(seen.ticks), progress, watch, moments)
    return Result(job.out, writer.num_frames, seconds, writer.num_frames / length)

  def _footage(self, job: Job, seconds: float | None) -> footage.Footage:
    """What is in the video to dub; says what will stay as it is."""
    try:
      seen = footage.follow(
        job.image, self.generator, own_landmarker(), face_choice.parse(job.face), job.force, seconds
      )
    except InputError as error:
      raise about(job.image, error) from error
    for note in seen.notes:
      notify(note)
    if hdr := seen.video.look.hdr:
      notify(f'{job.image} is HDR ({hdr}): its colours are mapped to those of usual screens (BT.709)')
    return seen

  def _writer(
    self,
    job: Job,
    size: tuple[int, ...],
    sound: Iterator[np.ndarray] | None,
    stream: bool,
    look: Look = video_writer.OWN_LOOK,
  ) -> video_writer.VideoWriter:
    out = sys.stdout.buffer if job.out == PIPE else job.out
    height, width = size
    return video_writer.VideoWriter(out, (height, width), sound, comment=self.comment, stream=stream, look=look)

  @functools.cached_property
  def comment(self) -> dict[str, Any]:
    """What is written into every file: that it was generated, and by what."""
    return {
      'generated_by': f'atvg_jax {atvg_jax.__version__}',
      'synthetic': True,
      'note': 'The face in this video was made to speak by a neural network; it is not a recording.',
      'weights': {kind: describe(bundle) for kind, bundle in self.generator.bundles.items()},
    }

  def _find_face(self, name: str, version: Any, which: str, force: bool) -> tuple[Portrait, np.ndarray]:
    """A face in a picture, and the picture."""
    del version  # a file that was changed is read again
    picture = _shrunk(video_reader.read_image(name), name)
    choice = None if which == face_choice.LARGEST else face_choice.parse(which)
    try:
      turns = upright.quarter_turns(picture, own_landmarker())
      picture = np.ascontiguousarray(np.rot90(picture, turns))
      portrait = self.generator.find_face(picture, own_landmarker(), choice)
      if not force:
        fitness.check(portrait)
    except InputError as error:
      raise about(name, error) from error
    if turns:
      notify(f'{name} is turned by {90 * turns if turns < 3 else 90} degrees: taking it upright')
    if portrait.faces_seen > 1 and choice is None:
      notify(f'{name} shows {portrait.faces_seen} faces: taking the largest, --face chooses another')
    return portrait, picture

  def _warm_up(self, portrait: Portrait, window: int) -> None:
    """Compiles both nets before the first sound is read, and says when they are ready."""
    silence = np.zeros(window * features.SAMPLES_PER_FRAME, np.float32)
    landmarks = self.generator.speech_landmarks(portrait, silence, window)
    list(self.generator.draw(portrait, landmarks, window))
    notify('ready')


def _sound(job: Job) -> tuple[Iterator[np.ndarray] | None, int | None]:
  """The sound of the video to make, in pieces, and the number of frames where it is known."""
  if job.audio == PIPE:
    return audio_stream.pipe_pieces(sys.stdin.buffer, job.raw), None
  if job.audio is not None:
    # Once through the file before anything is drawn: is it whole, does anybody speak, how long?
    sound = audio_stream.measured(job.audio)
    if job.driving is None:
      check_loudness(sound.peak, job.audio)
    return sound.pieces, -(-sound.num_samples // features.SAMPLES_PER_FRAME)
  assert job.driving is not None, 'checked'
  with audio_io.open_media(job.driving) as container:
    if not container.streams.video:
      raise InputError(f'{job.driving} has no picture in it: give a video file, or use --audio')
    has_sound = bool(container.streams.audio)
  return audio_stream.read_pieces(job.driving, from_picture=True) if has_sound else None, None


def _fork(sound: Iterator[np.ndarray] | None) -> tuple[Iterator[np.ndarray], Iterator[np.ndarray]]:
  """The sound for the nets and for the writer, which never meet again.

  What the nets have taken waits until its frames are written: seconds, however long the sound is.
  """
  assert sound is not None, 'only a driving video may be silent'
  for_nets, for_writer = itertools.tee(sound)
  return for_nets, for_writer


def _frames(pieces: Iterable[Piece]) -> Iterator[np.ndarray]:
  """uint8 [H, W, 3], one by one."""
  return itertools.chain.from_iterable(piece.frames for piece in pieces)


def _write(
  writer: video_writer.VideoWriter,
  frames: Iterator[np.ndarray],
  total: int | None,
  progress: bool,
  watch: Callable[[int], None] | None = None,
  moments: Iterable[tuple[int | None, int | None]] = itertools.repeat((None, None)),
) -> float:
  """Draws and writes all frames, each at its tick and for its duration; returns how many seconds that took."""
  start = time.perf_counter()
  with tqdm(total=total, unit='frame', desc='preparing the nets', dynamic_ncols=True, disable=not progress) as bar:
    for (ticks, duration), frame in zip(moments, frames):
      bar.set_description('drawing', refresh=False)
      writer.append(frame, ticks, duration)
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
  notify(f'{name} is {width}x{height} pixels, larger than a video can be: drawing on {size[0]}x{size[1]}')
  return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _check_writable(path: str) -> None:
  """Raises InputError where no file can be made beside `path`: better now than after the drawing."""
  try:
    tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(path))).close()
  except OSError as error:
    raise InputError(f'{path} cannot be written ({error.strerror}): choose another folder') from error
