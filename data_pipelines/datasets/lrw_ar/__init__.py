"""LRW-AR: Arabic words in the wild, spoken by television news anchors."""
