"""Sound and its MFCC: `data_pipelines.media.audio` under its documented name."""

from data_pipelines.media.audio import frame_rows, mfcc, num_frames, read_audio, windows

__all__ = ['frame_rows', 'mfcc', 'num_frames', 'read_audio', 'windows']
