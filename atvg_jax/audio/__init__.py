"""Audio front ends, a file each: a name, a window and a hop in samples, and a JAX function from samples to features."""
