"""From raw clips to batches. Imports TensorFlow where records are read or written, JAX nowhere."""
