"""Definitions that statistics and report share: scores, names of columns and states, tables as CSV files."""
