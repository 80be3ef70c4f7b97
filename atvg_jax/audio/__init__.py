"""Audio front ends: from samples to what the nets take as input."""
