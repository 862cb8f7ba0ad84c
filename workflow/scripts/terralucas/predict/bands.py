"""Find the bands of a study in a file: by their descriptions, or else in the declared order."""

from __future__ import annotations

from functools import lru_cache

from terralucas.data.band_names import find_contradiction, find_positions
from terralucas.data.chip_files import ChipError


@lru_cache(maxsize=256)
def find_bands(descriptions: tuple[str | None, ...], bands: tuple[str, ...], are_right: bool) -> tuple[int, ...]:
    """Return where the bands of a study are in a file: by their descriptions, or else in the declared order.

    Args:
        descriptions: description of each band in the file; None without one.
        bands: the bands of the study.
        are_right: whether the descriptions count: `dataset.checks.band_descriptions`.

    Raises:
        ChipError: a band is missing or cannot be told from others.
    """
    positions = find_positions(descriptions, bands) if are_right else None
    if positions is not None:
        return positions
    if len(descriptions) != len(bands):
        named = ", ".join(text or "no description" for text in descriptions)
        raise ChipError(
            "band_count",
            f"has {len(descriptions)} band(s) ({named}); expected {len(bands)}, or descriptions that name "
            f"{', '.join(bands)}",
        )
    if are_right and (contradiction := find_contradiction(descriptions, bands)):
        raise ChipError("band_descriptions", contradiction)
    return tuple(range(len(bands)))
