"""The losses of both networks: pure functions, means over everything that they are given.

What the paper (arXiv 1905.03820) minimises, in its words and with the constants of its authors' code:

* AT-net: the squared error of the landmarks' PCA coefficients, `coefficient_loss`.
* VG-net: L = L_GAN + λ L_pix, λ = 10 (`config.loss.pixel`). L_pix is the attention-based dynamic pixel-wise loss,
  `dynamic_pixel_loss`. L_GAN comes from the regression-based discriminator D, which says whether a clip is real
  (`bce_with_logits`) and regresses the landmarks that it shows (`landmark_loss`). D minimises `discriminator_loss`,
  VG-net `adversarial_terms`.

The rest (`gradient_loss`, `ssim_loss`, `mouth_weight`) is what the released VG-net has beyond the paper.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from atvg_jax.metrics import image_metrics
from data_pipelines import features

Array = jax.Array

# Of curves in units of the first coefficient: added to the concordance's denominator; variance of a curve that moves.
_STILL, _MOVING = 0.02, 1e-3
_BETA = 0.5  # of the dynamic pixel-wise loss: the weight where there is no attention

# Terms of a loss, {name: (weight, value)}.
Terms = Mapping[str, tuple[float, Array]]


def weighted_sum(terms: Terms) -> tuple[Array, dict[str, Array]]:
  """The loss that terms add up to, and {name: value} without the weights, for the log."""
  return sum((weight * value for weight, value in terms.values()), jnp.zeros(())), {
    name: value for name, (_, value) in terms.items()
  }


def frame_mean(values: Array, frames: Array | None) -> Array:
  """Mean of [..., B, T] by the frames' weights [B, T]; None weighs all alike."""
  if frames is None:
    return jnp.mean(values)
  return jnp.mean(jnp.sum(values * frames, axis=(-2, -1)) / jnp.maximum(jnp.sum(frames), 1))


def coefficient_loss(predicted: Array, true: Array, frames: Array | None = None) -> Array:
  """AT-net's loss: mean squared error of landmark coefficients.

  Args:
    predicted: [B, T, K], or [E, B, T, K] of an ensemble.
    true: [B, T, K].
    frames: [B, T] the frames' weights; None weighs all alike.
  """
  squares = jnp.square(predicted - true)
  return jnp.mean(squares) if frames is None else frame_mean(jnp.mean(squares, axis=-1), frames)


def concordance_loss(predicted: Array, true: Array, frames: Array) -> Array:
  """1 - the concordance of two curves, a mean over the clips whose true curve moves.

  The concordance, 2 s_xy / (s_x² + s_y² + (m_x - m_y)²), is Lin's (Biometrics 45, 1989, equation 3). Of all answers
  of a given correlation it is largest for those with the truth's mean and deviation; the squared error is least for
  answers whose deviation is smaller by the correlation, a mouth that moves less than mouths do.

  Args:
    predicted: [B, T].
    true: [B, T].
    frames: [B, T] the frames' weights.
  """
  count = jnp.maximum(jnp.sum(frames, axis=1, keepdims=True), 1)

  def mean(values: Array) -> Array:
    return jnp.sum(values * frames, axis=1, keepdims=True) / count

  means = mean(predicted), mean(true)
  x, y = predicted - means[0], true - means[1]
  spread = mean(y * y)
  sums = mean(x * x) + spread + jnp.square(means[0] - means[1]) + _STILL
  return jnp.mean(jnp.where(spread > _MOVING, 1 - 2 * mean(x * y) / sums, 0))


def detection_loss(logits: Array, true: Array, frames: Array | None) -> Array:
  """Cross entropy of logits [B, T] and what is true [B, T], 0 or 1, both kinds of frames alike in weight.

  Args:
    logits: of how surely it is 1.
    true: as above.
    frames: [B, T] the frames' weights; None weighs all alike.
  """
  weights = jnp.ones_like(true) if frames is None else frames
  share = jnp.sum(true * weights) / jnp.maximum(jnp.sum(weights), 1)
  balance = true * 0.5 / jnp.maximum(share, 0.05) + (1 - true) * 0.5 / jnp.maximum(1 - share, 0.05)
  return frame_mean(optax.sigmoid_binary_cross_entropy(logits, true) * balance, weights)


def dynamic_pixel_loss(fake: Array, real: Array, attention: Array | None, weight: Array | None = None) -> Array:
  """The dynamic pixel-wise loss L_pix: mean of |v - v̂| ⊙ (ᾱ + β), with β = 0.5.

  v are the true frames, v̂ the generated ones and α VG-net's attention. ᾱ is α without its gradient, so that the
  attention is not learnt in order to weigh errors down.

  Args:
    fake: v̂ [B, T, H, W, 3] in [-1, 1].
    real: v [B, T, H, W, 3] in [-1, 1].
    attention: α [B, T, H, W, 1] in [0, 1]; None weighs all pixels alike, by 1: a plain L1.
    weight: [B, T, H, W, 1] or broadcastable, for instance `mouth_weight`; one more factor.
  """
  loss = jnp.abs(fake - real)
  if attention is not None:
    loss = loss * (lax.stop_gradient(attention) + _BETA)
  if weight is not None:
    loss = loss * weight
  return jnp.mean(loss)


def landmark_loss(regressed: Array, true: Array, mouth_factor: float = 100.0) -> Array:
  """The regression term of L_GAN: mean of ((p̂ - p) ⊙ M)^2, M a mask that weighs lips more.

  Args:
    regressed: p̂ [..., 136], landmarks that the discriminator sees in a clip.
    true: p [..., 136].
    mouth_factor: M on the y of the 20 mouth points; elsewhere M is 1.
  """
  factors = jnp.ones((features.NUM_LANDMARKS, 2)).at[features.MOUTH, 1].set(mouth_factor).reshape(-1)
  return jnp.mean(jnp.square((regressed - true) * factors))


def bce_with_logits(logits: Array, target: float) -> Array:
  """The real-or-fake term of L_GAN: mean binary cross entropy of logits [B] or [B, T] with one target, 1 is real."""
  return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, target)))


def discriminator_loss(
  on_real: Mapping[str, Array], on_fake: Mapping[str, Array], true_landmarks: Array, weights: Any
) -> tuple[Array, dict[str, Array]]:
  """What the regression-based discriminator minimises: both terms, for a real and a generated clip.

  Landmarks are regressed from both clips, toward the true ones: those that the generated clip should show.

  Args:
    on_real: the discriminator's outputs for the real clips: 'logits' and, where it regresses, 'landmarks'.
    on_fake: those for the generated clips.
    true_landmarks: [B, T, 136].
    weights: `config.loss`: the factors `adversarial` and `landmark`.

  Returns:
    The loss, and {name: term}, the loss among them.
  """
  terms = {
    'd_real_loss': bce_with_logits(on_real['logits'], 1.0),
    'd_fake_loss': bce_with_logits(on_fake['logits'], 0.0),
  }
  total = weights.adversarial * (terms['d_real_loss'] + terms['d_fake_loss'])
  if 'landmarks' in on_real:
    terms['d_landmark_real_loss'] = landmark_loss(on_real['landmarks'], true_landmarks)
    terms['d_landmark_fake_loss'] = landmark_loss(on_fake['landmarks'], true_landmarks)
    total += weights.landmark * (terms['d_landmark_real_loss'] + terms['d_landmark_fake_loss'])
  return total, terms | {'d_loss': total}


def adversarial_terms(on_fake: Mapping[str, Array], true_landmarks: Array, weights: Any) -> Terms:
  """VG-net's part of L_GAN: its clips should be taken for real, and show the landmarks that it was given.

  The arguments are those of `discriminator_loss`.
  """
  terms = {'g_adversarial_loss': (weights.adversarial, bce_with_logits(on_fake['logits'], 1.0))}
  if 'landmarks' in on_fake:
    terms['g_landmark_loss'] = weights.landmark, landmark_loss(on_fake['landmarks'], true_landmarks)
  return terms


def gradient_loss(fake: Array, real: Array, weight: Array | None = None) -> Array:
  """L1 between the images' differences of neighbouring pixels, down and across: keeps edges sharp.

  Args:
    fake: [..., H, W, C].
    real: [..., H, W, C].
    weight: [..., H, W, 1] or None; a difference takes the weight of its first pixel.
  """
  error = fake - real
  down = jnp.abs(error[..., 1:, :, :] - error[..., :-1, :, :])
  across = jnp.abs(error[..., :, 1:, :] - error[..., :, :-1, :])
  if weight is not None:
    down, across = down * weight[..., :-1, :, :], across * weight[..., :, :-1, :]
  return jnp.mean(down) + jnp.mean(across)


def ssim_loss(fake: Array, real: Array) -> Array:
  """1 - SSIM (`image_metrics.ssim`) of images [..., H, W, C] in [-1, 1]."""
  return 1 - jnp.mean(image_metrics.ssim(fake / 2 + 0.5, real / 2 + 0.5))


def mouth_weight(landmarks: Array, size: int, factor: float) -> Array:
  """Pixel weights [..., size, size, 1]: `factor` on the mouth, 1 far from it, between as by `mouth_nearness`."""
  return 1 + (factor - 1) * mouth_nearness(landmarks, size)


def mouth_nearness(landmarks: Array, size: int) -> Array:
  """A Gaussian around the mouth: 1 in its middle, 0 far from it.

  Args:
    landmarks: [..., 136] in half crops; no gradient flows into them.
    size: the crop's side in pixels.

  Returns:
    [..., size, size, 1]. The Gaussian's standard deviation is half the mouth's width, in x and in y: chin and cheeks
    beside an open mouth count as well.
  """
  points = lax.stop_gradient(landmarks).reshape(*landmarks.shape[:-1], features.NUM_LANDMARKS, 2)
  mouth = points[..., features.MOUTH, :]
  centre = jnp.mean(mouth, axis=-2)[..., None, None, :]  # [..., 1, 1, 2]
  width = jnp.max(mouth[..., 0], axis=-1) - jnp.min(mouth[..., 0], axis=-1)
  deviation = jnp.maximum(width / 2, 0.1)[..., None, None]
  grid = (jnp.arange(size, dtype=points.dtype) + 0.5) * (2 / size) - 1
  across = jnp.square((grid[None, :] - centre[..., 0]) / deviation)
  down = jnp.square((grid[:, None] - centre[..., 1]) / deviation)
  return jnp.exp(-0.5 * (across + down))[..., None]
