"""Metrics that are networks of others: LPIPS, SyncNet and the Inception of FID, as JAX functions of weights.

The user brings the weights: none are in this package.
"""
