"""Read, decode and check one chip."""
