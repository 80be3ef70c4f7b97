"""The data sets: one folder each, of TFDS builders and of what their layout means."""
