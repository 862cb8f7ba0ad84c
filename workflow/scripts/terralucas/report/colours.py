"""Colours that stay with the names of losses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

# Okabe & Ito (2008) without yellow, which vanishes on white, then five colours of Paul Tol's "muted" set.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#882255", "#999933", "#332288", "#7F7F7F", "#AA6644"),
)
# Past this many colours hue alone is no longer safe: later names are drawn hollow or dashed as well.
SAFE_COLOURS = 6


def palette(names: Iterable[str]) -> dict[str, str]:
    """Colour-blind-safe hex colour of each name, in the order the names first appear (the study's order)."""
    return dict(zip(dict.fromkeys(names), itertools.cycle(COLOURS), strict=False))


def fills_of(names: Sequence[str]) -> dict[str, bool]:
    """Whether the marks of each name are filled (lines solid); hollow (dashed) past the safe colours."""
    return {name: index < SAFE_COLOURS for index, name in enumerate(names)}
