"""The sections of the report: one file holds the sentences and the table of one section."""
