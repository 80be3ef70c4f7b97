"""TFDS builder of LRW."""

from data_pipelines import clip_source
from data_pipelines.datasets import clip_builder
from data_pipelines.datasets.lrw import lrw_source


class Builder(clip_builder.ClipBuilder):
  """LRW: one of 500 words in the middle of a clip of 29 frames, from hundreds of speakers on British television."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = 'Point manual_dir at the folder with ABOUT/train/ABOUT_00001.mp4 and its .txt, ...'

  def list_clips(self, source: str) -> list[clip_source.ClipSource]:
    """All clips of the folder, see `lrw_source`."""
    return lrw_source.list_clips(source)
