"""The published PyTorch weights → ours."""

from atvg_jax.convert.import_torch import import_torch

__all__ = ['import_torch']
