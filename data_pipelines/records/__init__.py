"""Converted records: their index, statistics, and in which order they are drawn."""
