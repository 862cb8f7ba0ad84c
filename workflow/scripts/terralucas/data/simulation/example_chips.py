"""Write simulated chips as a user's own: a folder of GeoTIFFs and a table, and new chips without labels.

PYTHONPATH=workflow/scripts python -m terralucas.data.simulation.example_chips results/example-chips
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from pyproj import Transformer

from terralucas.data.simulation.simulate import Landscape, draw_points, geotiff, load_covers
from terralucas.errors import StudyError
from terralucas.files import atomic_path
from terralucas.geography import EPSG

# Codes of LUCAS classes that have enough of the simulated points, and the names that the table gives them.
CLASSES = {1: "cropland", 3: "grassland", 4: "forest", 7: "artificial"}
LABELLED_PER_CLASS, NEW_PER_CLASS = 30, 5
_POINTS, _SIZE_PX, _SEED = 600, 32, 7
_PARTS = _LABELLED, _NEW = "labelled", "new"
_OWN = re.compile(r"chip-\d{3}\.tif|labels\.csv")


def write_example(folder: Path) -> None:
    """Write the folders `labelled`, with chips and labels.csv (file, class, lon, lat), and `new`, with chips alone.

    The chips have the six bands of `config/example.yaml` as digital numbers (uint16, reflectance × 10,000). The same
    code writes the same bytes.

    Raises:
        StudyError: the folder has something else.
    """
    found = [path for path in (*folder.glob("[!.]*"), *folder.glob("*/[!.]*")) if path.name not in _PARTS]
    if others := [path.relative_to(folder).as_posix() for path in found if not _OWN.fullmatch(path.name)]:
        raise StudyError(
            f"The folder {folder} has other files than example chips.",
            found=", ".join(sorted(others)[:5]),
            expected=f"a new folder, or one with {' and '.join(_PARTS)} alone, which are written again",
            remedy="name another folder",
        )
    points = draw_points(_POINTS, np.random.default_rng([_SEED, 0]))
    landscape = Landscape(load_covers(), _SIZE_PX)
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    for name in _PARTS:
        shutil.rmtree(folder / name, ignore_errors=True)
    rows: list[dict[str, object]] = []
    for code, name in CLASSES.items():
        own = [(number, point) for number, point in enumerate(points) if point.code == code]
        for place, (number, point) in enumerate(own[: LABELLED_PER_CLASS + NEW_PER_CLASS]):
            is_labelled = place < LABELLED_PER_CLASS
            file = f"chip-{number:03d}.tif"
            chip = np.round(10_000 * landscape.draw(point, np.random.default_rng([_SEED, 1, number]))).astype(np.uint16)
            with atomic_path(folder / (_LABELLED if is_labelled else _NEW) / file) as temporary:
                temporary.write_bytes(geotiff(chip, point))
            if is_labelled:
                longitude, latitude = to_degrees.transform(point.easting_m, point.northing_m)
                rows.append({"file": file, "class": name, "lon": round(longitude, 6), "lat": round(latitude, 6)})
    with atomic_path(folder / _LABELLED / "labels.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    try:
        write_example(Path(sys.argv[1]))
    except StudyError as error:
        sys.exit(str(error))
