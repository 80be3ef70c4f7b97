"""One device's part in drawing clips in lanes, as pure functions of arrays; their first axis is the lane."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from atvg_jax import landmarks as lm
from atvg_jax.checkpoints import weights
from atvg_jax.generate import streaming
from atvg_jax.generate.normalisation import Conditions, Normalisation
from atvg_jax.models import fast_vg
from data_pipelines import features


class Nets(Protocol):
  """What lanes take of a `Generator`."""

  bundles: dict[str, weights.Bundle]
  basis: lm.LandmarkBasis
  normalisation: Normalisation
  at: streaming.AtStream
  vg: streaming.VgStream

  def predict_landmarks(
    self, conditions: Conditions, inputs: Iterable[np.ndarray], window: int = ..., expressiveness: float = ...
  ) -> Iterator[np.ndarray]:
    """See `Generator.predict_landmarks`."""


class LaneFunctions:
  """The functions, for lanes of both nets.

  `predict` is for AT-nets whose front end does not take sound: of those that do, a window needs the sound around it, so
  they answer ten seconds of a clip at once, before its lane.

  Attributes:
    at, vg: the nets.
    variables: what `predict` takes; `refill` and the others take `vg.prepared`.
    about: all that the functions depend on besides their arguments.
    window: frames at a time.
  """

  def __init__(self, nets: Nets, window: int):
    """Takes the nets and the frames of a window."""
    self.at, self.vg, self.window = nets.at, nets.vg, window
    exaggeration = np.float32(nets.normalisation.exaggeration)
    self.variables = {'net': nets.at.variables, 'basis': nets.basis, 'exaggeration': exaggeration}
    at, vg = (nets.bundles[kind].config for kind in ('at', 'vg'))
    dtypes = self.at.dtype, self.vg.net.layers.dtype
    self.about = at['model'], vg['model'], vg['generation'], dtypes, window

  def input_shape(self) -> tuple[int, ...]:
    """Of a clip's window, as `AtStream.fill` gives it."""
    return (self.window, *self.at.front_end.shape)

  def shapes(self, lanes: int, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Recurrent states, and what the lanes know of their clips' examples, pictures of such a side: shapes and types."""
    count = self.variables['basis'].components.shape[0]

    def array(*shape: int, dtype: Any = np.float32) -> jax.ShapeDtypeStruct:
      return jax.ShapeDtypeStruct((lanes, *shape), dtype)

    layers, both, _, width = self.at.carry_shape(1)
    at_state = {'carry': array(layers, both, width, dtype=self.at.dtype)}
    carry = jax.eval_shape(lambda: fast_vg.zero_carry(self.vg.net, lanes, size, size))
    points = array(features.LANDMARK_SIZE)
    shared = jax.eval_shape(self.vg.start.function, self.vg.prepared, array(size, size, 3, dtype=np.uint8), points)
    return {'at': at_state, 'vg': carry}, {'coefficients': array(count), 'rest': points, 'shared': shared}

  def refill(self, prepared, states, examples, new):
    """Puts one clip into the lane `place`; beyond the last it is dropped. Returns the new states and examples."""
    place = new['place'][0]

    def put(state, value):
      return state.at[place].set(value, mode='drop')

    shared = self.vg.start.function(prepared, new['image'], new['landmarks'])
    return jax.tree.map(lambda state: put(state, 0), states), {
      'coefficients': put(examples['coefficients'], new['coefficients'][0]),
      'rest': put(examples['rest'], new['rest'][0]),
      'shared': jax.tree.map(lambda state, value: put(state, value[0]), examples['shared'], shared),
    }

  def predict(self, variables, state, example, inputs, given, driven, active):
    """Features → landmarks [B, window, 136], those that are given where `driven`, and the state."""
    carry = jnp.moveaxis(state['carry'], 0, 2)
    coefficients, carry = self.at.step.function(variables['net'], example['coefficients'], inputs, carry)
    new = {'carry': jnp.moveaxis(carry, 2, 0)}
    landmarks = lm.from_coefficients(
      coefficients * variables['exaggeration'], example['rest'][:, None], variables['basis']
    )
    landmarks = jnp.where(driven[:, None, None], given, landmarks.astype(jnp.float32))
    return landmarks, jax.tree.map(lambda new, old: _where(active & ~driven, new, old), new, state)

  def draw(self, prepared, carry, shared, landmarks, active):
    """Frames, no maps, and the carry; that of lanes that are not active stays."""
    frames, maps, new = self.vg.step.function(prepared, shared, landmarks, carry)
    return frames, maps, _where(active, new, carry)

  def draw_maps(self, prepared, carry, shared, landmarks, active):
    """As `draw`, with maps."""
    frames, maps, new = self.vg.step_with_maps.function(prepared, shared, landmarks, carry)
    return frames, maps, _where(active, new, carry)

  def encode_frames(self, prepared, images, image_landmarks):
    """What `redraw` takes of frames [B, W, ...] that are their own examples: [B W, ...], a lane after the other."""
    images, image_landmarks = (values.reshape(-1, *values.shape[2:]) for values in (images, image_landmarks))
    return self.vg.start.function(prepared, images, image_landmarks)

  def redraw(self, prepared, carry, shared, landmarks, active):
    """Frames [B, W, ...] of landmarks [B, W, 136], each from an example of its own, and the carry."""
    flat = landmarks.reshape(-1, landmarks.shape[-1])
    frames, new = self.vg.step_chained.function(prepared, shared, flat, carry)
    return frames.reshape(*landmarks.shape[:2], *frames.shape[1:]), _where(active, new, carry)


def _where(lanes, new, old):
  """The new values in these lanes."""
  return jnp.where(lanes.reshape(-1, *(1,) * (old.ndim - 1)), new.astype(old.dtype), old)
