"""Scores of recipes with their intervals, contrasts, tests, power: from predictions to tables."""
