"""The report of a study: one HTML page made of its tables; imports the root and `tables` alone."""
