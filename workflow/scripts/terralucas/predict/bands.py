"""Find the bands of a study in a file: by their descriptions, or else in the declared order, if pixels allow it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from terralucas.commands import REWRITE
from terralucas.data.chip_problems import ChipError
from terralucas.data.dataset import DatasetSpec
from terralucas.data.indexing.band_order import measure_spectrum, require_order
from terralucas.data.rasters.band_names import BandNames
from terralucas.errors import StudyError


@lru_cache(maxsize=256)
def find_bands(
    names: BandNames, bands: tuple[str, ...], are_right: bool, satellites: tuple[str, ...] = ()
) -> tuple[int, ...]:
    """Return where the bands of a study are in a file: by their descriptions, or else in the declared order.

    Args:
        names: descriptions of the bands in the file.
        bands: the bands of the study.
        are_right: whether the descriptions count: `dataset.checks.band_descriptions`.
        satellites: `DatasetSpec.satellites_of_numbers`. Numbers that may be of several satellites are meant by that of
            the training chips if the file has all bands in this way alone.

    Raises:
        ChipError: a band is missing or cannot be told from others.
    """
    found = names.find_by_satellite(bands) if are_right else {}
    whole = {places for places in found.values() if places is not None}
    is_as_trained = any(found.get(satellite) in whole for satellite in satellites)
    if len(whole) > 1 or (None in found.values() and whole and not is_as_trained):
        ways = "; ".join(f"{satellite}: {_write(names, bands, places)}" for satellite, places in found.items())
        raise ChipError(
            "band_descriptions",
            f"describes its bands as {_list(names)}, which can be of several satellites ({ways}); expected "
            "descriptions that tell which, such as S2A_B2, LC08_B2, LT05_SR_B1 or blue",
        )
    if whole:
        return whole.pop()
    if len(names.descriptions) != len(bands):
        raise ChipError(
            "band_count",
            f"has {len(names.descriptions)} band(s) ({_list(names)}); expected {len(bands)}, or descriptions that name "
            f"each of {', '.join(bands)} once",
        )
    if are_right and (contradiction := names.find_contradiction(bands)):
        raise ChipError("band_descriptions", contradiction)
    return tuple(range(len(bands)))


def _list(names: BandNames) -> str:
    return ", ".join(text or "no description" for text in names.descriptions)


def _write(names: BandNames, bands: Sequence[str], places: Sequence[int] | None) -> str:
    if places is None:
        return "not all bands of the study"
    return ", ".join(f"{band} in {names.descriptions[place]}" for band, place in zip(bands, places, strict=True))


def describe_unknown_names(names: BandNames, what: str) -> list[str]:
    """Return a warning if files whose bands are taken in the order of the study have names that are not known.

    Args:
        names: descriptions of the bands in a file, or names of files.
        what: `chips` or `windows of the scene`.
    """
    unknown = names.find_unknown()
    if not unknown:
        return []
    return [
        f"The bands of the {what} are taken in the order of the study, because names in their files are not known "
        f"({', '.join(unknown)}). See that this is their order."
    ]


def require_same_order(chips: Sequence[np.ndarray], spec: DatasetSpec, allow: bool, what: str) -> list[str]:
    """Check that new chips, or windows of a scene, have their bands in the order of the study.

    The training chips passed the same check when they were indexed.

    Args:
        chips: (bands, height, width) reflectance of those whose files do not name the bands; NaN for missing pixels.
        spec: description of the study's dataset.
        allow: whether another order is only reported.
        what: `chips` or `windows of the scene`.

    Returns:
        What may be wrong and is not certain, or is allowed.

    Raises:
        StudyError: the pixels show another order.
    """
    if not spec.checks.band_order:
        return []
    spectra = [spectrum for spectrum in map(measure_spectrum, chips) if spectrum is not None]
    try:
        notice = require_order(
            spectra,
            spec.bands,
            f"the {what}",
            f"write the bands in the order of the study ({REWRITE} --bands), or give them descriptions that name them "
            "(rio edit-info --bidx 1 --description B02 and so on), by which they are found; the files seem to have "
            "{orders}. Set allow_band_order: true (--allow-band-order) if their order is right",
        )
    except StudyError as error:
        if not allow:
            raise
        return [f"{error.problem} Found: {error.found}. It is allowed."]
    return [] if notice is None else [f"{notice[0].upper()}{notice[1:]}."]
