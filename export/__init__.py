"""From a checkpoint to a bundle that a worker runs without torch."""
