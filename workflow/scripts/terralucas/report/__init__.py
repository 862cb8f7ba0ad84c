"""The report of a study, one HTML page made from its tables. It imports only the root package and `tables`."""
