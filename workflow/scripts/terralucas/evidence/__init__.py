"""What lies behind the scores: fronts, calibration, shared ground, maps."""
