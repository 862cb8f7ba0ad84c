"""A study's configuration: schema, defaults, validation, names of the grid, registration, limits of its jobs.

Also what a start compares of the sources of chips and of the names of classes.
"""
