"""Evidence that explains the scores: fronts, calibration, overlap and spatial correlation of chips, maps."""
