"""The sections of the report; each module makes the sentences and the table of one section."""
