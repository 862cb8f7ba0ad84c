"""What tags of offset on some bands of a scene say of the others: programs that resample band files may drop them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_checks import measure_darkest
from terralucas.data.chips.reflectance import reflectance_of_zero, require_tags_of_all
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
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

    They have numbers of another type because a program has applied their tags, or has dropped them: dark pixels tell.

    Args:
        windows: (bands, height, width) reflectance of windows; NaN for missing pixels.
        scaling: scale and offset tag of each band.
        spec: description of the study's dataset.
        allow_offset: whether bands may have no dark pixels.

    Returns:
        What may be wrong and is not certain.

    Raises:
        StudyError: almost no window has dark pixels in these bands.
    """
    shifts = np.array(reflectance_of_zero(scaling, spec.unit))
    tagged, others = np.abs(shifts + OFFSET) <= _SLACK, shifts == 0
    if not tagged.any() or not others.any():
        return []
    seen = [window[others] for window in windows if np.isfinite(window[others]).any()]
    bright = int(is_bright(np.array([measure_darkest(window) for window in seen])).sum())
    if bright < MOST * len(seen):
        return []
    names, of_tags = (", ".join(np.array(spec.bands)[chosen]) for chosen in (others, tagged))
    offset = f"{OFFSET * DN_PER_REFLECTANCE:.0f} DN" if spec.unit == "dn" else f"{OFFSET:g}"
    found = (
        f"tags that subtract {offset} from {of_tags}, none on {names}, and no dark pixel in these in {bright} of "
        f"{len(seen)} windows that were looked at"
    )
    if bright < ALMOST_ALL * len(seen) or allow_offset:
        return [f"Bands of the scene may have an offset of {offset} that the tags of other bands subtract: {found}."]
    raise StudyError(
        f"Bands of the scene seem to have an offset of {offset}, which the tags of the other bands subtract.",
        found=found,
        expected="the same tags on all bands, or dark pixels in all of them",
        remedy=f"give the files of {names} the tags of the others; set allow_offset: true (--allow-offset) if these "
        "bands have no offset and the land is really so bright",
    )
