"""What the TFDS builders of clips have in common: features, splits, and records read or made."""

import abc
import io
import os
import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines import clip_source, features
from data_pipelines.conversion import convert_clip, cut_video

CONFIGS = [
  tfds.core.BuilderConfig(name='jpeg', description='Frames as JPEG of quality 95.'),
  tfds.core.BuilderConfig(name='png', description='Frames as PNG: exact, 2.7 times as large.'),
]


class ClipBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
  """Builds records from a corpus folder (`manual_dir`).

  `prepare.prepare` converts the clips in parallel into a staging folder first and sets `staging_dir` and `clips`;
  without it (`tfds build`) each clip is converted here, one after the other.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar = {'1.0.0': 'First.'}
  BUILDER_CONFIGS = CONFIGS

  staging_dir: str | None = None
  clips: list[clip_source.ClipSource] | None = None

  @abc.abstractmethod
  def list_clips(self, source: str) -> list[clip_source.ClipSource]:
    """All clips of the corpus."""

  def _info(self) -> tfds.core.DatasetInfo:
    size = features.IMAGE_SIZE
    picture = tfds.features.Image(shape=(size, size, 3), encoding_format=self.builder_config.name)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          features.CLIP_ID: tfds.features.Text(),
          features.SPEAKER: tfds.features.Text(),
          features.VIDEO: tfds.features.Sequence(picture),
          features.LANDMARKS: tfds.features.Tensor(shape=(None, features.LANDMARK_SIZE), dtype=np.float32),
          features.REST_LANDMARKS: tfds.features.Tensor(shape=(features.LANDMARK_SIZE,), dtype=np.float32),
          features.AUDIO: tfds.features.Tensor(shape=(None,), dtype=np.int16),
          features.MFCC_ROWS: tfds.features.Tensor(shape=(None, features.MFCC_COEFFICIENTS), dtype=np.float32),
          'words': tfds.features.Sequence(tfds.features.Text()),
          'starts': tfds.features.Sequence(np.float32),
          'ends': tfds.features.Sequence(np.float32),
        }
      )
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
    clips = self.clips or self.list_clips(os.fspath(dl_manager.manual_dir))
    generators = {}
    for split in clip_source.SPLITS:
      chosen = [clip for clip in clips if clip.split == split and self._is_kept(clip)]
      if chosen:  # TFDS cannot write an empty split
        generators[split] = self._generate_examples(chosen)
    return generators

  def _generate_examples(self, clips: list[clip_source.ClipSource]) -> Iterator[tuple[str, dict]]:
    for clip in clips:
      for result in self._read(clip):
        if isinstance(result, convert_clip.Rejection):
          continue  # without a staging folder this is known only now
        fields = dict(result.fields)
        fields[features.VIDEO] = [io.BytesIO(picture) for picture in fields[features.VIDEO]]  # stored as they are
        yield fields[features.CLIP_ID], fields

  def _is_kept(self, clip: clip_source.ClipSource) -> bool:
    if self.staging_dir is None:
      return True
    return isinstance(convert_clip.load(self._staged(clip), keys=()), convert_clip.Record)

  def _read(self, clip: clip_source.ClipSource) -> list[convert_clip.Record | convert_clip.Rejection]:
    if self.staging_dir is not None:
      return [convert_clip.load(self._staged(clip))]
    if isinstance(clip, clip_source.VideoPart):
      return [result for _, result in cut_video.cut(clip, self.builder_config.name)]
    return [convert_clip.convert(clip, self.builder_config.name)]

  def _staged(self, clip: clip_source.ClipSource) -> pathlib.Path:
    assert self.staging_dir is not None
    return pathlib.Path(convert_clip.staging_task(clip, self.builder_config.name, self.staging_dir).path)
