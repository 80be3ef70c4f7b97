"""A picture of a face and a recording of speech → a video of that face speaking.

  generator = Generator.from_pretrained()
  frames = generator(image, samples)  # uint8 [T, 128, 128, 3], 25 a second

The picture gives the example frame and its landmarks; the sound gives landmarks by AT-net (or another video
gives them); VG-net draws. TensorFlow is not needed, and not imported.
"""

import importlib.resources
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from atvg_jax import landmarks as lm
from atvg_jax import published, streaming, weights
from data_pipelines import audio as audio_io
from data_pipelines import faces, features, media
from data_pipelines.errors import InputError

# Quieter than this (-60 dB of full scale) there is no speech to follow.
_SILENCE = 1e-3

# How much wider or narrower than a driving mouth this one may be for the movement to follow.
_PROPORTIONS = (0.6, 1.6)


class Portrait(NamedTuple):
  """The face in a picture, cut out as the nets see it."""

  crop: np.ndarray  # uint8 [128, 128, 3]
  landmarks: np.ndarray  # float32 [136]
  matrix: np.ndarray  # [2, 3]: picture to crop
  faces_seen: int  # the largest was taken


class Result(NamedTuple):
  """A video that was written."""

  path: str
  num_frames: int
  seconds: float  # that it took, from the first window on


class Conditions(NamedTuple):
  """What the nets are told of a face."""

  rest: np.ndarray  # float32 [..., 136]: its landmarks with the mouth at rest
  example_landmarks: np.ndarray  # float32 [..., 136]
  example_coefficients: np.ndarray  # float32 [..., K]


def find_face(image: np.ndarray, landmarker: faces.FaceLandmarker | None = None,
              alignment: Callable[[np.ndarray], np.ndarray] = faces.alignment) -> Portrait:
  """Finds, aligns and cuts out the largest face of a picture.

  Args:
    image: uint8 [H, W, 3].
    landmarker: to use; None makes one.
    alignment: [68, 2] pixels → [2, 3], picture to crop.

  Raises:
    InputError: there is no face, or the array is no picture.
  """
  if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
    raise InputError(f'a picture is an array uint8 [height, width, 3], not {image.dtype} {list(image.shape)}')
  shape = (landmarker or faces.FaceLandmarker()).landmarks(image)
  matrix = alignment(shape.points)
  return Portrait(faces.warp(image, matrix), faces.normalise(faces.apply(matrix, shape.points)), matrix,
                  shape.faces_seen)


def check_speech(samples: np.ndarray, name: str = 'the sound') -> None:
  """Raises InputError where samples [n] are empty, silent or no numbers; `name` says whose they are."""
  if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
    raise InputError(f'{name} is an array {samples.dtype} {list(samples.shape)}: give float32 samples [n] at 16 kHz')
  if not samples.size:
    raise InputError(f'{name} is empty: give a recording of speech')
  # In pieces: hours of sound must not be copied for this.
  pieces = np.split(samples, range(1 << 20, len(samples), 1 << 20))
  if not all(np.isfinite(piece).all() for piece in pieces):
    raise InputError(f'{name} holds numbers that are not finite: export the recording again')
  if max(max(piece.max(), -piece.min()) for piece in pieces) < _SILENCE:
    raise InputError(f'{name} is silent: give a recording with speech in it')


class Generator:
  """Both nets, ready to run; made by `from_pretrained`."""

  def __init__(self, at: weights.Bundle, vg: weights.Bundle):
    """Takes the weights of AT-net and of VG-net."""
    streaming.enable_compilation_cache()
    self.published = None
    if at.config.get('published') and vg.config.get('published'):
      self.published = published.Published(at.config['basics'])
    elif at.config.get('published') or vg.config.get('published'):
      raise InputError('one net\'s weights are the published ones, the other\'s are not, and they do not understand each '
                       'other: give --weights that belong together')
    self.basis = at.basis
    self.at = streaming.AtStream(at)
    self.vg = streaming.VgStream(vg)

  @classmethod
  def from_pretrained(cls, at: str | os.PathLike | None = None, vg: str | os.PathLike | None = None) -> 'Generator':
    """Loads AT-net and VG-net from training workdirs or .npz files; None stands for the packaged weights.

    Raises:
      InputError: there are no such weights, or they are another net's.
    """
    for kind, path in (('at', at), ('vg', vg)):
      if path is not None and (found := weights.load(os.fspath(path)).kind) != kind:
        raise InputError(f'{path} holds weights of {found.upper()}-net, where those of {kind.upper()}-net are needed')
    return cls(*load_nets([path for path in (at, vg) if path is not None]))

  def __call__(self, image: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Makes the largest face of a picture speak.

    Args:
      image: uint8 [H, W, 3] RGB.
      samples: float32 [n] in [-1, 1], 16 kHz mono.

    Returns:
      uint8 [T, 128, 128, 3], 25 frames a second, as many as it takes to cover the sound.

    Raises:
      InputError: no face, or empty or silent sound.
    """
    check_speech(samples)
    portrait = self.find_face(image)
    return np.concatenate(list(self.frames(portrait, self.speech_landmarks(portrait, samples))))

  def find_face(self, image: np.ndarray, landmarker: faces.FaceLandmarker | None = None) -> Portrait:
    """`find_face` with the alignment that these weights are used to."""
    return find_face(image, landmarker, self.published.alignment if self.published else faces.alignment)

  def conditions(self, landmarks: np.ndarray) -> Conditions:
    """What the nets are told of faces of which one picture's landmarks are known, [..., 136]."""
    if self.published:
      lead = landmarks.shape[:-1]
      return Conditions(*(np.broadcast_to(value, (*lead, value.shape[-1])) for value in (
          self.published.rest, self.published.example_landmarks, self.published.example_coefficients)))
    rest = np.asarray(lm.rest_from_example(landmarks, self.basis), np.float32)
    return Conditions(rest, landmarks, np.asarray(lm.to_coefficients(landmarks, rest, self.basis), np.float32))

  def normalise(self, landmarks: np.ndarray) -> np.ndarray:
    """Clips' aligned landmarks [B, T, 136] as VG-net wants them."""
    if not self.published:
      return landmarks
    return np.stack([self.published.normalise(faces.denormalise(clip)) for clip in landmarks])

  def spoken(self, conditions: Conditions, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Landmarks [B, W, 136] of B faces, for every window of MFCC [B, W, 28, 12]."""
    for coefficients in self.at(conditions.example_coefficients, windows):
      if self.published:
        coefficients = coefficients * published.EXAGGERATION
      yield lm.from_coefficients(coefficients, conditions.rest[:, None], self.basis).astype(np.float32)

  def speech_landmarks(self, portrait: Portrait, samples: np.ndarray) -> Iterator[np.ndarray]:
    """The landmarks with which this face says `samples` [n]: pieces [<= 32, 136] that follow each other."""
    num_frames = left = audio_io.num_frames(samples)
    for landmarks in self.spoken(self.conditions(portrait.landmarks[None]), streaming.mfcc_windows(samples, num_frames)):
      yield landmarks[0, :left]
      left -= landmarks.shape[1]

  def transferred_landmarks(self, portrait: Portrait, driving: np.ndarray) -> np.ndarray:
    """Another face's mouth movement on this face.

    What moves is the driving face's deviation from its own rest shape, seen through the landmark basis (mouth
    and jaw, alike on both sides, so that a turning head does not bend this face), in proportion to the mouths' widths.

    Args:
      portrait: whose face it shall be.
      driving: [T, 136] aligned landmarks of the driving face.

    Returns:
      float32 [T, 136].
    """
    if self.published:  # the published normalisation takes whose face it is out of the landmarks
      return self.normalise(driving[None])[0]
    rest, driving_rest = self.conditions(portrait.landmarks).rest, faces.rest_landmarks(driving)
    coefficients = lm.to_coefficients(driving, driving_rest, self.basis)
    proportion = np.clip(_mouth_width(rest) / max(_mouth_width(driving_rest), 1e-3), *_PROPORTIONS)
    return lm.from_coefficients(proportion * coefficients, rest, self.basis).astype(np.float32)

  def frames(self, portrait: Portrait, landmarks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames uint8 [<= 32, 128, 128, 3] of the portrait, for pieces of landmarks [<= 32, 136].

    All pieces but the last have the full length. No more than two are in memory at a time.
    """
    lengths, pieces = itertools.tee(landmarks)
    windows = (next(streaming.split(piece[None])) for piece in pieces)
    drawn = self.vg(portrait.crop[None], self.conditions(portrait.landmarks[None]).example_landmarks, windows)
    for piece, frames in zip(lengths, drawn, strict=True):
      yield frames[0, :len(piece)]


def _mouth_width(landmarks: np.ndarray) -> float:
  left, right = features.MOUTH.start, features.MOUTH.start + 6  # the corners
  points = landmarks.reshape(features.NUM_LANDMARKS, 2)
  return float(np.hypot(*(points[right] - points[left])))


def packaged_weights(kind: str) -> str:
  """Path of the packaged weights of a net, 'at' or 'vg'."""
  return str(importlib.resources.files('atvg_jax') / 'assets' / f'{kind}_small.npz')


def load_nets(paths: Sequence[str | os.PathLike] | None) -> tuple[weights.Bundle, weights.Bundle]:
  """Weights of AT-net and of VG-net, from workdirs or files in either order; what is not given is the packaged one.

  Raises:
    InputError: there are no such weights, or two are the same net's.
  """
  found: dict[str, tuple[str, weights.Bundle]] = {}
  for path in map(os.fspath, paths or ()):
    bundle = weights.load(path)
    if bundle.kind in found:
      raise InputError(f'{found[bundle.kind][0]} and {path} are both weights of {bundle.kind.upper()}-net: give one '
                       'of each net')
    found[bundle.kind] = (path, bundle)
  return tuple(found[kind][1] if kind in found else weights.load(packaged_weights(kind)) for kind in ('at', 'vg'))


def generate_video(image: str, out: str, *, audio: str | None = None, driving: str | None = None,
                   nets: Sequence[str] | None = None) -> Result:
  """Reads the files, makes the face speak and writes the video; shows progress on standard error.

  Args:
    image: picture of a face.
    out: the video to write; it gets its name when it is whole.
    audio: speech. With `driving`, the sound of the video only.
    driving: video whose face's mouth is followed instead of the sound; its sound is used where `audio` is None.
    nets: weights, see `load_nets`.

  Raises:
    InputError: any of the files will not do, in one sentence.
  """
  for source in (image, audio, driving):
    if source is not None and os.path.exists(out) and os.path.exists(source) and os.path.samefile(source, out):
      raise InputError(f'--out {out} would overwrite what is read: choose another name')
  picture = media.read_image(image)
  generator = Generator(*load_nets(nets))
  landmarker = faces.FaceLandmarker()
  try:
    portrait = generator.find_face(picture, landmarker)
  except InputError as error:
    raise _about(image, error) from error
  if portrait.faces_seen > 1:
    _say(f'{image} shows {portrait.faces_seen} faces: taking the largest')
  samples = _sound(audio, driving)
  if driving is None:
    check_speech(samples, audio)
  size = (features.IMAGE_SIZE, features.IMAGE_SIZE)
  with media.VideoWriter(out, size, samples) as writer:
    _check_writable(out)
    if driving is None:
      num_frames = audio_io.num_frames(samples)
      pieces = generator.speech_landmarks(portrait, samples)
    else:
      track = _track(driving, landmarker)
      num_frames = len(track)
      pieces = (piece[0] for piece in streaming.split(generator.transferred_landmarks(portrait, track)[None]))
    start = time.perf_counter()
    with tqdm(total=num_frames, unit='frame', desc='preparing the nets', dynamic_ncols=True) as progress:
      for frames in generator.frames(portrait, pieces):
        progress.set_description('drawing')
        for frame in frames[:num_frames - writer.num_frames]:
          writer.append(frame)
          progress.update()
  return Result(out, writer.num_frames, time.perf_counter() - start)


def _sound(audio: str | None, driving: str | None) -> np.ndarray | None:
  """The video's sound; None where a driving video has none."""
  if audio is not None:
    return audio_io.read_audio(audio)
  with audio_io.open_media(driving) as container:
    if not container.streams.video:
      raise InputError(f'{driving} has no picture in it: give a video file, or use --audio')
    if not container.streams.audio:
      return None
  return audio_io.read_audio(driving)


def _track(path: str, landmarker: faces.FaceLandmarker) -> np.ndarray:
  """Aligned landmarks [T, 136] of the face in a video."""
  try:
    track = landmarker.track(tqdm(media.iter_video(path), unit='frame', desc='following the face', dynamic_ncols=True))
  except InputError as error:
    raise _about(path, error) from error
  if track.faces_seen > 1:
    _say(f'{path} shows {track.faces_seen} faces: following the largest')
  return faces.normalise(faces.apply(faces.align_track(track.landmarks), track.landmarks))


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
