"""Augmentations of images, MFCC and sound."""
