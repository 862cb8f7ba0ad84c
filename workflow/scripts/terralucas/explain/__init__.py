"""Examine what the predictions of the selected models rest on: bands, and places in a chip."""
