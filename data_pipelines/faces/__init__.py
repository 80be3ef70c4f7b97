"""Faces in pictures and videos: finding, following, aligning."""
