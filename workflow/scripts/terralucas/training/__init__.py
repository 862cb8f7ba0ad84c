"""Runs: losses, decoders, training loops, and what a run leaves on disk."""
