"""A job on any machine: its log and errors, its inputs and results, and the process that it is forked from."""
