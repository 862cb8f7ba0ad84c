"""Evidence that explains the scores: fronts, calibration, overlap of chips on the ground, maps."""
