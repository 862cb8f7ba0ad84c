"""The end of a study: at failures that concern all runs, at Ctrl-C, and what is deleted then."""
