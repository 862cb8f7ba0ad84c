"""That a result belongs to one start, its settings, its code and what it was made from."""
