"""GRID: the audio-visual sentence corpus."""
