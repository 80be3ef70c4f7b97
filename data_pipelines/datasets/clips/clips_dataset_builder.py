"""TFDS builder of a folder of videos of one's own."""

from data_pipelines import clip_source
from data_pipelines.datasets import clip_builder
from data_pipelines.datasets.clips import clips_source


class Builder(clip_builder.ClipBuilder):
  """Talking faces cut out of any videos: one face in one shot a clip, ten seconds at most."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = 'Point manual_dir at a folder with one sub-folder of videos for each speaker.'

  def list_clips(self, source: str) -> list[clip_source.ClipSource]:
    """All clips of the folder, see `clips_source`."""
    return list[clip_source.ClipSource](clips_source.list_clips(source))
