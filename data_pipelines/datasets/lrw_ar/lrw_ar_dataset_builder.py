"""TFDS builder of LRW-AR."""

from data_pipelines import clip_source
from data_pipelines.datasets import clip_builder
from data_pipelines.datasets.lrw_ar import lrw_ar_source


class Builder(clip_builder.ClipBuilder):
  """LRW-AR: one word in its context a clip, a second or so, from television news."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = 'Point manual_dir at the folder with video/, transcripts/ and speakers.csv.'

  def list_clips(self, source: str) -> list[clip_source.ClipSource]:
    """All clips of the folder, see `lrw_ar_source`."""
    return lrw_ar_source.list_clips(source)
