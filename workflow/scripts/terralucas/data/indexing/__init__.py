"""Check the chips together, and index them."""
