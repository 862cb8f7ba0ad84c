"""Cheap classifiers on the same splits as the runs, which a recipe has to beat."""
