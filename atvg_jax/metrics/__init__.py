"""Metrics of images and landmarks: pure functions."""
