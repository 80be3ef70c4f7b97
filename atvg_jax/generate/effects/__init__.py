"""What is done with drawn frames: pasting into the picture, blinks, head motion."""
