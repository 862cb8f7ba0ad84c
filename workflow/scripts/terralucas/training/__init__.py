"""Training of runs: losses, decoders, training loops, and the files that a run writes."""
