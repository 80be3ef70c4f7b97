"""What is kept of a run: checkpoints, packed weights, the config of a workdir."""
