"""Controls: simple classifiers on the same splits as the runs; a recipe should be better than all of them."""
