"""Find the chips on disk, with their labels and places."""
