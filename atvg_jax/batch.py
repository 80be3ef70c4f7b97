"""Batches of videos: `atvg_jax.generate.batch` under its documented name."""

from atvg_jax.generate.batch import Item, Row, from_folders, from_manifest, run, table

__all__ = ['Item', 'Row', 'from_folders', 'from_manifest', 'run', 'table']
