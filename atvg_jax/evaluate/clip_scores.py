"""The scores of one video against the clip that it should be: frames and landmarks in, a dict of numbers out."""

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax.generate import streaming
from atvg_jax.metrics import cpbd, image_metrics, landmark_metrics, published_metrics
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.faces import face_alignment, face_blendshapes, face_landmarker


class Column(NamedTuple):
  """How a score is shown."""

  heading: str
  form: str  # its format
  better: int  # 1: more is better, -1: less is better, 0: neither, near the row 'real' is best
  meaning: str = ''  # in a few words, where the heading alone does not say it


# Score → its column, in the order of the tables. Docs: docs/evaluation.md.
COLUMNS: Mapping[str, Column] = {
  'psnr': Column('PSNR', '.2f', 1, 'likeness to the true frames, in dB'),
  'ssim': Column('SSIM', '.4f', 1, 'structural likeness to the true frames, at most 1'),
  'psnr_mouth': Column('PSNR mouth', '.2f', 1, 'the same of mouth and chin'),
  'ssim_mouth': Column('SSIM mouth', '.4f', 1, 'the same of mouth and chin'),
  'psnr_lips': Column('PSNR lips', '.2f', 1, 'the same of the lips'),
  'ssim_lips': Column('SSIM lips', '.4f', 1, 'the same of the lips'),
  'cpbd': Column('CPBD', '.3f', 0, 'sharpness without a reference, 0 to 1'),
  'cpbd_mouth': Column('CPBD mouth', '.3f', 0, 'the same of mouth and chin'),
  'cpbd_lips': Column('CPBD lips', '.3f', 0, 'the same of the lips'),
  'lmd': Column('LMD', '.2f', -1, 'mean distance of the 20 mouth landmarks from the true ones, in pixels'),
  'lmd_face': Column('LMD face', '.2f', -1, 'the same of all 68 landmarks'),
  'opening_r': Column('opening r', '.3f', 1, "correlation over time of the mouth's opening with the true one"),
  'opening_range': Column(
    'range', '.2f', 0, "how far the mouth opens and shuts, as a share of the true mouth's: 1 is best"
  ),
  'closure': Column(
    'closure', '.3f', 1, 'of the frames in which the true lips are shut, the share where these meet too'
  ),
  'false_closure': Column(
    'false closure', '.3f', -1, 'of the frames in which the true lips are apart, the share where these meet'
  ),
  'lag': Column('lag', '+.1f', 0, 'frames by which the mouth moves late: 0 is best'),
  'velocity_error': Column(
    'velocity', '.3f', -1, "error of the mouth landmarks' motion from frame to frame, in pixels"
  ),
  'blendshapes': Column('blendshapes', '.2f', -1, 'mean distance of the 27 blendshapes of jaw and mouth, in %'),
  'blendshapes_face': Column('blendshapes face', '.2f', -1, 'the same of all 51'),
  'jitter': Column('jitter', '.2f', -1, 'trembling of nose and brows, in % of the distance between the eyes'),
  'identity_drift': Column(
    'drift', '.2f', -1, 'mean difference of the upper face from the example frame, in grey levels'
  ),
  'color_shift': Column('colour', '.2f', -1, 'shift of the mean colour from the example frame, in grey levels'),
}
# Columns that the protocol 'published' adds: the published formulas, in their units.
PUBLISHED_COLUMNS: Mapping[str, Column] = {
  'psnr_published': Column('published "PSNR"', '.2f', 1, "the published script's, which is none"),
  'ssim_published': Column('published SSIM', '.4f', 1, "the published script's, of uniform windows"),
  'lmd_published': Column('published LMD', '.2f', -1, "the published script's, a sum over centred mouths"),
  'cpbd_published': Column('published CPBD', '.3f', 0, "the published script's"),
}
# Columns that metric networks add, see `metric_networks.networks`.
NETWORK_COLUMNS: Mapping[str, Column] = {
  'sync': Column('sync', '.3f', 1, 'how well lips and sound go together, at most 1, by the packaged embedding'),
  'sync_lag': Column('sync lag', '+.2f', 0, 'frames by which the lips come late by that embedding: 0 is best'),
  'identity': Column('identity', '.3f', 1, 'likeness of the face to the example, cosine of face embeddings'),
  'lpips': Column('LPIPS', '.4f', -1, 'perceptual distance from the true frames, by AlexNet'),
  'lse_c': Column('LSE-C', '.2f', 1, 'confidence that lips and sound go together, by SyncNet'),
  'lse_d': Column('LSE-D', '.2f', -1, 'distance of lips and sound, by SyncNet'),
  'fid': Column('FID', '.1f', -1, 'distance of all frames from all true ones, by an Inception'),
}

WINDOW = 15  # frames: of 75, the most usual length of clips, none is left over

_MAX_LAG = 5  # frames
_SHARPNESS_STRIDE = 5  # CPBD is slow and changes slowly: every fifth frame
PADDING = 64  # pixels around a crop: the detector wants to see that a face ends
_MIN_DEVIATION = 1e-6  # half crops: a mouth whose opening varies less does not move


class RealClip(NamedTuple):
  """The clip that a video should be."""

  frames: np.ndarray  # uint8 [T, 128, 128, 3]
  landmarks: np.ndarray  # [T, 136]
  example: np.ndarray  # uint8 [128, 128, 3]: the frame that was given


class Seen(NamedTuple):
  """What is found in the frames of a video."""

  landmarks: np.ndarray  # [T, 136]
  blendshapes: np.ndarray  # [T, 52] in [0, 1]


MOUTHS = 'shut', 'open', 'smiling'
SMILING = 0.5

_REGIONS = '', '_mouth', '_lips'
# The scores of likeness to the true frames, in the order of the tables.
LIKENESS = tuple(f'{name}{region}' for region in _REGIONS for name in ('psnr', 'ssim'))


@jax.jit
def _score_window(ours: list[jax.Array], true: jax.Array, boxes: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
  ours, true = jax.tree.map(lambda video: video.astype(jnp.float32) / 255, (ours, true))
  return image_metrics.region_scores(ours, true, boxes)


def reference_scores(
  videos: Mapping[str, np.ndarray], true: np.ndarray, landmarks: Sequence[np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
  """PSNR (dB) and SSIM of every frame: of the whole crop, of the lower part where mouth and chin move, and of the lips.

  Args:
    videos: row → uint8 [B, T, H, W, 3], or [B, 1, H, W, 3] for one frame, repeated; `true` itself is perfect.
    true: uint8 [B, T, H, W, 3]; scored window by window, so that one compiled program serves any T.
    landmarks: B times [T, 136], of the true frames (T may be less where frames are padded), for the box of the lips.

  Returns:
    For every row 'psnr', 'ssim', 'psnr_mouth', 'ssim_mouth', 'psnr_lips', 'ssim_lips', each [B, T].
  """
  size = true.shape[2]
  mouth = [bound for part in image_metrics.mouth_box(size) for bound in (part.start, part.stop)]
  boxes = np.array([[(0, size, 0, size), mouth, image_metrics.lips_box(clip, size)] for clip in landmarks], np.int32)
  unequal = {row: video for row, video in videos.items() if video is not true}
  pieces = [
    streaming.split(video, WINDOW) if video.shape[1] == true.shape[1] else itertools.repeat(video)
    for video in unequal.values()
  ]
  windows = zip(streaming.split(true, WINDOW), *pieces) if unequal else ()
  scored = [_score_window(ours, true_part, boxes) for true_part, *ours in windows]
  found = {
    row: [np.concatenate(parts, axis=1)[:, : true.shape[1]] for parts in zip(*of_row, strict=True)]
    for row, of_row in zip(unequal, zip(*scored, strict=True), strict=True)
  }
  perfect = [np.full((*true.shape[:2], len(_REGIONS)), value, np.float32) for value in (image_metrics.MAX_PSNR, 1)]
  return {
    row: {
      f'{name}{region}': values[..., i]
      for i, region in enumerate(_REGIONS)
      for name, values in zip(('psnr', 'ssim'), found.get(row, perfect), strict=True)
    }
    for row in videos
  }


_threads = threading.local()


def landmarker() -> face_landmarker.FaceLandmarker:
  """This thread's own: it serves one at a time."""
  if not hasattr(_threads, 'landmarker'):
    _threads.landmarker = face_landmarker.FaceLandmarker()
  return _threads.landmarker


def track(
  landmarker: face_landmarker.FaceLandmarker, crops: np.ndarray, *, with_mesh: bool = False
) -> face_landmarker.Track | None:
  """Tracks the face in aligned crops uint8 [T, 128, 128, 3], in pixels of the crops; None where none is found."""
  padding = [(0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)]
  pieces = (np.pad(crops[start : start + WINDOW], padding, mode='edge') for start in range(0, len(crops), WINDOW))
  try:
    found = landmarker.track(itertools.chain.from_iterable(pieces), with_mesh=with_mesh)
  except InputError:
    return None
  return found._replace(landmarks=found.landmarks - PADDING)


def aligned_crops(
  frames: Sequence[np.ndarray] | np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A video's aligned crops uint8 [T, 128, 128, 3], landmarks in them [T, 136], and matrices [T, 2, 3].

  Args:
    frames: each uint8 [H, W, 3].
    points: [T, 68, 2] in pixels, the face in them.
  """
  matrices = face_alignment.align_track(points)
  return warped(frames, matrices), face_alignment.normalise(face_alignment.apply(matrices, points)), matrices


def warped(frames: Sequence[np.ndarray] | np.ndarray, matrices: np.ndarray) -> np.ndarray:
  """uint8 [T, 128, 128, 3]: frames, as many as have a matrix [T, 2, 3], warped to aligned crops."""
  return np.stack([face_alignment.warp(frame, matrix) for frame, matrix in zip(frames, matrices, strict=False)])


def redetect(landmarker: face_landmarker.FaceLandmarker, crops: np.ndarray) -> np.ndarray | None:
  """Finds the landmarks in aligned crops: uint8 [T, 128, 128, 3] → [T, 136], or None where no face is found."""
  found = track(landmarker, crops)
  return None if found is None else face_alignment.normalise(found.landmarks)


def look(crops: np.ndarray) -> Seen | None:
  """What this thread's nets see in aligned crops uint8 [T, 128, 128, 3]; None where no face is found."""
  found = track(landmarker(), crops, with_mesh=True)
  if found is None or found.mesh is None:
    return None
  if not hasattr(_threads, 'blendshapes'):
    _threads.blendshapes = face_blendshapes.FaceBlendshapes()
  return Seen(face_alignment.normalise(found.landmarks), _threads.blendshapes(found.mesh))


def blendshape_scores(seen: Seen | None, true: Seen | None) -> dict[str, float]:
  """'blendshapes' and 'blendshapes_face': mean distance of the 27 blendshapes of jaw and mouth from the true, in %.

  And of all 51, the neutral one left out. NaN where no face was found.

  Args:
    seen: in the frames that are scored.
    true: in the true frames; of equal length.
  """
  if seen is None or true is None:
    return {'blendshapes': float('nan'), 'blendshapes_face': float('nan')}
  distance = 100 * np.abs(seen.blendshapes - true.blendshapes)
  return {
    'blendshapes': float(distance[:, face_blendshapes.MOUTH].mean()),
    'blendshapes_face': float(distance[:, 1:].mean()),
  }


def mouth_of(example: Seen | None) -> str:
  """What the mouth of an example frame shows, one of MOUTHS, '' where no face is found.

  The lips are apart if their opening is more than `landmark_metrics.TOUCHING`; then the mouth smiles if the mean of
  both blendshapes of smiling is SMILING or more.
  """
  if example is None:
    return ''
  if face_alignment.mouth_opening(example.landmarks[0]) <= landmark_metrics.TOUCHING:
    return 'shut'
  return 'smiling' if example.blendshapes[0, face_blendshapes.SMILE].mean() >= SMILING else 'open'


def landmark_scores(found: np.ndarray | None, true: np.ndarray) -> dict[str, float]:
  """Scores of the motion.

  Args:
    found: [T, 136], the landmarks found in the frames; None where no face was found.
    true: [T, 136], the clip's own.

  Returns:
    'lmd' and 'lmd_face': mean distance in pixels of the 20 mouth points, and of all 68.
    'opening_r': correlation of the mouth's opening over time.
    'opening_range': how much it opens and shuts (standard deviation) as a share of the true.
    'closure' and 'false_closure': see `landmark_metrics.closures`.
    'lag': by how many frames it comes late where it correlates best.
    'velocity_error': mean distance of the mouth points' movements from frame to frame, in pixels.
    'jitter': see `landmark_metrics.jitter`.

    NaN where a score is not defined. Where no face was found, distances are not, and the correlation and closure are 0:
    a mouth that cannot be seen does not follow. The correlation is 0 for a mouth that does not move, too, which has no
    lag.
  """
  names = 'lmd', 'lmd_face', 'opening_r', 'opening_range', 'closure', 'false_closure', 'lag', 'velocity_error', 'jitter'
  nothing = dict.fromkeys(names, float('nan'))
  true_opening = face_alignment.mouth_opening(true)
  if found is None:
    unseen, _ = landmark_metrics.closures(np.full_like(true_opening, np.inf), true_opening)
    return nothing | {'opening_r': 0.0, 'opening_range': 0.0, 'closure': float(unseen)}
  points, true_points = face_alignment.denormalise(found), face_alignment.denormalise(true)  # [T, 68, 2] pixels
  distance = np.linalg.norm(points - true_points, axis=-1)
  scores = nothing | {'lmd': float(distance[:, features.MOUTH].mean()), 'lmd_face': float(distance.mean())}
  if len(found) > 1:
    velocity = np.diff(points - true_points, axis=0)[:, features.MOUTH]
    scores['velocity_error'] = float(np.linalg.norm(velocity, axis=-1).mean())
  if len(found) > 2:
    scores['jitter'] = float(landmark_metrics.jitter(found))
  opening = face_alignment.mouth_opening(found)
  scores['closure'], scores['false_closure'] = map(float, landmark_metrics.closures(opening, true_opening))
  if np.std(true_opening) > _MIN_DEVIATION:
    scores['opening_r'] = (
      float(landmark_metrics.correlation(opening, true_opening)) if np.std(opening) > _MIN_DEVIATION else 0.0
    )
    scores['opening_range'] = float(np.std(opening) / np.std(true_opening))
    if np.std(opening) > _MIN_DEVIATION and len(found) >= _MAX_LAG + 3:
      scores['lag'] = float(landmark_metrics.best_lag(opening, true_opening, _MAX_LAG)[0])
  return scores


def no_reference_scores(frames: np.ndarray, example: np.ndarray, lips: tuple[int, int, int, int]) -> dict[str, float]:
  """Scores that need no true frames.

  Args:
    frames: uint8 [T, H, W, 3].
    example: uint8 [H, W, 3].
    lips: where the lips are, see `image_metrics.lips_box`.

  Returns:
    'cpbd', 'cpbd_mouth' and 'cpbd_lips': sharpness of the crop, of the 64x64 pixels around mouth and chin, and of the
    lips' box, of every fifth frame.
    'identity_drift': mean difference of the part above the mouth from the example's, in grey levels.
    'color_shift': distance of the mean colour from the example's, in grey levels, the largest of red, green and blue.
  """
  if (frames == frames[:1]).all():
    frames = frames[:1]  # one picture, repeated: scored once
  size = frames.shape[1]
  grey = np.rint(frames[::_SHARPNESS_STRIDE] @ np.array([0.299, 0.587, 0.114]))
  mouth = grey[:, size - 4 - 64 : size - 4, size // 2 - 32 : size // 2 + 32]
  whole, of_lips = cpbd.cpbd_with_part(grey, lips)
  upper = slice(0, size // 2)
  drift = np.abs(frames[:, upper].astype(np.int16) - example[upper].astype(np.int16))
  shift = frames.mean(axis=(1, 2)) - example.mean(axis=(0, 1))  # [T, 3]
  return {
    'cpbd': float(whole.mean()),
    'cpbd_mouth': float(cpbd.cpbd(mouth).mean()),
    'cpbd_lips': float(of_lips.mean()),
    'identity_drift': float(drift.mean()),
    'color_shift': float(np.abs(shift).mean(axis=0).max()),
  }


def published_scores(
  frames: np.ndarray, true_frames: np.ndarray, found: np.ndarray | None, true: np.ndarray
) -> dict[str, float]:
  """The published script's formulas on frames uint8 [T, 128, 128, 3] and landmarks [T, 136]; see docs/fidelity.md."""
  pairs = list(zip(frames[::_SHARPNESS_STRIDE], true_frames[::_SHARPNESS_STRIDE], strict=True))
  return {
    'psnr_published': float(
      np.mean([published_metrics.psnr_published(*map(published_metrics.published_grey, pair)) for pair in pairs])
    ),
    'ssim_published': float(
      np.mean([published_metrics.ssim_published(*map(published_metrics.published_image, pair)) for pair in pairs])
    ),
    'lmd_published': float('nan')
    if found is None
    else float(np.mean(published_metrics.lmd_published_sum(found, true))),
    'cpbd_published': float(
      cpbd.cpbd_published(np.stack([published_metrics.published_grey(ours) for ours, _ in pairs])).mean()
    ),
  }


def video_scores(
  landmarker: face_landmarker.FaceLandmarker,
  frames: np.ndarray,
  clip: RealClip,
  by_frame: Mapping[str, np.ndarray],
  *,
  published: bool = False,
  found: np.ndarray | None = None,
) -> dict[str, float]:
  """All scores of one video.

  Args:
    landmarker: to find the face again.
    frames: uint8 [T, 128, 128, 3].
    clip: what they should be. Frames equal to its example do not count in `by_frame`: the repeated example would get
      100 dB for them.
    by_frame: `reference_scores` of these frames, each [T].
    published: the published formulas as well.
    found: landmarks of `frames` [T, 136], where they are known already.

  Returns:
    A number for each of COLUMNS; NaN where there is none.
  """
  if found is None:
    found = redetect(landmarker, frames)
  others = (clip.frames != clip.example).any(axis=(1, 2, 3))
  if not others.any():
    others[:] = True
  scores = {name: float(values[others].mean()) for name, values in by_frame.items()}
  scores |= no_reference_scores(frames, clip.example, image_metrics.lips_box(clip.landmarks, frames.shape[1]))
  scores |= landmark_scores(found, clip.landmarks)
  if published:
    scores |= published_scores(frames, clip.frames, found, clip.landmarks)
  return scores


def columns(rows: Sequence[Mapping[str, object]]) -> dict[str, Column]:
  """Those of all columns that some row has."""
  return {
    name: column
    for name, column in {**COLUMNS, **NETWORK_COLUMNS, **PUBLISHED_COLUMNS}.items()
    if any(name in row for row in rows)
  }
