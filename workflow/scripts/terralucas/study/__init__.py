"""A study's configuration: schema, defaults, validation, names of the grid, registration, limits of its jobs, and what a start compares."""
