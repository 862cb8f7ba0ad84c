"""Retrieve, check, index, normalise and pack chips, and split them into training, validation and test parts."""
