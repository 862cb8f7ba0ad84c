"""Read raster files: the files beside an image, its masks, where it lies, and what it says of its bands."""
