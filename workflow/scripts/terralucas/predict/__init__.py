"""Predict the classes of new chips with the selected models of a study, and say how sure the predictions are."""
