"""The start of a study: what refuses it, what is planned, and what the terminal shows."""
