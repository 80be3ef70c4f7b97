"""Scores of generated videos beside real ones."""
