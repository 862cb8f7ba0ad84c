"""The figures of the report, drawn from the tables."""
