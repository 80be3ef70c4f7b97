"""Generation: a portrait and speech, or a driving video, to frames and to video files."""

from atvg_jax.generate.generator import Generator
from atvg_jax.generate.video_maker import Job, Result, VideoMaker, generate_video

__all__ = ['Generator', 'Job', 'Result', 'VideoMaker', 'generate_video']
