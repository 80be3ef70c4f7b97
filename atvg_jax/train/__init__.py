"""Training: tasks, losses, optimizers, and the one loop that runs them."""
