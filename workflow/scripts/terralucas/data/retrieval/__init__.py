"""Retrieve the archive of the chips from its sources, and unpack it safely."""
