"""Commands of this project that messages advise."""

import argparse
from pathlib import Path

# Writes files again with other bands, on another grid or without tags of scale: terralucas.data.rewrite.
REWRITE = "PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite"
# Removes the place from a GeoTIFF: a program of rasterio.
REMOVE_PLACE = "rio edit-info --transform '[1,0,0,0,1,0]' chip.tif"


def a_path(text: str) -> Path:
    """Return a path that an argument names; an empty one would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty, as after a variable of the shell that is not set")
    return Path(text)
