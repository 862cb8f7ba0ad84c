"""Band files of a scene: what their names say of the date and the tile, and which of them is which band."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from terralucas.errors import StudyError

# What stands in the names of band files of Sentinel-2, HLS, Landsat and MODIS, and is the same in all files of a scene.
# A name may have several dates, such as those of acquisition and processing: the first one is that of acquisition.
_PARTS = {
    "date": re.compile(
        r"(?<!\d)((?:19|20)\d\d([-_]?)(?:0[1-9]|1[0-2])\2(?:0[1-9]|[12]\d|3[01])(?!\d)|(?:19|20)\d{5}(?=T\d{6}))"
    ),
    "tile": re.compile(
        r"(?<![A-Za-z0-9])(T\d{2}(?:[A-Z]{3})?(?![A-Za-z0-9])|h\d\dv\d\d(?!\d)|(?<=L[COTE]0[45789]_\w{4}_)\d{6}(?=_))"
    ),
}


def require_one_scene(paths: Sequence[Path]) -> None:
    """Raise a StudyError if the names of band files have different dates or tiles."""
    for what, pattern in _PARTS.items():
        first: dict[str, Path] = {}
        for path in paths:
            if match := pattern.search(path.name):
                first.setdefault(re.sub("[-_]", "", match[1]), path)
        if len(first) > 1:
            raise StudyError(
                f"The band files of the scene have different {what}s in their names.",
                found=", ".join(f"{text} in {path.name}" for text, path in first.items()),
                expected=f"band files of one scene, with one {what}",
                remedy="name the band files of one scene; if these belong together, rename them",
            )


def name_bands(places: Sequence[tuple[str, int]], bands: Sequence[str]) -> list[dict[str, str | int]]:
    """Return for the record which file, and which band in it from 1, is taken for each band of the study."""
    return [{"band": band, "file": path, "number": number} for band, (path, number) in zip(bands, places, strict=True)]


def describe_order(places: Sequence[tuple[str, int]], bands: Sequence[str]) -> list[str]:
    """Return a notice of which file was taken for which band, if there are several files that do not name them."""
    if len({path for path, _ in places}) < 2:
        return []
    taken = ", ".join(
        f"{Path(path).name} as {band}" if number == 1 else f"band {number} of {Path(path).name} as {band}"
        for band, (path, number) in zip(bands, places, strict=True)
    )
    return [f"Neither names nor descriptions of the files tell all bands. They are read in the order given: {taken}."]
