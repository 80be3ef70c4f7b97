"""Batches of videos: `atvg_jax.generate.many_videos` under its documented name."""

from atvg_jax.generate.many_videos import Item, Row, from_folders, from_manifest, run, table

__all__ = ['Item', 'Row', 'from_folders', 'from_manifest', 'run', 'table']
