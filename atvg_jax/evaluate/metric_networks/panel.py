"""The judges that a user has called, and what they say of the rows of a clip and of a whole set."""

from collections.abc import Mapping

import numpy as np

from atvg_jax.evaluate.metric_networks import fid, lpips, sync_net

_STRIDE = 5  # frames: LPIPS and FID look at every fifth, as CPBD does


class Panel:
  """LPIPS, SyncNet and FID, each if it is wanted; by default none."""

  def __init__(self, *, use_lpips: bool = False, syncnet: str | None = None, inception: str | None = None):
    """Loads the networks.

    Args:
      use_lpips: see `lpips.Lpips`.
      syncnet: path of `syncnet_v2.model`.
      inception: path of `pt_inception-2015-12-05-6726825d.pth`.

    Raises:
      InputError: weights are missing, damaged or of another network, or what reads them is not installed.
    """

    def load(network, path):
      if path is None:
        return None
      from atvg_jax.convert import torch_files

      return network(torch_files.load_state_dict(path), path)

    self._lpips = lpips.Lpips() if use_lpips else None
    self._sync_net = load(sync_net.SyncNet, syncnet)
    self._inception = load(fid.Inception, inception)
    self._moments: dict[str, fid.Moments] = {}

  @property
  def needs_sound(self) -> bool:
    return self._sync_net is not None

  def of_clip(
    self, videos: Mapping[str, np.ndarray], example: np.ndarray, samples: np.ndarray | None
  ) -> dict[str, dict[str, float]]:
    """Scores of the rows of a clip, and a look at their frames for `of_set`.

    Args:
      videos: row → uint8 [T, H, W, 3]; 'real' is the clip itself.
      example: uint8 [H, W, 3]; true frames equal to it do not count for LPIPS.
      samples: float32 [n] at 16 kHz, the clip's sound; None where it has none.

    Returns:
      {row: {'lpips', 'lse_c', 'lse_d'}}, of those that are wanted.
    """
    true = videos['real']
    others = np.flatnonzero((true != example).any(axis=(1, 2, 3)))
    chosen = (others if others.size else np.arange(len(true)))[::_STRIDE]
    found = {}
    for row, video in videos.items():
      found[row] = {}
      if self._lpips is not None:
        found[row]['lpips'] = float(self._lpips(video[chosen], true[chosen]).mean())
      if self._sync_net is not None:
        found[row] |= self._sync_net(video, np.zeros(0) if samples is None else samples)
      if self._inception is not None:
        self._moments.setdefault(row, fid.Moments()).add(self._inception(video[::_STRIDE]))
    return found

  def of_set(self) -> dict[str, float]:
    """{row: FID to 'real'} of all clips since the last call; empty if FID is not wanted."""
    moments, self._moments = self._moments, {}
    return {row: fid.distance(theirs, moments['real']) for row, theirs in moments.items()}
