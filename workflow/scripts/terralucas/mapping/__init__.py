"""Map a scene with the selected models of a study: the class of the centre point of a window around each cell."""
