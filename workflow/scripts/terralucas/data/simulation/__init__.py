"""Simulate chips, for studies without real ones."""
