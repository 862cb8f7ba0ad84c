"""Chips: retrieved, checked, indexed, normalised, packed and divided into training, validation and test parts."""
