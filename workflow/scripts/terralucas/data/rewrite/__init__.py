"""Write GeoTIFFs again with other bands, or on another grid, and keep what says the meaning of their values."""
