"""From a clip or a video to records."""
