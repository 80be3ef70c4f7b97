"""The metric networks that a user asked for, and their scores of a clip's rows and of a whole set."""

from collections.abc import Mapping

import numpy as np

from atvg_jax.convert import torch_files
from atvg_jax.evaluate.metric_networks import fid, identity, lip_sync, lpips, sync_net

_STRIDE = 5  # frames: face embeddings, LPIPS and FID take every fifth, as CPBD does


class MetricNetworks:
  """The embedding of lips and sound, face embeddings, LPIPS, SyncNet and FID, each if it is wanted; by default none."""

  def __init__(
    self,
    *,
    sync: str | None = None,
    identity_weights: str | None = None,
    use_lpips: bool = False,
    syncnet: str | None = None,
    inception: str | None = None,
  ):
    """Loads the networks.

    Args:
      sync: one of `lip_sync.WEIGHTS`.
      identity_weights: path that `identity.read` takes.
      use_lpips: see `lpips.Lpips`.
      syncnet: path of `syncnet_v2.model`.
      inception: path of `pt_inception-2015-12-05-6726825d.pth`.

    Raises:
      InputError: weights are missing, damaged or of another network, or what reads them is not installed.
    """
    self._lip_sync = None if sync is None else lip_sync.LipSync(sync)
    self._identity = None if identity_weights is None else identity.Identity(identity.read(identity_weights))
    self._lpips = lpips.Lpips() if use_lpips else None
    self._sync_net = None if syncnet is None else sync_net.SyncNet(torch_files.load_state_dict(syncnet), syncnet)
    self._inception = None if inception is None else fid.Inception(torch_files.load_state_dict(inception), inception)
    self._moments: dict[str, fid.Moments] = {}

  @property
  def needs_sound(self) -> bool:
    """Whether `clip_scores` takes samples."""
    return self._sync_net is not None or self._lip_sync is not None

  def clip_scores(
    self,
    videos: Mapping[str, np.ndarray],
    example: np.ndarray,
    samples: np.ndarray | None,
    landmarks: Mapping[str, np.ndarray | None],
  ) -> dict[str, dict[str, float]]:
    """Scores the rows of a clip, and keeps the moments of their features for `set_scores`.

    Args:
      videos: row → uint8 [T, H, W, 3]; 'real' is the clip itself.
      example: uint8 [H, W, 3]; true frames equal to it do not count for LPIPS.
      samples: float32 [n] at 16 kHz, the clip's sound; None where it has none.
      landmarks: row → [T, 136], found in its frames; None where no face was found.

    Returns:
      {row: {'sync', 'sync_lag', 'identity', 'lpips', 'lse_c', 'lse_d'}}, of those that are wanted.
    """
    true = videos['real']
    others = np.flatnonzero((true != example).any(axis=(1, 2, 3)))
    chosen = (others if others.size else np.arange(len(true)))[::_STRIDE]
    heard = None
    if self._lip_sync is not None and samples is not None and len(true) >= lip_sync.MIN_FRAMES:
      heard = self._lip_sync.hear(samples, len(true))
    person = None if self._identity is None else self._identity(example[None])[0]
    scores: dict[str, dict[str, float]] = {}
    for row, video in videos.items():
      scores[row] = {} if self._lip_sync is None else self._lip_sync(landmarks[row], heard)
      if self._identity is not None:
        scores[row]['identity'] = float((self._identity(video[::_STRIDE]) @ person).mean())
      if self._lpips is not None:
        scores[row]['lpips'] = float(self._lpips(video[chosen], true[chosen]).mean())
      if self._sync_net is not None:
        scores[row] |= self._sync_net(video, np.zeros(0) if samples is None else samples)
      if self._inception is not None:
        self._moments.setdefault(row, fid.Moments()).add(self._inception(video[::_STRIDE]))
    return scores

  def set_scores(self) -> dict[str, float]:
    """{row: FID to 'real'} of all clips since the last call; empty if FID is not wanted."""
    moments, self._moments = self._moments, {}
    return {row: fid.distance(theirs, moments['real']) for row, theirs in moments.items()}
