"""Eyes that blink: now and then by themselves, or as in a video.

The nets hold the eyes still, so a blink is made of the frame's own pixels: along the height of the eye, the skin above
it is stretched down over the eyeball, that below a little up, and both edges take their lashes along. Skin that is
stretched far loses its lashes and folds, which would become streaks.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import scipy  # its parts are loaded when they are first used: a crop needs none

from atvg_jax.generate.effects.interpolation import smoothstep
from data_pipelines import features
from data_pipelines.faces import face_alignment

_EYES = (features.RIGHT_EYE, features.LEFT_EYE)

# Seconds.
_INTERVAL = (2.0, 6.0)  # from one blink to the next
_LENGTH = (0.2, 0.3)  # of a blink
_SHUT = 0.04  # of it at least: a frame, so that one shows the eye shut
_CLOSING = 0.3  # of its length; it opens more slowly

# Shares of how far a video's eyes are open as a rule: above the first they are open, below the second shut.
_WATCHED = (0.8, 0.15)
_AS_A_RULE = 80  # percentile

# Eyes less open than this share of their width are shut or nearly so, and those of which one is so much narrower
# belong to a head that is turned away: they stay as they are.
_LEAST_OPEN = 0.15
_LEAST_ALIKE = 0.8

# In openings of the eye: how much skin is stretched above and below, and where the edges are beside the landmarks.
_ABOVE, _BELOW = 0.75, 0.7
_UPPER_EDGE, _LOWER_EDGE = 0.03, 0.06
_MEETING = 0.9  # of the way down from the upper lid
_LASHES = (0.12, 0.32)  # above the upper edge: below the first they are kept, above the second smoothed away
_SHADOW = (0.35, 0.15)  # that the moving lid casts: how dark, how far
# In widths of the eye.
_CORNER = 0.05  # from the inner landmark to where the lids meet
_FINEST = {'lash': 0.08, 'across': 0.04, 'along': 0.02}  # what smoothing takes away
_EVEN = 0.12  # what is even in a lid
_LID = 0.9  # how light a lid is, of the lighter skin above or below the eye
_ROUND = 0.8  # the shape of the lids' edges: 1 is a parabola, 0.5 an ellipse


def natural(seed: int = 0) -> Iterator[float]:
  """How far the eyes are closed in every frame, from 0 to 1, without end; `seed` draws the times of the blinks."""
  rng = np.random.default_rng(seed)
  start, length = rng.uniform(*_INTERVAL) / 2, rng.uniform(*_LENGTH)
  for frame in itertools.count():
    if frame / features.FPS > start + length:
      start, length = start + rng.uniform(*_INTERVAL), rng.uniform(*_LENGTH)
    time = frame / features.FPS - start
    closing = _CLOSING * length
    opening = length - closing - max(_SHUT, 0.2 * length)
    yield float(smoothstep(min(time / closing, (length - time) / opening)))


def of_track(landmarks: np.ndarray) -> Iterator[float]:
  """How far the eyes of a video are closed, from 0 to 1, without end: at its last frame it turns back.

  Args:
    landmarks: [T, 136] of the face in every frame.
  """
  points = face_alignment.denormalise(landmarks)
  opening = np.mean([_openness(points[:, eye]) for eye in _EYES], axis=0)
  wide = max(np.percentile(opening, _AS_A_RULE), 1e-6)
  if wide < _LEAST_OPEN:  # shut from the beginning to the end: nothing is known
    return itertools.repeat(0.0)
  least, most = _WATCHED
  closed = np.clip((least - opening / wide) / (least - most), 0, 1).tolist()
  return itertools.cycle(closed + closed[-2:0:-1])


def blinking(frames: Iterable[np.ndarray], points: np.ndarray, closed: Iterable[float]) -> Iterator[np.ndarray]:
  """Frames with their eyes closed by the shares given; eyes of a face that is turned away or shut stay as they are.

  Args:
    frames: uint8 [H, W, 3].
    points: [68, 2], where the face is in all of them, in pixels.
    closed: from 0 to 1 for every frame.
  """
  points, eyes = np.asarray(points, np.float64), None
  for frame, share in zip(frames, closed):
    if eyes is None:
      eyes = [_Eye(points[eye], inner, frame.shape) for eye, inner in zip(_EYES, (3, 0))] if _can_blink(points) else []
    if eyes and share > 0:
      frame = frame.copy()
      for eye in eyes:
        eye.close(frame, share)
    yield frame


def _openness(eye: np.ndarray) -> np.ndarray:
  """[..., 6, 2] → [...]: how far the lids are apart, in widths of the eye."""
  across = eye[..., 3, :] - eye[..., 0, :]
  width = np.maximum(np.hypot(across[..., 0], across[..., 1]), 1e-6)
  apart = (eye[..., 4, :] + eye[..., 5, :] - eye[..., 1, :] - eye[..., 2, :]) / 2
  return (across[..., 0] * apart[..., 1] - across[..., 1] * apart[..., 0]) / width**2


def _can_blink(points: np.ndarray) -> bool:
  eyes = np.stack([points[eye] for eye in _EYES])
  widths = np.hypot(*(eyes[:, 3] - eyes[:, 0]).T)
  return bool(_openness(eyes).min() >= _LEAST_OPEN and widths.min() >= _LEAST_ALIKE * widths.max())


class _Eye:
  """One eye of a picture, and what is around it."""

  def __init__(self, points: np.ndarray, inner: int, shape: tuple[int, ...]):
    """Takes its points [6, 2], which of them is at the nose, and the shape of the picture."""
    points = points.copy()
    points[inner] += _CORNER * (points[inner] - points[3 - inner])
    start, across = points[0], points[3] - points[0]
    self._width = width = np.hypot(*across)
    self._down = np.array([-across[1], across[0]]) / width
    # Along the eye from 0 to 1, and down from the line through its corners in pixels.
    along, down = (points - start) @ across / width**2, (points - start) @ self._down
    self._opening = opening = (down[[4, 5]] - down[[1, 2]]).mean()
    reach = 2 + (_ABOVE + 0.5) * opening
    limits = np.array([shape[1], shape[0]])
    low, high = (
      np.clip(edge, 0, limits).astype(int)
      for edge in (np.floor(points.min(axis=0) - reach), np.ceil(points.max(axis=0) + reach))
    )
    self._box = slice(low[1], high[1]), slice(low[0], high[0])
    places = np.stack(np.meshgrid(*(np.arange(*ends) + 0.5 for ends in zip(low, high))), axis=-1) - start
    self._at = places @ self._down
    place = np.clip(places @ across / width**2, 0, 1)
    self._within = (place > 0.1) & (place < 0.9)
    within = np.minimum(1, 8 * place * (1 - place)) * opening
    self._upper = _edge(place, along[[1, 2]], down[[1, 2]]) + _UPPER_EDGE * within
    self._lower = np.maximum(_edge(place, along[[5, 4]], down[[5, 4]]) + _LOWER_EDGE * within, self._upper)

  def close(self, frame: np.ndarray, share: float) -> None:
    """Closes the eye in `frame`, uint8 [H, W, 3], by a share of its opening."""
    at, opening, gap = self._at, self._opening, self._lower - self._upper
    if not at.size:
      return
    part = frame[self._box].astype(np.float32)
    upper = self._upper + share * _MEETING * gap
    lower = self._lower - share * (1 - _MEETING) * gap
    above, below = _ABOVE * opening, _BELOW * opening
    top, bottom = self._upper - above, self._lower + below
    lid = np.where(at < top, at, top + above * _stretched((at - top) / (upper - top), (upper - top) / above))
    under = np.where(
      at > bottom, at, bottom - below * _stretched((bottom - at) / (bottom - lower), (bottom - lower) / below)
    )
    out = (
      part
      * (1 - _SHADOW[0] * np.sin(np.pi * share) * np.exp(-np.maximum(at - upper, 0) / (_SHADOW[1] * opening)))[
        ..., None
      ]
    )
    out = _over(out, self._moved(part, under - at), at - lower)
    smooth = share * np.clip(((upper - at) / opening - _LASHES[0]) / (_LASHES[1] - _LASHES[0]), 0, 1)
    smooth *= np.clip((at - top) / (0.5 * above), 0, 1)
    skin = self._moved(part, lid - at)
    skin += smooth[..., None] * (self._moved(self._smoothed(part), lid - at) - skin)
    skin += smooth[..., None] * self._missing_light(part, skin)
    out = np.where((gap > 0)[..., None], _over(out, skin, upper - at), part)
    frame[self._box] = np.clip(np.round(out), 0, 255)

  def _moved(self, part: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The part's pixels from so far below each place."""
    rows, columns = np.indices(down.shape)
    places = [rows + down * self._down[1], columns + down * self._down[0]]
    return np.stack(
      [scipy.ndimage.map_coordinates(channel, places, order=1, mode='nearest') for channel in np.moveaxis(part, -1, 0)],
      axis=-1,
    )

  def _missing_light(self, part: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """[h, w, 3]: what a stretched lid lacks to be as light as the skin around the eye, so that no crease is a smear."""
    at, opening = self._at, self._opening
    around = [
      part[self._within & (at > self._upper - 1.6 * opening) & (at < self._upper - 0.6 * opening)],
      part[self._within & (at > self._lower + 0.3 * opening) & (at < self._lower + 1.2 * opening)],
    ]
    colours = [np.median(pixels, axis=0) for pixels in around if len(pixels)]
    if not colours:
      return np.zeros(3, np.float32)
    colour = _LID * max(colours, key=np.sum)
    spread = (_EVEN * self._width, _EVEN * self._width, 0)
    return np.maximum(colour - scipy.ndimage.gaussian_filter(skin, spread), 0)

  def _smoothed(self, part: np.ndarray) -> np.ndarray:
    """The part without lashes, which are dark and thin."""
    lash = max(1, round(_FINEST['lash'] * self._width))
    part = scipy.ndimage.grey_closing(part, (max(1, lash // 2), lash, 1))
    return scipy.ndimage.gaussian_filter(part, (_FINEST['along'] * self._width, _FINEST['across'] * self._width, 0))


def _edge(place: np.ndarray, along: np.ndarray, down: np.ndarray) -> np.ndarray:
  """A lid's edge: how far below the corners' line it is at `place` in [0, 1], through two points and both corners."""
  heights = down / (4 * along * (1 - along)) ** _ROUND
  slope = (heights[1] - heights[0]) / (along[1] - along[0])
  return (4 * place * (1 - place)) ** _ROUND * (heights[0] + slope * (place - along[0]))


def _stretched(place: np.ndarray, rate: np.ndarray) -> np.ndarray:
  """A map of [0, 1] on itself whose slope is `rate` at both ends: there nothing is stretched, between them all is."""
  place = np.clip(place, 0, 1)
  return smoothstep(place) + rate * (2 * place**3 - 3 * place**2 + place)


def _over(ground: np.ndarray, layer: np.ndarray, inside: np.ndarray) -> np.ndarray:
  """A layer over another, where `inside` says by how many pixels a place is within it."""
  return ground + np.clip(inside + 0.5, 0, 1)[..., None] * (layer - ground)
