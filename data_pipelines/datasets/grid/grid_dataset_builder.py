"""TFDS builder of GRID."""

from data_pipelines import clip_source
from data_pipelines.datasets import clip_builder
from data_pipelines.datasets.grid import grid_source


class Builder(clip_builder.ClipBuilder):
  """GRID: one sentence of six words a clip, three seconds, from 34 speakers."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = 'Point manual_dir at the folder of the corpus: s1/video/*.mpg, s1/align/*.align, ...'

  def list_clips(self, source: str) -> list[clip_source.ClipSource]:
    """All clips of the folder, see `grid_source`."""
    return grid_source.list_clips(source)
