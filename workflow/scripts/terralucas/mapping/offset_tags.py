"""What tags of offset on some bands of a scene say of the others: programs that resample band files may drop them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_checks import measure_darkest
from terralucas.data.chips.reflectance import reflectance_of_zero, require_tags_of_all
from terralucas.data.dataset import OFFSET_DN, DatasetSpec
from terralucas.data.indexing.band_order import VISIBLE
from terralucas.data.indexing.group_checks import ALMOST_ALL, MOST
from terralucas.errors import StudyError
from terralucas.predict.likeness import OFFSET, is_bright

# Of each band.
Scaling = Sequence[tuple[float, float]]
# Tags shift by the offset of Sentinel-2's baseline 04.00 if they do by it, more or less this.
_SLACK = 0.01


def require_same_tags(paths: Sequence[Path], scaling: Scaling, dtypes: Sequence[str], spec: DatasetSpec) -> None:
    """Raise a StudyError if some bands of a scene have tags of scale or offset, and others of the same type have none.

    Args:
        paths: files of the scene.
        scaling: scale and offset tag of each band.
        dtypes: type of the stored values of each band.
        spec: description of the study's dataset.
    """
    try:
        require_tags_of_all(scaling, dtypes, spec.bands, spec.unit)
    except ChipError as error:
        raise StudyError(
            f"The scene {', '.join(map(str, paths))} {error.problem}.",
            remedy="write the tags of all bands, or leave them out (with --without-scale of terralucas.data.rewrite)",
        ) from None


def check_bands_without_offset(
    windows: Sequence[np.ndarray], scaling: Scaling, spec: DatasetSpec, allow_offset: bool
) -> list[str]:
    """Check that bands without a tag of offset lack the offset that the tags of the others subtract.

    They have numbers of another type because a program has applied their tags, or has dropped them. Dark pixels tell;
    but in the infrared, vegetation and soil may have none.

    Args:
        windows: (bands, height, width) reflectance of windows; NaN for missing pixels; each band has a value.
        scaling: scale and offset tag of each band.
        spec: description of the study's dataset.
        allow_offset: whether bands may have no dark pixels.

    Returns:
        What may be wrong and is not certain.

    Raises:
        StudyError: a visible band has dark pixels in almost no window.
    """
    shifts = reflectance_of_zero(scaling, spec.unit)
    tagged = [band for band, shift in zip(spec.bands, shifts, strict=True) if abs(shift + OFFSET) <= _SLACK]
    if not tagged:
        return []
    bright: dict[str, int] = {}
    for place, (band, shift) in enumerate(zip(spec.bands, shifts, strict=True)):
        if shift == 0:
            darkest = np.array([measure_darkest(window[place : place + 1]) for window in windows])
            bright[band] = int(is_bright(darkest).sum())
    suspect = {band: count for band, count in bright.items() if count >= MOST * len(windows)}
    if not suspect:
        return []
    offset = f"{OFFSET_DN} DN" if spec.unit == "dn" else f"{OFFSET:g}"
    counts = ", ".join(f"{band} in {count}" for band, count in suspect.items())
    found = (
        f"the tags of {', '.join(tagged)} subtract {offset}; {', '.join(suspect)} have no such tag, and no pixel below "
        f"{offset} in most of {len(windows)} windows that were looked at ({counts})"
    )
    is_certain = any(suspect.get(band, 0) >= ALMOST_ALL * len(windows) for band in VISIBLE)
    if not is_certain or allow_offset:
        return [f"Some bands of the scene may lack a tag that subtracts {offset}: {found}."]
    raise StudyError(
        f"Some bands of the scene seem to lack a tag that subtracts {offset}.",
        found=found,
        expected="the same tags on all bands",
        remedy=f"give the files of {', '.join(suspect)} the tags of the others; allow_offset: true (--allow-offset) "
        "lets them pass if their values are right and the land is so bright",
    )
